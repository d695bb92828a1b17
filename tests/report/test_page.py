"""The report: its numbers and words, data without effect as markup, equal bytes. `test_browser.py` uses a browser."""

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny_run
from html_page import Page
from PIL import Image

from fsat.clips import corrections
from fsat.clips.corrections import Correction
from fsat.report import charts, figures, media, png, scores
from fsat.report import clips as listed_clips
from fsat.report import page as report_page
from fsat.report.run import Run
from fsat.scoring import outcomes, summary, verification

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run.make_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def built(run: Run) -> report_page.Report:
    return report_page.build(run, listed=50)


@pytest.fixture(scope="module")
def page(built: report_page.Report) -> Page:
    return Page(built.html)


# --- numbers ---------------------------------------------------------------------------------------------------------


def score(run: Run, model: str, split: str = "test") -> float:
    """MAP@3 of all clips of a split, by `metrics/models.csv`."""
    found = run.models.set_index(["model", "split", "part"])["map3"]
    return float(found[model, split, "all"])


def test_a_label_no_model_knows_counts_as_missed(run: Run) -> None:
    odd = run.index.assign(label=run.index["label"].where(run.index["split"] == "train", "Theremin"))
    every = pd.concat([run.predictions, run.regressions])
    models = summary.summarise(every, odd, choice=run.choice, baseline="statistics").models
    assert score(replace(run, models=models), "stage2") == 0
    built = report_page.build(replace(run, index=odd, models=models), listed=3)
    assert "Theremin" in Page(built.html).data["labels"]


def by_hand(run: Run, split: str, model: str) -> float:
    """MAP@3, clip by clip."""
    index = run.index[run.index["split"] == ("train" if split == "heldout" else "test")]
    labels = dict(zip(index["fname"], index["label"], strict=True))
    every = pd.concat([run.predictions, run.regressions])
    precision = []
    for clip in every[(every["split"] == split) & (every["model"] == model)].to_dict("records"):
        if label := labels[clip["fname"]]:
            rank = 1 + sum(clip[other] > clip[label] for other in tiny_run.PLAIN)
            precision.append(1 / rank if rank <= 3 else 0.0)
    return float(np.mean(precision))


def headline_table(page: Page) -> str:
    return page.words.partition("Scores MAP@3")[2].partition("Intervals of two models")[0]


def test_the_headline_table_has_every_model_once(run: Run, page: Page) -> None:
    """Stage 2 is the submission and not told twice."""
    rows = headline_table(page)
    for name, model in (("Submission : stage 2 alone", "submission"), ("Stage 1 : mel only", "stage1"),
                        ("Statistics : regression, no training (the baseline)", "statistics")):  # fmt: skip
        found = re.findall(rf"{re.escape(name)} (\d\.\d+)", rows)
        assert [found[0], found[-1]] == [f"{by_hand(run, split, model):.3f}" for split in ("test", "heldout")]
    assert "Stage 2" not in rows and "Submission − stage 2" not in page.words  # noqa: RUF001
    assert "What the submission would lose" not in page.words


@pytest.mark.parametrize(("noise", "labels"), [(0.0, ("Bark", "Gong")), (0.0, ("Bark", "Gong", "Flute")), (2.6, ())])
def test_clips_that_are_all_right_have_no_interval(tmp_path: Path, noise: float, labels: tuple[str, ...]) -> None:
    run = tiny_run.make_run(tmp_path, noise=noise, labels=labels or tiny_run.PLAIN)
    lead = Page(report_page.build(run, listed=1).html).words.partition("Scores")[0]
    assert ("95 % interval" in lead.partition("Not better")[0]) == (noise > 0)


def test_each_model_of_the_submission_has_the_cost_of_leaving_it_out(tmp_path: Path) -> None:
    models = ("stage2", "statistics", "last")
    run = tiny_run.make_run(tmp_path, models=models, views=("last", "middle"), choose="best", select="last", noise=1.4)
    page = Page(report_page.build(run, listed=1).html)
    rows, words = headline_table(page), page.words
    for name in ("Stage 2 : mel + PCA", "Stage 1 : mel only", "Statistics : regression", "Last layer : regression"):
        assert rows.count(name) == 4
    assert "Submission : geometric mean of" in rows and "Submission : models chosen for each fold by the others" in rows
    assert "of the subsets of ensemble.models the one with the lowest log loss on held-out clips" in words
    costs = words.partition("What the submission would lose")[2].partition("How to read")[0]
    stored = run.models.query("part == 'all'").set_index(["split", "model"])["cost"]
    for model, name in zip(models, ("Stage 2", "Statistics", "Last layer"), strict=True):
        for split, clips in (("test", "test"), ("heldout", "held-out")):
            assert f"{name} {clips} clips {report_page._signed(stored[split, model])}" in costs


def test_without_networks_nothing_of_them_is_told(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, models=("last", "statistics"), views=("last",), networks=())
    built = report_page.build(run, listed=1)
    page = Page(built.html)
    told = page.words.partition("out of 4 labels")[2].partition("What shaped this run")[0]
    assert told and not re.search(r"stage [12]|network|Learning", told, flags=re.IGNORECASE)
    assert "Statistics against the submission, fold by fold" in page.words and "cosine distance 0.150" in page.words
    assert note_of(built) == "No network was trained."
    bare = tiny_run.make_run(tmp_path / "bare", models=("statistics",), networks=())
    words = Page(report_page.build(bare, listed=1).html).words
    assert (
        "Submission : statistics alone" in words and "None of these" not in words and "baseline" not in headline(words)
    )


def test_without_stage_2_stage_1_is_compared_with_the_baseline(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, models=("stage1",), networks=("stage1",))
    built = report_page.build(run, listed=1)
    page = Page(built.html)
    assert "Submission : stage 1 alone" in page.words and "Stage 2" not in page.words.partition("What shaped")[0]
    assert "All 2 trainings." in page.words and "cosine distance 0.200 in stage 1" in page.words
    assert list(page.data["curves"]) == ["stage1"]


def test_events_in_test_recordings_are_scored(run: Run, page: Page) -> None:
    scored = {"event": {"all": 0.25, "labels": {"bark": 0.5}}, "segment": {"all": 0.75, "labels": {"bark": 1.0}}}
    events = {"thresholds of labels": scored, "threshold 0.5": scored}
    html = report_page.build(replace(run, events=events), listed=1).html
    words = Page(html).words
    rows = "Thresholds of labels all 0.250 0.750 bark 0.500 1.000 Threshold 0.5 all 0.250 0.750"
    assert rows in words and "Events in the test recordings" not in page.words
    assert '<th scope="row">bark</th>' in html  # the head of its row


def headline(words: str) -> str:
    """What stands above the links to the sections."""
    return words.partition("Scores Folds")[0]


def test_two_labels_are_told_by_accuracy(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, labels=("Bark", "Gong"), n_per_label=20)
    html = report_page.build(run, listed=1).html
    right = run.models.set_index(["model", "split", "part"])["accuracy"]["submission", "test", "all"]
    words = headline(Page(html).words)
    assert f"{report_page._percent(right)} of 4 test clips tagged right" in words
    assert f"{score(run, 'submission'):.3f}" not in words and "<title>fsat report: accuracy" in html


def test_a_model_that_loses_to_the_baseline_says_so(run: Run, page: Page) -> None:
    assert score(run, "submission", "heldout") < score(run, "statistics", "heldout")
    assert "The submission does not beat the baseline on the held-out clips (95 % interval of the" in page.words
    assert "Stage 1 does not beat the baseline on the test clips" in page.words
    assert f"(statistics), reaches {score(run, 'statistics'):.3f} without training any network on" in page.words


def test_perfect_predictions_make_no_excuses_and_leave_nothing_to_list(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, noise=0.0)
    blind = run.regressions.assign(**dict.fromkeys(tiny_run.PLAIN, 0.25))
    words = Page(report_page.build(replace(run, regressions=blind), listed=5).html).words
    assert "does not beat" not in words and "chance (" not in words
    assert "No mistakes: every clip is tagged right." in words and "No clip is confused." in words


def test_verdicts() -> None:
    row = {"split": "Test clips", "first": "submission", "second": "last"}
    for mean, interval, words in (
        (0.1, (-0.05, 0.25), "higher than the baseline on the test clips, but it may be chance"),
        (0.0, (0.0, 0.0), "does not beat the baseline on the test clips"),
        (-0.1, (-0.2, -0.05), "does not beat the baseline on the test clips"),
    ):
        told = row | {"mean": mean, "interval": interval}
        [found] = scores.verdicts([told, told | {"second": "stage1"}], baseline="last", trained=True)
        assert words in found
        assert scores.verdicts([told], baseline="last", trained=False) == ([found] if mean < 0 else [])
    assert scores.verdicts([row | {"mean": 0.1, "interval": (0.05, 0.15)}], baseline="last", trained=True) == []


def _clips(rows: list[tuple[str, float, float, bool, bool | None]]) -> pd.DataFrame:
    columns = ["fname", "confidence", "p_actual", "correct", "verified"]
    return pd.DataFrame(rows, columns=columns).astype({"verified": object})


def test_mistakes_are_the_surest_wrong_ones() -> None:
    clips = _clips([("a", 0.9, 0.9, True, None), ("b", 0.5, 0.1, False, None), ("c", 0.8, 0.1, False, None)])
    assert [outcomes.mistakes(clips, limit=limit)["fname"].tolist() for limit in (5, 1)] == [["c", "b"], ["c"]]


def test_doubtful_labels_list_unverified_clips_first() -> None:
    clips = _clips(
        [
            ("verified, sure", 0.99, 0.0, False, True),
            ("unknown", 0.7, 0.1, False, None),
            ("unverified, near", 0.5, 0.4, False, False),
            ("unverified, far", 0.9, 0.0, False, False),
            ("right", 0.99, 0.99, True, False),
        ]
    )
    found = outcomes.suspicious(clips, limit=9)
    assert found["fname"].tolist() == ["unverified, far", "unknown", "unverified, near", "verified, sure"]
    assert found["doubt"].iloc[0] == pytest.approx(0.9)


def test_the_difference_is_taken_clip_by_clip() -> None:
    first = pd.DataFrame({"fname": ["a", "b", "c"], "ap3": [1.0, 0.5, 0.0]})
    second = pd.DataFrame({"fname": ["c", "a", "b"], "ap3": [0.0, 1.0, 0.5]})
    assert outcomes.differences(first, second) == {"mean": 0.0, "interval": (0.0, 0.0)}


def test_selected_epochs_are_those_of_the_last_phase(run: Run) -> None:
    history = run.histories[0]
    # Epoch 9 was not validated.
    assert outcomes.selected_epochs(history, select="best") == {"stage1": 10, "stage2": 10}
    history = history.assign(val_loss=np.where(history["epoch"] == 9, 0.01, 0.5))
    assert outcomes.selected_epochs(history, select="best") == {"stage1": 9, "stage2": 9}
    assert outcomes.selected_epochs(history, select="last") == {"stage1": 10, "stage2": 10}
    assert outcomes.selected_epochs(history.assign(val_loss=np.nan), select="best")["stage1"] == 10


# --- spectrograms and sound ------------------------------------------------------------------------------------------


def decode(uri: str, kind: str) -> bytes:
    assert uri.startswith(f"data:{kind};base64,")
    return base64.b64decode(uri.partition(",")[2], validate=True)


@pytest.mark.parametrize(
    ("seconds", "amplitude", "peak"),
    [(0.002, 0.01, None), (0.4, 0.01, 0.1), (3.0, 0.01, 0.1), (0.5, 4.0, 0.9)],  # raised by no more than 20 dB
)
def test_a_player_sounds_like_its_clip(seconds: float, amplitude: float, peak: float | None) -> None:
    tone = amplitude * np.sin(2 * np.pi * 440 * np.arange(int(seconds * 44_100)) / 44_100).astype(np.float32)
    uri = media.player(tone, sample_rate=44_100, seconds=1.0)
    assert uri == media.player(tone, sample_rate=44_100, seconds=1.0)
    sound, rate = soundfile.read(io.BytesIO(decode(uri, "audio/mpeg")))
    assert rate == media.PLAYER_RATE
    assert len(sound) / rate == pytest.approx(min(seconds, 1.0), abs=0.03)
    if peak is not None:
        assert np.argmax(np.abs(np.fft.rfft(sound))) / len(sound) * rate == pytest.approx(440, abs=3)
        assert np.abs(sound).max() == pytest.approx(peak, rel=0.15)
    assert media.player(tone[:0], sample_rate=44_100, seconds=1) == ""


@pytest.mark.parametrize(("n_frames", "width"), [(1, 1), (50, 50), (1000, 320)])
def test_a_spectrogram_is_a_png_with_low_bands_below(n_frames: int, width: int) -> None:
    frames = np.full((n_frames, 16), -80.0, dtype=np.float32)
    frames[n_frames // 2, 0] = 0  # loud in the lowest band, half way
    picture = Image.open(io.BytesIO(decode(media.spectrogram(frames), "image/png")))
    assert picture.format == "PNG" and picture.mode == "P" and picture.size == (width, 16)
    brightness = np.asarray(picture.convert("L"), dtype=int)
    loud = np.argwhere(brightness == brightness.max())
    assert len(loud) == 1 and loud[0][0] == 15 and abs(loud[0][1] - width // 2) <= 1
    assert (brightness < 5).sum() == 16 * width - 1


def test_media_stop_at_the_size_limit(run: Run, built: report_page.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    every = Page(built.html).data["media"]
    monkeypatch.setattr(
        listed_clips, "MEDIA_BYTES", sum(len(item["png"]) + len(item["mp3"]) for item in every.values()) // 2
    )
    html = report_page.build(run, listed=50).html
    fewer = Page(html)
    assert 0 < len(fewer.data["media"]) < len(every)
    assert "no spectrogram or sound: the page would grow too large" in fewer.words
    cards = [attributes for tag, attributes in fewer.tags if tag == "article"]
    n_silent = sum(card["data-key"] not in fewer.data["media"] for card in cards)
    assert f"{n_silent} listed clips have no spectrogram or sound" in fewer.words


# --- charts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 0.21), (0, 1e-5), (3, 3), (0, 1234)])
def test_ticks_cover_the_range(low: float, high: float) -> None:
    found = charts.ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 9
    assert np.diff(found) == pytest.approx(found[1] - found[0])


def test_a_curve_goes_on_over_gaps_and_stays_in_its_frame() -> None:
    plot = charts.Plot([], (1, 4), (0, 1), 100)
    for x, y, points in (
        ([1, 2, 3, 4], [0, np.nan, 1, np.nan], [(0, 100), (667, 0)]),
        ([2], [0.5], [(333, 50), (333, 50)]),
        ([2], [np.nan], []),
    ):
        drawn = charts.plot(replace(plot, curves=[charts.Curve(np.array(x), np.array(y), "stage1")]))
        found = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.partition("<path")[2].partition(">")[0])
        assert [(float(across), float(down)) for across, down in found] == points


def test_names_of_phases_that_start_close_together_stand_on_both_sides_of_their_lines() -> None:
    lines = [(1.0, "cyclic"), (26.0, "low"), (28.0, "high")]
    elements = charts.plot(charts.Plot([], (1, 30), (0, 1), 100, lines=lines))
    found = re.findall(r'<text class="tick" [^>]*?(text-anchor="end")?>(\w+)</text>', elements)
    assert [(name, bool(end)) for end, name in found] == [("cyclic", False), ("low", True), ("high", False)]


def test_a_matrix_draws_one_cell_for_each_pair_that_occurs() -> None:
    elements, _, _ = charts.matrix(np.array([[2, 2], [0, 0]]), ["a", "b"])
    assert elements.count('role="button"') == 2 and 'aria-label="2 of 4 a clips tagged b"' in elements


def test_histories_without_any_validation_can_be_drawn(run: Run) -> None:
    histories = {fold: rows.assign(val_loss=np.nan, val_map3=np.nan) for fold, rows in run.histories.items()}
    blank = replace(run, histories=histories)
    elements = figures.learning_curves(blank)["loss"]["stage1"]["elements"]
    assert "validation" not in elements and "training" in elements
    values = figures.curve_values(run)["stage1"]["0"]["val_loss"]
    assert values[0] is None and isinstance(values[1], float)
    assert png.learning_curves(blank)


@pytest.mark.parametrize("values", [[0.02, 1.0], [1.0], [30.0, 0.3], []])
def test_every_clip_is_in_the_histogram(values: list[float]) -> None:
    index = pd.DataFrame({"split": ["train"] * len(values) + ["test"], "seconds": [*values, np.nan]})
    chart = figures.durations(index)
    assert chart["elements"].count('<rect class="bar train"') == len({round(np.log2(value)) for value in values})


def note_of(built: report_page.Report) -> str:
    """What the PNG file of the learning curves says of itself."""
    return Image.open(io.BytesIO(built.learning_curves)).info["Description"]


def test_the_learning_curves_are_a_small_picture_that_says_what_it_shows(run: Run, built: report_page.Report) -> None:
    picture = Image.open(io.BytesIO(built.learning_curves))
    assert picture.format == "PNG" and picture.width > 600 and picture.height > 300 and picture.info["Title"]
    assert "Synthetic demo data" not in note_of(built) and not run.is_demo
    epochs = pd.concat([run.histories[0]] * 30, ignore_index=True)
    epochs["epoch"] = epochs.groupby("stage").cumcount() + 1
    assert len(png.learning_curves(replace(run, histories=dict.fromkeys(range(10), epochs)))) < 400_000


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_scores_of_the_metrics(run: Run, page: Page) -> None:
    row = run.models[run.models["model"] == "submission"].query("split == 'test' and part == 'all'").iloc[0]
    assert f"The 95 % interval of the score is {row['low']:.3f} to {row['high']:.3f}." in page.words
    assert f"{row['map3']:.3f} MAP@3 on 10 test clips" in page.words


def test_listed_clips_have_spectrogram_and_sound(page: Page) -> None:
    keys = {attributes["data-key"] for tag, attributes in page.tags if tag == "article"}
    assert len(keys) > 5
    for item in page.data["media"].values():
        assert len(decode(item["mp3"], "audio/mpeg")) > 500 and decode(item["png"], "image/png") and item["s"] > 0
    assert len(keys - page.data["media"].keys()) <= 1  # the one clip that cannot be read says why


@pytest.mark.parametrize(("test", "select"), [("none", "best"), ("unlabelled", "last")])
def test_without_labelled_test_clips_cross_validation_is_the_score(tmp_path: Path, test: str, select: str) -> None:
    """And where the weights were chosen on the same clips, the page says so."""
    run = tiny_run.make_run(tmp_path, test=test, select=select)
    page = Page(report_page.build(run, listed=5).html)
    assert list(page.data["clips"]) == ["heldout"]
    assert f"{score(run, 'submission', 'heldout'):.3f} MAP@3 on" in page.words
    assert {card["data-key"].partition("/")[0] for tag, card in page.tags if tag == "article"} == {"train"}
    assert ("cv: weights were chosen on the held-out fold" in page.words) == (select == "best")
    assert ("eights were chosen on the held-out fold" in page.words.split("Scores MAP@3")[0]) == (select == "best")
    assert "No labelled test clips" in page.words
    assert "Submission held-out clips" in page.words and "Submission test clips" not in page.words


def test_calibration_is_shown_before_and_after(run: Run, page: Page) -> None:
    part = page.words.partition("What a probability means")[2].partition("The most confident mistakes")[0]
    pairs, temperature = run.calibration["before_after"], run.calibration["temperature"]
    for split, title in (("cv", "held-out"), ("test", "test")):
        for model, name in (("stage1", "Stage 1"), ("submission", "Submission")):
            numbers = [*pairs["ece"][split][model], *pairs["log_loss"][split][model], temperature[model]]
            assert f"{name} {title} clips {' '.join(f'{value:.3f}' for value in numbers)}" in part
    assert "cosine distance 0.250 in stage 2) keeps 95 % of the held-out clips" in part
    assert "of the other folds 94 % are kept." in part  # tiny_run has no share of the test clips


def test_an_empty_bin_has_no_point(run: Run) -> None:
    n_points = int(run.reliability["before"].notna().sum())
    assert 0 < n_points < len(run.reliability)
    elements = figures.reliability(run.reliability)["elements"]
    assert elements.count('class="mark stage1"') == n_points and "nan" not in elements
    assert 'class="mark' not in figures.reliability(run.reliability.assign(before=np.nan, after=np.nan))["elements"]


def test_the_demo_is_called_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    built = report_page.build(tiny_run.make_run(tmp_path / "data/demo", path="data/demo"), listed=2)
    page = Page(built.html)
    assert "Synthetic demo data." in page.words and "Synthetic demo data." in note_of(built)
    assert "freesound.org" not in str(page.tags)  # its freesound numbers are made up


def test_other_data_are_not_called_synthetic_and_link_to_freesound(page: Page) -> None:
    assert "Synthetic" not in page.words
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and "freesound" in attributes["href"]]
    assert links and all(re.fullmatch(r"https://freesound\.org/s/\d+/", link) for link in links)


def test_all_parameters_are_listed(run: Run, page: Page) -> None:
    for key in ("seed", "mel.n_fft", "augment.erase.area", "train.stage2.finetune_high.lr"):
        assert f" {key} " in page.words
    assert "0.02, 0.4" in page.words


def test_the_page_needs_nothing_from_elsewhere(built: report_page.Report, page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "poster", "srcset", "data"):
            target = attributes.get(name, "#")
            is_link = tag == "a" and target.startswith("https://freesound.org/s/")
            assert target.startswith(("#", "data:")) or is_link, (tag, target)
    assert "url(" not in page.parts["style"][0] and "@import" not in page.parts["style"][0]
    assert len(built.html) < 20_000_000


def test_only_the_pages_own_script_may_run(page: Page) -> None:
    assert len(page.parts["script"]) == 2
    digest = base64.b64encode(hashlib.sha256(page.parts["script"][1].encode()).digest()).decode()
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_names_and_labels_are_inert(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, labels=tiny_run.HOSTILE)
    built = report_page.build(run, listed=50)
    page = Page(built.html)
    assert len(page.parts["script"]) == 2 and "pwned" not in page.parts["script"][1]
    assert "<" not in page.parts["script"][0]
    assert sorted(page.data["labels"]) == sorted(tiny_run.HOSTILE)
    names = {clip[0] for clips in page.data["clips"].values() for clip in clips}
    assert any("onerror" in name for name in names)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    # Only the page's own pictures, whose sources the script sets; no markup of a licence or problem.
    assert all("src" not in attributes for tag, attributes in page.tags if tag == "img")
    assert "i" not in {tag for tag, _ in page.tags}
    assert "639919" not in [text.strip() for text in page.text]
    assert any("{{ 791 * 809 }}" in text for text in page.text)


def test_ids_are_unique_and_what_refers_to_them_finds_them(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-controls"):
            assert attributes.get(name, ids[0]) in ids
        target = attributes.get("href", "#" + ids[0])
        assert not target.startswith("#") or target[1:] in ids


def test_equal_runs_give_equal_bytes(tmp_path: Path, run: Run, built: report_page.Report) -> None:
    """Here, and as the stage writes them, in other processes with other orders of sets."""
    assert report_page.build(run, listed=50) == built
    tiny_run.write(run, tmp_path)
    code = "from stages import report; report.main()"
    pages = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
        pages.append((tmp_path / "data/report/index.html").read_text(encoding="utf-8"))
    assert pages[0] == pages[1] and b"opens from disk" in done.stdout
    assert f"{score(run, 'submission'):.3f}" in pages[0]
    assert Image.open(tmp_path / "metrics/figures/learning_curves.png").format == "PNG"


def test_numbers_are_written_as_people_read_them() -> None:
    shares = {0.004: "<1 %", 0.0: "0 %", 0.999: ">99 %", 1.0: "100 %", None: "–"}  # noqa: RUF001
    assert {share: report_page._percent(share) for share in shares} == shares
    assert [report_page._signed(value) for value in (-0.0123, 0.5)] == ["−0.012", "+0.500"]  # noqa: RUF001


def doubted(page: Page) -> list[str]:
    """Names of the training clips that a page lists."""
    keys = [attributes["data-key"].partition("/") for tag, attributes in page.tags if tag == "article"]
    return [fname for split, _, fname in keys if split == "train"]


def test_corrected_clips_are_not_doubted_again_and_their_scores_stay(tmp_path: Path) -> None:
    run = tiny_run.make_run(tmp_path, n_per_label=18)
    before = Page(report_page.build(run, listed=50).html)
    listed = doubted(before)
    train = run.index[run.index["split"] == "train"]
    given = dict(zip(train["fname"], train["label"], strict=True))
    other = next(label for label in tiny_run.PLAIN if label != given[listed[2]])
    rows = [Correction(listed[0], "drop"), Correction(listed[1], "verify"), Correction(listed[2], "relabel", other)]
    folds = corrections.apply(train, run.folds["fold"].to_numpy(), rows, unverified_weight=1.0)
    after = Page(report_page.build(replace(run, folds=folds), listed=50).html)
    assert doubted(after) == listed[3:]
    assert "3 clips have a correction and are not listed" in after.words
    assert after.data["clips"] == before.data["clips"]


def test_scores_by_verification_and_noise_are_those_of_the_metrics(page: Page, run: Run) -> None:
    noise = verification.noise(verification.gather(run.predictions, run.index))
    found = verification.scores(run.predictions, run.index, noise)
    assert f"MAP@3 {found['verified']['map3']:.3f} on the {found['verified']['n']} verified ones" in page.words
    assert f"{found['unverified']['map3']:.3f} on the {found['unverified']['n']} others" in page.words
    counted = noise[noise["counted"] > 0]
    assert f"{len(counted)} labels" in page.words and found["noise"] > 0
