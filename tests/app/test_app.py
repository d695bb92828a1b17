"""Results as HTML: what is shown, and that names from strangers stay text."""

import base64
import io
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from html_page import Page
from PIL import Image
from tiny_bundle import LABELS, RATE, project, sigmoid_bundle, tone

from fsat.app import cards, page, sounds, spectrogram
from fsat.app.sounds import Sound, examine
from fsat.core.errors import FsatError
from fsat.tagger.events import Event
from fsat.tagger.results import Failed, Tagged
from fsat.tagger.tagger import Tagger

__all__ = ["project"]

SETTINGS = {"segment_s": 1.0, "hop_s": 0.5, "threshold": 0.05}
HOSTILE = ["<img src=x onerror=alert(1)>", "\"'><script>alert(1)</script>", "Gong\n\x1b[31m&amp;"]


@pytest.fixture(scope="module")
def tagger(project: Path) -> Tagger:
    return Tagger(project / "data" / "bundle", stage="stage1", tries=1, lengths=1)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([tone(300, 1.0), tone(4000, 1.0)]), RATE)
    return path


def test_a_file_is_tagged_whole_and_in_windows(clip: Path, tagger: Tagger) -> None:
    found = examine(tagger, str(clip), **SETTINGS)
    assert isinstance(found, Sound)
    np.testing.assert_array_equal(found.whole.probabilities, tagger(clip).probabilities)
    assert found.whole.end_s == 4.0 and found.player == clip
    assert found.events and all(0 <= event.start_s < event.end_s <= 4.0 for event in found.events)
    shown = Page(cards.card(found, top=2))
    best = found.whole.top(2)
    assert all(f"{label} {p:.0%}" in shown.words for label, p in best)
    assert LABELS[int(np.argmin(found.whole.probabilities))] not in cards.card(found, top=2).partition("fsat-figure")[0]
    assert {"audio", "img", "table"} <= {tag for tag, _ in shown.tags}


def test_a_short_file_is_one_window_and_tagged_once(tmp_path: Path, tagger: Tagger) -> None:
    soundfile.write(tmp_path / "short.wav", tone(900, 0.2), RATE)
    found = examine(tagger, str(tmp_path / "short.wav"), segment_s=5.0, hop_s=5.0, threshold=0.05)
    assert isinstance(found, Sound)
    assert {(event.start_s, event.end_s) for event in found.events} == {(0.0, found.whole.end_s)}
    expected = {label: pytest.approx(p) for label, p in found.whole.top(3) if p >= 0.05}
    assert {event.label: event.probability for event in found.events} == expected


def draw(tagger: Tagger, path: Path, seconds: float) -> str:
    p, bank = tagger.manifest.preprocessing, tagger.filters.mel
    return spectrogram.draw(str(path), seconds, sample_rate=p.audio.sample_rate, settings=p.mel, bank=bank)


def test_probabilities_of_a_sigmoid_bundle_are_shown_as_they_are(clip: Path, project: Path, tmp_path: Path) -> None:
    tagger = Tagger(sigmoid_bundle(project, tmp_path / "ready"))
    [html] = page.tagged(tagger, [str(clip)], top=3, **SETTINGS)
    whole = tagger(clip)
    assert abs(whole.probabilities.sum() - 1) > 0.1
    assert all(f"{label} {p:.0%}" in Page(html).words for label, p in whole.top(3))


def test_a_bad_file_is_one_line_and_stops_no_other(clip: Path, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "text<b>.wav").write_text("no sound")
    partial, html = page.tagged(tagger, [str(tmp_path / "text<b>.wav"), str(clip)], top=3, **SETTINGS)
    assert html.count("fsat-problem") == 1 and html.count("fsat-card") == 1
    assert "text<b>.wav : not audio that can be decoded" in Page(html).words
    assert "1 to come" in partial
    for paths, changes, line in (
        ([], {}, "Nothing to tag"),
        (["a.wav"] * 101, {}, "101 files are too many"),
        ([str(clip)], {"segment_s": 0.0}, "--segments must be between"),
        ([str(clip)], {"segment_s": None}, "a number is missing"),
        ([str(clip)], {"threshold": 0.0}, "--threshold must be above 0"),
    ):
        [html] = page.tagged(tagger, paths, top=3, **(SETTINGS | changes))
        assert html.count("fsat-problem") == 1 and line in html


def test_names_from_strangers_stay_text(tmp_path: Path) -> None:
    whole = Tagged(f"/x/{HOSTILE[0]}.wav", 0.0, 2.0, HOSTILE, np.array([0.5, 0.3, 0.2]), None)
    events = [Event(whole.path, 0.0, 1.0, label, 0.5) for label in HOSTILE]
    html = cards.results(
        [Sound(whole, events, "data:image/png;base64,AA==", tmp_path / "a' b\".wav"), Failed(HOSTILE[1], HOSTILE[0])],
        top=3,
    )
    shown = Page(html)
    assert shown.parts["script"] == []
    assert not any(name.startswith("on") for _, attributes in shown.tags for name in attributes)
    assert all(text in shown.words for text in (*HOSTILE[:2], "Gong\\n\\x1b[31m&amp;"))


def test_none_of_these_is_marked_where_the_bundle_says_so(tmp_path: Path) -> None:
    whole = Tagged("a.wav", 0.0, 2.0, LABELS, np.array([0.5, 0.3, 0.2]), None)
    for unknown, score, n in ((None, None, 0), (False, 0.1, 0), (True, 0.93, 1)):
        marked = replace(whole, unknown=unknown, unknown_score=score)
        html = cards.card(Sound(marked, [], "data:,", tmp_path), top=3)
        assert html.count("none of these (score 0.93)") == html.count("none of these") == n


def test_many_events_are_drawn_and_listed_up_to_a_limit(tmp_path: Path) -> None:
    whole = Tagged("a.wav", 0.0, 4_000.0, LABELS, np.array([0.5, 0.3, 0.2]), None)
    events = [Event("a.wav", 3.0 * k, 3.0 * k + 1, LABELS[k % 3], 0.5 + k / 10_000) for k in range(1_200)]
    html = cards.card(Sound(whole, events, "data:,", tmp_path), top=3)
    assert html.count("fsat-event") == cards.MAX_DRAWN and html.count("<tr><td>") == cards.MAX_LISTED
    assert "1200 events" in html and "fsat tag --events" in html


def test_the_spectrogram_shows_when_and_how_high(
    tmp_path: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, then a low tone, then a high one; longer than a chunk."""
    t = np.arange(8 * RATE) / RATE
    x = np.concatenate([np.zeros(8 * RATE), *(0.5 * np.sin(2 * np.pi * hz * t) for hz in (300, 6000))])
    soundfile.write(tmp_path / "x.wav", x, RATE)
    levels: list[np.ndarray] = []
    monkeypatch.setattr(spectrogram, "_png", levels.append)
    draw(tagger, tmp_path / "x.wav", 24.0)
    [level] = levels
    assert level.shape == (spectrogram.WIDTH, tagger.manifest.preprocessing.mel.n_mels)
    assert level.min() == 0 and level.max() == 1
    third = spectrogram.WIDTH // 3
    assert level[5 : third - 5].max() == 0
    low, high = level[third + 5 : 2 * third - 5], level[2 * third + 5 :]
    assert (low.max(axis=1) > 0.8).all() and (high.max(axis=1) > 0.8).all()
    assert np.ptp(low.argmax(axis=1)) == 0 and (high.argmax(axis=1) > low.argmax() + 5).all()


def test_the_spectrogram_has_no_gap_at_any_length(tmp_path: Path, tagger: Tagger) -> None:
    for seconds in (0.001, 0.3, 100.0):
        noise = np.random.default_rng(0).normal(0, 0.1, max(1, int(seconds * 8000)))
        soundfile.write(tmp_path / "noise.wav", noise, 8000)
        uri = draw(tagger, tmp_path / "noise.wav", seconds)
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        assert pixels.shape[:2] == (tagger.manifest.preprocessing.mel.n_mels, spectrogram.WIDTH)
        assert (pixels[-10:].max(axis=0) > 30).all()


def test_what_browsers_do_not_play_is_played_from_a_copy(tmp_path: Path, tagger: Tagger) -> None:
    soundfile.write(tmp_path / "tone.aiff", tone(900, 0.3), RATE)
    found = examine(tagger, str(tmp_path / "tone.aiff"), **SETTINGS)
    assert isinstance(found, Sound) and found.player.suffix == ".flac"
    copy, rate = soundfile.read(found.player)
    assert rate == RATE
    np.testing.assert_allclose(copy, tone(900, 0.3), atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tone.aiff", "tone.aiff.play.flac"]
    soundfile.write(tmp_path / "law.wav", tone(900, 0.3), RATE, subtype="ALAW")
    assert sounds._playable(str(tmp_path / "law.wav")).suffix == ".flac"


def test_a_file_that_is_gone_before_it_is_played_is_one_line(
    clip: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrogram, "draw", lambda path, *_, **__: Path(path).unlink())
    assert examine(tagger, str(clip), **SETTINGS) == Failed(str(clip), "changed while it was read")


def test_addresses_and_ports_that_cannot_be_served_are_named(tagger: Tagger) -> None:
    with pytest.raises(FsatError, match=r"--host must be an address, such as 127\.0\.0\.1\. Got here"):
        page.serve(tagger, host="here", port=None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FsatError, match=r"--port: no page can be served at 127\.0\.0\.1, port \d+ \(Address"):
            page.serve(tagger, host="127.0.0.1", port=taken.getsockname()[1])


def test_without_gradio_the_message_names_the_extra(project: Path) -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; from fsat.cli import main;"
        f"sys.argv = ['fsat', 'app', '--model', {str(project / 'data' / 'bundle')!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.strip() == "fsat: fsat app needs gradio: `pip install '.[app]'`."
