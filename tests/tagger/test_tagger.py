"""Tagging gives what the pipeline gives, for any file; windows, failures, embeddings, less effort."""

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import LABELS, RATE, ROOT, copied, edit, inside, project, put, sigmoid_bundle, tone, without_networks

from fsat.clips import audio
from fsat.core import files
from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES
from fsat.features import pca, spectral
from fsat.inputs.frames import FrameStore
from fsat.scoring import calibration
from fsat.scoring.names import Stage
from fsat.tagger import bundle, windows
from fsat.tagger import tagger as tagging
from fsat.tagger.card import model_card
from fsat.tagger.results import Failed, Tagged
from fsat.tagger.tagger import Tagger
from hostile import hostile_pickle

__all__ = ["project", "without_networks"]


@pytest.fixture(scope="module")
def tagger(project: Path) -> Tagger:
    return Tagger(bundle.read(project / "data" / "bundle"), embeddings=True)


@pytest.fixture(scope="module")
def mel_tagger(project: Path) -> Tagger:
    return Tagger(bundle.read(project / "data" / "bundle"), stage="stage1")


def tagged(tagger: Tagger, *paths: Path, segment_s: float | None = None, hop_s: float | None = None) -> list[Tagged]:
    results = list(tagger.tag_files(paths, segment_s=segment_s, hop_s=hop_s))
    assert all(isinstance(result, Tagged) for result in results), results
    return [result for result in results if isinstance(result, Tagged)]


def predicted(project: Path, model: str, name: str) -> np.ndarray:
    """The pipeline's probabilities of a test clip, at the temperature it found."""
    table = files.read_parquet(project / "data" / "predictions.parquet")
    row = table[(table["model"] == model) & (table["split"] == "test") & table["fname"].str.endswith(name)]
    temperature = files.read_json(project / "metrics" / "calibration.json")["temperature"][model]
    return calibration.scale(row[LABELS].to_numpy(), temperature)[0]


@pytest.mark.parametrize("name", ["short.wav", "long.flac", "stereo.wav"])
def test_tagging_a_test_clip_alone_gives_the_pipelines_own_prediction(name: str, project: Path, tagger: Tagger) -> None:
    expected = predicted(project, "submission", name)
    assert expected.max() - expected.min() > 0.01  # a network that tells nothing apart would prove nothing
    [result] = tagged(tagger, project / "sounds" / "test" / name)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-4)


def test_stage1_gives_its_own_prediction_without_statistics(
    project: Path, mel_tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(spectral, "spectral_statistics")
    [result] = tagged(mel_tagger, project / "sounds" / "test" / "long.flac")
    np.testing.assert_allclose(result.probabilities, predicted(project, "stage1", "long.flac"), atol=1e-4)
    assert mel_tagger.passes is not None and mel_tagger.n_passes == 2 * len(mel_tagger.passes)


def test_embeddings_are_the_mean_of_the_trunks_features(project: Path, tagger: Tagger) -> None:
    path = project / "sounds" / "test" / "short.wav"
    [result] = tagged(tagger, path)
    assert result.embedding is not None and tagger.passes is not None
    assert result.embedding.dtype == np.float32
    assert result.embedding.shape == (1280,)
    # By hand, by Keras: the only length of so short clips, both tries, both folds.
    import keras

    from fsat.inputs import batches
    from fsat.networks import model

    [features] = windows.file_features(str(path), preprocessing=tagger.manifest.preprocessing, filters=tagger.filters)  # type: ignore[misc]
    assert tagger.manifest.passes is not None
    clips = tagger._clips([features])
    seed, expected = tagger.manifest.passes.seed, []
    for fold in (0, 1):
        network = model.load_network(project / "data" / "models" / "stage2" / f"fold{fold}", labels=LABELS)
        trunk = keras.Model(network.inputs, network.get_layer("embedding").output)
        for n_frames, number in tagger.passes:
            [inputs] = batches.crop_pass(clips, n_frames, 1, (seed, "predict", fold, "test", n_frames, number))
            expected.append(np.asarray(trunk(inputs))[0])
    np.testing.assert_allclose(result.embedding, np.mean(expected, axis=0), atol=1e-4)


def test_a_file_that_fails_is_named_and_stops_no_other(project: Path, mel_tagger: Tagger, tmp_path: Path) -> None:
    good = project / "sounds" / "test" / "short.wav"
    (tmp_path / "text.wav").write_text("no sound at all")
    results = list(mel_tagger.tag_files([tmp_path / "text.wav", good, tmp_path / "gone.wav"]))
    assert [type(result) for result in results] == [Failed, Tagged, Failed]
    assert isinstance(results[0], Failed) and results[0].reason.startswith("not audio")
    assert results[2] == Failed(str(tmp_path / "gone.wav"), "no such file")


def test_silent_and_tiny_files_are_tagged(mel_tagger: Tagger, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "one.wav", np.zeros(1), 8_000)
    for result in tagged(mel_tagger, tmp_path / "silent.wav", tmp_path / "one.wav"):
        assert result.probabilities.sum() == pytest.approx(1)


def test_segments_are_windows_of_the_file(mel_tagger: Tagger, tmp_path: Path) -> None:
    low, high = tone(300, 1.0), tone(4000, 1.0)  # two seconds each
    soundfile.write(tmp_path / "both.wav", np.concatenate([low, high, high[:RATE]]), RATE)
    soundfile.write(tmp_path / "low.wav", low, RATE)
    results = tagged(mel_tagger, tmp_path / "both.wav", segment_s=2.0)
    assert [(result.start_s, result.end_s) for result in results] == [(0, 2), (2, 4), (4, 5)]
    # The first window is that sound, and no other; its spans have another name's key, so the crops are compared.
    p = mel_tagger.manifest.preprocessing
    both, alone = str(tmp_path / "both.wav"), str(tmp_path / "low.wav")
    [first, *_] = windows.stream_features(both, segment_s=2.0, hop_s=2.0, preprocessing=p, filters=mel_tagger.filters)
    [whole] = windows.file_features(alone, preprocessing=p, filters=mel_tagger.filters)  # type: ignore[misc]
    assert isinstance(first, windows.Features)
    np.testing.assert_array_equal(first.frames, whole.frames)
    overlapping = tagged(mel_tagger, tmp_path / "both.wav", segment_s=2.0, hop_s=1.0)
    assert [(result.start_s, result.end_s) for result in overlapping] == [(0, 2), (1, 3), (2, 4), (3, 5)]
    np.testing.assert_array_equal(overlapping[2].probabilities, results[1].probabilities)


def test_a_long_sound_is_the_mean_of_its_parts(
    project: Path, tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighted by their lengths; a sound under one and a half parts is seen whole."""
    monkeypatch.setattr(windows, "PART_S", 0.5)
    paths = [tmp_path / "long.wav", project / "sounds" / "test" / "short.wav"]
    soundfile.write(paths[0], np.concatenate([tone(300, 0.5), tone(4000, 0.2)])[: int(1.9 * RATE)], RATE, "FLOAT")
    parts, [long, short] = tagged(tagger, *paths, segment_s=0.5), tagged(tagger, *paths)
    cuts = [(part.start_s, part.end_s) for part in parts]
    assert cuts[:4] == [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 1.9)] and (long.start_s, long.end_s) == (0, 1.9)
    weights = [0.5, 0.5, 0.5, 0.4]
    for name in ("probabilities", "embedding", "unknown_score"):
        expected = np.average([getattr(part, name) for part in parts[:4]], axis=0, weights=weights)
        np.testing.assert_allclose(getattr(long, name), expected, rtol=1e-5)
    assert tagger.manifest.unknown is not None and long.unknown_score is not None
    assert long.unknown is (long.unknown_score > tagger.manifest.unknown.threshold["stage2"])
    samples = soundfile.read(paths[0], dtype="float32")[0]
    options: dict[str, Any] = {"preprocessing": tagger.manifest.preprocessing, "filters": tagger.filters}
    for part_s, n_parts in ((0.5, 4), (1.26, 2), (1.3, 1)):
        monkeypatch.setattr(windows, "PART_S", part_s)
        assert len(windows.part_features("x", np.array_split(samples, 7), **options)) == n_parts
    assert short.end_s > 1


def test_features_in_memory_are_of_half_an_hour_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [1000, 1000, 700, 100, 1, 3600, 1, 0, 5]
    sounds = [str(tmp_path / f"{number}.wav") for number in range(len(lengths))]
    for name, n in zip(sounds, lengths, strict=True):
        soundfile.write(name, np.zeros(n * 1000, dtype=np.int16), 1000)
    Path(sounds[7]).write_text("no sound")
    found = [[sounds.index(name) for name in chunk] for chunk in tagging._chunks(sounds, audio.announced_seconds, 3)]
    assert found == [[0], [1, 2, 3], [4], [5], [6, 7, 8]]


@settings(deadline=None)  # how long an example takes says nothing on a busy machine
@given(
    n=st.integers(0, 5_000),
    length=st.integers(1, 700),
    hop=st.floats(0.01, 1),
    cuts=st.lists(st.integers(0, 5_000), max_size=6),
)
def test_windows_follow_the_hop_and_cover_the_stream(n: int, length: int, hop: float, cuts: list[int]) -> None:
    step = max(1, round(hop * length))
    x = np.arange(n, dtype=np.float32)
    blocks = np.split(x, sorted(min(cut, n) for cut in cuts))
    found = list(windows.windows(blocks, 1, segment_s=length, hop_s=step))
    for number, (start, samples) in enumerate(found):
        assert start == number * step
        np.testing.assert_array_equal(samples, x[start : start + len(samples)])
    assert all(len(samples) == length for _, samples in found[:-1])
    last_start, last = found[-1]
    assert last_start + len(last) == n
    assert len(last) < length + (step + 1) // 2
    assert len(found) == 1 or len(last) >= length - step // 2


def test_numbers_out_of_range_name_the_option(project: Path, mel_tagger: Tagger) -> None:
    opened = bundle.read(project / "data" / "bundle")
    for n_folds in (0, -1, 3):
        with pytest.raises(FsatError, match=rf"--folds must be between 1 and 2.*Got {n_folds}"):
            Tagger(opened, n_folds=n_folds)
    with pytest.raises(FsatError, match=r"--tries must be at least 1.*Got 0"):
        Tagger(opened, tries=0)
    with pytest.raises(FsatError, match=r"--segments must be between"):
        list(mel_tagger.tag_files([], segment_s=0))


@pytest.mark.parametrize("name", ["fold1.onnx", "fold1.npz"])
def test_a_file_that_was_changed_is_refused_where_it_is_needed(name: str, project: Path, tmp_path: Path) -> None:
    folder = copied(project, tmp_path / "bundle")
    path = folder / "stage1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FsatError, match=rf"{name}: is not the file that bundle\.json names"):
        Tagger(folder, stage="stage1")
    assert Tagger(folder, stage="stage1", n_folds=1).marks_unknown


def reads_another_file(network: Path, other: Path) -> bytes:
    """ONNX lets weights lie in a file of any name beside the model."""
    import onnx

    made = onnx.load(str(network))
    other.write_bytes(bytes(1_000_000))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(other)), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)
    return made.SerializeToString()


@pytest.mark.parametrize("kind", ["pickle", "half", "reads another file", "another network"])
def test_a_network_that_does_not_fit_is_one_clear_line(kind: str, project: Path, tmp_path: Path) -> None:
    """Although its checksum is right."""
    networks, trap = project / "data" / "bundle", tmp_path / "sprung"
    whole = (networks / "stage1" / "fold0.onnx").read_bytes()
    content = {
        "pickle": hostile_pickle(trap),
        "half": whole[: len(whole) // 2],
        "reads another file": reads_another_file(networks / "stage1" / "fold0.onnx", tmp_path / "secret"),
        "another network": (networks / "stage2" / "fold0.onnx").read_bytes(),
    }[kind]
    why = r"is no network that ONNX Runtime opens"
    if kind == "another network":
        why = r"does not fit bundle\.json: its inputs are .*'pca'"
    with pytest.raises(FsatError, match=rf"fold0\.onnx: {why}") as refused:
        Tagger(copied(project, tmp_path / "bundle", stage1_fold0=content), stage="stage1")
    assert "\n" not in str(refused.value) and not trap.exists()


@pytest.mark.parametrize("value", [np.nan, 2.0, -1.0])
def test_outputs_that_are_no_probabilities_are_refused(value: float, project: Path, tmp_path: Path) -> None:
    import onnx

    made = onnx.load(str(project / "data" / "bundle" / "stage1" / "fold0.onnx"))
    node = next(node for node in made.graph.node if "probabilities" in node.output)
    node.output[:] = ["before"]
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], dtype=np.float32), "factor"))
    made.graph.node.append(onnx.helper.make_node("Add", ["before", "factor"], ["probabilities"]))
    folder = copied(project, tmp_path / "bundle", stage1_fold0=made.SerializeToString())
    with pytest.raises(FsatError, match=r"fold0\.onnx: gives outputs that are no probabilities"):
        Tagger(folder, stage="stage1", n_folds=1)(tone(500, 0.5), RATE)


def test_equal_bytes_for_any_number_of_threads_and_twice(project: Path) -> None:
    paths = sorted((project / "sounds" / "test").iterdir())
    found = []
    for threads in (1, 2, None, 1):
        results = tagged(Tagger(project / "data" / "bundle", threads=threads, embeddings=True), *paths)
        values = [(result.probabilities, result.embedding, result.unknown_score) for result in results]
        assert not any(value is None for row in values for value in row)
        found.append([np.asarray(value).tobytes() for row in values for value in row])
    assert found[0] == found[1] == found[2] == found[3]


LIGHT = """
import sys
from fsat import Tagger
tagger = Tagger(sys.argv[1])
assert tagger(sys.argv[2]).probabilities.sum() > 0
print(sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[3:])))
"""
HEAVY = ("tensorflow", "keras", "jax", "pandas", "pyarrow", "sklearn", "matplotlib", "librosa", "numba", "onnx")


def test_tagging_imports_nothing_heavy(project: Path) -> None:
    clip = project / "sounds" / "test" / "long.flac"
    arguments = [str(project / "data" / "bundle"), str(clip), *HEAVY]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]" and done.stderr == ""


def test_tagging_leaves_no_trace_of_telemetry(project: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps the identity under which it reports among temporary files, or in the user's folder."""
    clip = project / "sounds" / "test" / "long.flac"
    homes = {name: str(tmp_path) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | homes
    words = ["tag", "--model", str(project / "data" / "bundle"), "--tries", "1", str(clip)]
    subprocess.run(
        [sys.executable, "-m", "fsat.cli", *words], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = "import sys, fsat; print([name for name in sys.modules if name.startswith('fsat.') or name == 'numpy'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_files_are_tagged_without_a_line_on_stderr(project: Path, tmp_path: Path) -> None:
    """Worker processes import neither TensorFlow nor Keras, and print nothing."""
    names = [tmp_path / f"{number}.wav" for number in range(17)]
    for name in names:
        shutil.copy(project / "sounds" / "test" / "short.wav", name)
    done = subprocess.run(
        [sys.executable, "-m", "fsat.cli", "tag", "--model", project / "data" / "bundle", "--tries", "1", *names],
        cwd=ROOT,
        env=os.environ | {"FSAT_JOBS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 18
    assert done.stderr == "", "bars are for terminals"


def test_a_worker_process_imports_nothing_heavy(project: Path) -> None:
    """It gets the function and a name by pickle, and imports what these need."""
    code = (
        "import pickle, sys; work, path, names = pickle.load(sys.stdin.buffer); work(path); "
        "print(*[name for name in names if name in sys.modules])"
    )
    tagger = Tagger(project / "data" / "bundle")
    work = partial(windows.file_features, preprocessing=tagger.manifest.preprocessing, filters=tagger.filters)
    sent = pickle.dumps((work, str(project / "sounds" / "test" / "short.wav"), HEAVY))
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout.decode().split() == [] and done.stderr == b""


def test_a_ready_bundle_of_one_sigmoid_network(project: Path, tmp_path: Path) -> None:
    tagger = Tagger(sigmoid_bundle(project, tmp_path / "ready"), embeddings=True)
    assert tagger.n_passes == 1 and tagger.stage is None
    paths = sorted((project / "sounds" / "test").iterdir())
    results = tagged(tagger, *paths)
    p, limits = tagger.manifest.preprocessing, MEL_STYLES["librosa"].limits
    for path, result in zip(paths, results, strict=True):
        [features] = windows.file_features(str(path), preprocessing=p, filters=tagger.filters)  # type: ignore[misc]
        store = FrameStore(features.frames, ["x"], np.array([0]), np.array([len(features.frames)]), limits)
        x = store.scale(features.frames.T)[None, :, :, None]  # all frames, in order
        [expected] = tagger._predictors[0]["stage1"]({"mel": x})
        # A probability under 1e-7 counts as that.
        np.testing.assert_allclose(result.probabilities, np.maximum(expected[:3], 1e-7), rtol=1e-6)
        assert result.embedding is not None
        np.testing.assert_allclose(result.embedding, expected[3:], rtol=1e-6)
    assert max(abs(result.probabilities.sum() - 1) for result in results) > 0.1
    tiny = tagger(np.zeros(10, dtype=np.float32), RATE)
    assert np.isfinite(tiny.probabilities).all()
    with pytest.raises(FsatError, match="--tries cannot be chosen: this bundle's models see a clip once, whole"):
        Tagger(sigmoid_bundle(project, tmp_path / "again"), tries=2)
    card = model_card(tagger.manifest)
    assert "seen once, whole" in card and "independent of each other" in card and "marked as `unknown`" not in card
    assert (tagger.marks_unknown, tiny.unknown, tiny.unknown_score) == (False, None, None)


def test_a_temperature_divides_the_logits(project: Path, tmp_path: Path) -> None:
    clip = project / "sounds" / "test" / "stereo.wav"
    plain = Tagger(sigmoid_bundle(project, tmp_path / "plain"))(clip).probabilities
    warm = {"temperature": {"stage1": 2.5, "submission": 2.5}}
    cooled = Tagger(sigmoid_bundle(project, tmp_path / "warm", calibration=warm))(clip).probabilities
    np.testing.assert_allclose(np.log(cooled / (1 - cooled)), np.log(plain / (1 - plain)) / 2.5, rtol=1e-9)
    folder, found = copied(project, tmp_path / "bundle"), []
    for calibrated in (None, warm):
        edit(folder, put("calibration", calibrated))
        found.append(Tagger(folder, stage="stage1")(clip).probabilities)
    expected = found[0] ** (1 / 2.5)
    np.testing.assert_allclose(found[1], expected / expected.sum(), rtol=1e-9)


# Without networks


def test_regressions_alone_give_the_pipelines_own_prediction(without_networks: Path) -> None:
    """And its scores of "none of these", by the view `last`; five folds were asked for, and three made."""
    tagger = Tagger(without_networks / "data" / "bundle", embeddings=True)
    assert tagger.manifest.networks == {} and tagger.n_passes == 1
    assert tagger.manifest.models == ["last", "middle", "statistics"]
    table = files.read_parquet(without_networks / "data" / "unknown.parquet").query("split == 'test'")
    scores = dict(zip(table["fname"], table["score"], strict=True))
    assert tagger.manifest.unknown is not None
    threshold = tagger.manifest.unknown.threshold["last"]
    for result in tagged(tagger, *sorted((without_networks / "sounds" / "test").iterdir())):
        name = Path(result.path).name
        expected = predicted(without_networks, "submission", name)
        assert expected.max() - expected.min() > 0.01
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
        assert result.unknown_score == pytest.approx(scores[f"test/{name}"], abs=1e-5)
        assert result.unknown is (scores[f"test/{name}"] > threshold)
        assert result.embedding is not None and len(result.embedding) == tagger.manifest.features["last"]
    card = model_card(tagger.manifest)
    assert "no network was trained" in card and "mean over the folds" not in card and "flatter" not in card


def test_what_a_bundle_without_networks_lacks_cannot_be_chosen(without_networks: Path, tmp_path: Path) -> None:
    folder = copied(without_networks, tmp_path / "bundle")
    for option, message in (
        ({"stage": "stage2"}, "--stage cannot be chosen: this bundle has no networks"),
        ({"n_folds": 1}, "--folds cannot be chosen: this bundle has none"),
        ({"tries": 1}, "--tries cannot be chosen"),
    ):
        with pytest.raises(FsatError, match=message):
            Tagger(folder, **option)

    def forget(values: dict[str, Any]) -> None:
        values |= {
            "models": ["statistics"],
            "unknown": None,
            "features": {"statistics": values["features"]["statistics"]},
        }
        for name in ("trunk.onnx", "last.npz"):
            del values["files"][name]

    edit(folder, forget)
    assert Tagger(folder)(tone(700, 0.5), RATE).unknown is None
    with pytest.raises(FsatError, match="gives no embeddings"):
        Tagger(folder, embeddings=True)


def test_recordings_are_tagged_by_the_folds_that_did_not_see_them(without_networks: Path, tmp_path: Path) -> None:
    """Each fold's clips in a recording of their own, with a second of quiet around each; test clips in another."""
    from fsat.networks import efficientat
    from stages import evaluate, thresholds

    folder = tmp_path / "run"
    shutil.copytree(without_networks, folder, ignore=shutil.ignore_patterns("bundle"))
    with inside(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientat, "BLOCKS", efficientat.BLOCKS[3::9])
        index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
        homes = {fname: f"r{fold}.wav" for fname, fold in zip(folds["fname"], folds["fold"], strict=True)}
        place: dict[str, list[np.ndarray]] = {}
        starts, ends = [], []
        for row in index.itertuples():
            parts = place.setdefault(homes.get(str(row.fname), "test/r.wav"), [])
            x = tone(300 + 10 * len(parts), 0.7)
            starts.append(sum(map(len, parts)) / RATE + 1)
            ends.append(starts[-1] + len(x) / RATE)
            parts += [np.zeros(RATE, np.float32), x]
        for path, parts in place.items():
            soundfile.write(Path("sounds", path), np.concatenate(parts), RATE)
        paths = [homes.get(fname, "test/r.wav") for fname in index["fname"]]
        label = index["label"].fillna("Gong")
        files.write_csv("data/index.csv", index.assign(path=paths, start=starts, end=ends, label=label))
        thresholds.main()
        evaluate.main()
        found, windows = files.read_json("metrics/thresholds.json"), files.read_parquet("data/windows.parquet")
        scored = files.read_json("metrics/events.json")
    assert found["source"] == "recordings" and set(found["threshold"]) == set(LABELS)
    assert {(row.path, row.fold) for row in windows[["path", "fold"]].itertuples()} == {
        *((f"r{fold}.wav", fold) for fold in (0, 1, 2)),
        ("test/r.wav", -1),
    }
    assert (windows.groupby("path")["start_s"].diff().dropna() == 0.25).all()
    assert np.allclose(windows[LABELS].sum(axis=1), 1)
    [test] = [rows for path, rows in windows.groupby("path") if path == "test/r.wav"]
    tagger = Tagger(without_networks / "data" / "bundle")
    expected = tagged(tagger, folder / "sounds" / "test" / "r.wav", segment_s=1.0, hop_s=0.25)
    np.testing.assert_allclose(test[LABELS], [result.probabilities for result in expected], atol=1e-6)
    seen = tagged(tagger, folder / "sounds" / "r0.wav", segment_s=1.0, hop_s=0.25)
    of_fold = windows.loc[windows["path"] == "r0.wav", LABELS].to_numpy()
    assert np.abs(of_fold - np.array([result.probabilities for result in seen])).max() > 1e-3
    assert 0 <= scored["thresholds of labels"]["event"]["all"] <= 1


def test_recordings_are_tagged_by_workers_that_started_in_another_folder(
    without_networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsat.core.parallel import map_clips
    from stages import thresholds

    for number in (1, 2):
        soundfile.write(tmp_path / f"{number}.wav", tone(300 * number, 1.5), RATE)
    (tmp_path / "data").symlink_to(without_networks / "data")
    monkeypatch.setenv("FSAT_JOBS", "2")
    assert list(map_clips(abs, [1, 2], desc="")) == [1, 2]  # starts them
    with inside(tmp_path):
        alone = thresholds._tagged(Path("data/bundle"), Path(), ["1.wav", "2.wav"])
        os.environ["FSAT_JOBS"] = "2"
        together = thresholds._tagged(Path("data/bundle"), Path(), ["1.wav", "2.wav"])
    pd.testing.assert_frame_equal(together, alone)


# None of these


def test_the_bundle_carries_what_calibrate_found(project: Path) -> None:
    manifest = bundle.read(project / "data" / "bundle").manifest
    found = files.read_json(project / "metrics" / "calibration.json")
    assert manifest.calibration is not None and manifest.calibration.temperature == found["temperature"]
    assert manifest.unknown is not None and manifest.unknown.threshold == found["unknown"]["threshold"]
    assert manifest.events is not None
    assert manifest.events.model_dump() == files.read_json(project / "metrics" / "thresholds.json")
    assert set(found["unknown"]["kept"]) == {"cv", "test"}
    card = model_card(manifest)
    assert "calibrated by a temperature" in card and "not calibrated" not in card
    assert "marked as `unknown`" in card and "keeps 95% of the held-out clips" in card


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_the_score_of_a_test_clip_is_the_pipelines(stage: Stage, project: Path) -> None:
    table = files.read_parquet(project / "data" / "unknown.parquet")
    known = table[(table["model"] == stage) & (table["split"] == "test")].set_index("fname")["score"]
    tagger = Tagger(project / "data" / "bundle", stage=stage)
    assert tagger.manifest.unknown is not None
    threshold = tagger.manifest.unknown.threshold[stage]
    results = tagged(tagger, *sorted((project / "sounds" / "test").iterdir()))
    assert len(results) == len(known) == 3
    for result in results:
        [name] = [name for name in known.index if name.endswith(Path(result.path).name)]
        assert result.unknown_score == pytest.approx(known[name], abs=1e-4)
        assert result.unknown_score is not None and result.embedding is None
        assert result.unknown is (result.unknown_score > threshold)


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


UNIT = np.eye(2, 1280, dtype=np.float16)
HOSTILE = {
    "another name": npz(means=UNIT),
    "another width": npz(embeddings=UNIT[:, :5]),
    "one axis": npz(embeddings=UNIT[0]),
    "no clip": npz(embeddings=UNIT[:0]),
    "another type": npz(embeddings=UNIT.astype(np.float64)),
    "NaN": npz(embeddings=UNIT * np.float16(np.nan)),
    "not of length 1": npz(embeddings=UNIT * np.float16(3)),
}


def test_hostile_references_with_the_right_checksum_are_one_clear_line(project: Path, tmp_path: Path) -> None:
    trap, folder = tmp_path / "sprung", copied(project, tmp_path / "bundle")
    for kind, content in (HOSTILE | {"pickle": hostile_pickle(trap)}).items():
        (folder / "stage1" / "fold0.npz").write_bytes(content)
        edit(folder, renewed=["stage1/fold0.npz"])
        why = r"fold0\.npz: (has no embeddings of shape \(k, 1280\) and length 1|cannot be read as npz arrays)"
        with pytest.raises(FsatError, match=why) as refused:
            Tagger(folder, stage="stage1")
        assert "\n" not in str(refused.value) and not trap.exists(), kind


# Python


def test_a_file_and_its_samples_give_the_same(project: Path, tmp_path: Path, mel_tagger: Tagger) -> None:
    path = tmp_path / "array"
    soundfile.write(path, tone(900, 0.4), RATE, format="WAV", subtype="FLOAT")
    samples, rate = soundfile.read(path, dtype="float32")
    from_file, from_samples = mel_tagger(path), mel_tagger(samples, rate)
    np.testing.assert_array_equal(from_file.probabilities, from_samples.probabilities)
    stereo = np.stack([samples, samples], axis=1).astype(np.float64)
    np.testing.assert_array_equal(from_file.probabilities, mel_tagger(stereo, rate).probabilities)
    best = from_file.top(2)
    assert [name for name, _ in best] == [LABELS[k] for k in np.argsort(-from_file.probabilities)[:2]]
    assert best[0][1] == from_file.probabilities.max()


def test_what_is_no_sound_is_refused(mel_tagger: Tagger, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    for x, rate, message in (
        (np.zeros(5, dtype=np.int16), RATE, "must hold floats"),
        (np.zeros(0, dtype=np.float32), RATE, "must hold floats"),
        (np.zeros((2, 2, 2)), RATE, "must hold floats"),
        (np.array([0.0, np.nan]), RATE, "finite samples"),
        (np.zeros(5), None, "sample_rate must be .* Got None"),
        (np.zeros(5), 10, "sample_rate must be .* Got 10"),
        (pipe, None, r"pipe\.wav: not a regular file"),
        (pipe, 8_000, "a sample rate of its own"),
        (np.zeros((1, 44_100)), RATE, r"the order is \(n, channels\): give its transpose. Got \(1, 44100\)"),
        (np.zeros((2, 44_100)), RATE, "more channels than samples"),
        (b"\x00RIFF", RATE, "must be the name of a file or an array of floats. Got bytes"),
        (b"\x00RIFF", None, "Got bytes"),
        (17, None, "Got int"),
    ):
        with pytest.raises(FsatError, match=message):
            mel_tagger(x, rate)  # type: ignore[arg-type]


def test_threads_share_a_tagger(project: Path, tagger: Tagger) -> None:
    from threadpoolctl import threadpool_info

    before = [pool["num_threads"] for pool in threadpool_info()]
    paths = [*sorted((project / "sounds" / "test").iterdir())] * 4
    alone = [tagger(path).probabilities for path in paths[:3]] * 4
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: tagger(path).probabilities, paths))
    np.testing.assert_array_equal(alone, together)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_a_file_that_breaks_off_gives_its_windows_and_a_reason(mel_tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 20 * RATE), RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    results = list(mel_tagger.tag_files([path, path], segment_s=2.0))
    failures = {number: result.reason for number, result in enumerate(results) if isinstance(result, Failed)}
    first, last = failures
    assert first >= 1 and last == len(results) - 1
    assert re.match("damaged|truncated", failures[first])


def test_a_projection_of_other_statistics_is_refused(project: Path, tmp_path: Path) -> None:
    folder = copied(project, tmp_path / "bundle")
    projection = pca.load(folder / "projection.npz")
    other = pca.Projection(**(vars(projection) | {"columns": projection.columns[::-1]}))
    pca.save(folder / "projection.npz", other)
    edit(folder, renewed=["projection.npz"])
    with pytest.raises(FsatError, match=r"projection\.npz: does not fit: it makes 5 components of 1133 statistics"):
        Tagger(folder)
