"""Tagging gives what the pipeline gives, for any file; windows, failures, embeddings, less effort."""

import json
import pickle
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_bundle import LABELS, RATE, project, tone

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.features import pca
from fsat.tagger import bundle
from fsat.tagger import tagger as tagging
from fsat.tagger.tagger import Failed, Tagged, Tagger

__all__ = ["project"]


@pytest.fixture(scope="module")
def tagger(project: Path) -> Tagger:
    return Tagger(bundle.read(project / "data" / "bundle"), embeddings=True)


@pytest.fixture(scope="module")
def mel_tagger(project: Path) -> Tagger:
    return Tagger(bundle.read(project / "data" / "bundle"), stage="stage1")


def tagged(tagger: Tagger, *paths: Path, segment_s: float | None = None) -> list[Tagged]:
    results = list(tagger.tag_files(paths, segment_s=segment_s))
    assert all(isinstance(result, Tagged) for result in results), results
    return results  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["short.wav", "long.flac", "stereo.wav"])
def test_tagging_a_test_clip_alone_gives_the_pipelines_own_prediction(name: str, project: Path, tagger: Tagger) -> None:
    table = files.read_parquet(project / "data" / "predictions.parquet")
    row = table[(table["stage"] == "stage2") & (table["split"] == "test") & table["fname"].str.endswith(name)]
    expected = row[LABELS].to_numpy()[0]
    assert expected.max() - expected.min() > 0.01  # a network that tells nothing apart would prove nothing
    [result] = tagged(tagger, project / "sounds" / "test" / name)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def test_stage1_gives_its_own_prediction_without_statistics(
    project: Path, mel_tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tagging.spectral, "spectral_statistics")
    table = files.read_parquet(project / "data" / "predictions.parquet")
    row = table[(table["stage"] == "stage1") & (table["split"] == "test") & table["fname"].str.endswith("long.flac")]
    [result] = tagged(mel_tagger, project / "sounds" / "test" / "long.flac")
    np.testing.assert_allclose(result.probabilities, row[LABELS].to_numpy()[0], atol=1e-5)
    assert mel_tagger.n_passes == 2 * len(mel_tagger.passes)


def test_other_clips_and_folders_have_no_say(project: Path, tagger: Tagger, tmp_path: Path) -> None:
    clips = sorted((project / "sounds" / "test").iterdir())
    together = tagged(tagger, *clips)
    copied = tmp_path / clips[1].name
    copied.write_bytes(clips[1].read_bytes())
    [alone] = tagged(tagger, copied)
    np.testing.assert_allclose(alone.probabilities, together[1].probabilities, atol=1e-6)
    assert [Path(result.path).name for result in together] == [clip.name for clip in clips]


def test_embeddings_are_the_mean_of_the_trunks_features(project: Path, tagger: Tagger) -> None:
    path = project / "sounds" / "test" / "short.wav"
    [result] = tagged(tagger, path)
    assert result.embedding is not None and result.embedding.dtype == np.float32
    assert result.embedding.shape == (1280,)
    # By hand: the only length of so short clips, both tries, both folds (whose trunks are equal here).
    import keras

    from fsat.inputs import batches

    [features] = tagging.file_features(
        str(path), preprocessing=tagger.manifest.preprocessing, segment_s=None, statistics=True
    )
    examples = tagger._examples([features])
    network = tagger._network
    trunk = keras.Model(network.inputs, network.get_layer("embedding").output)
    seed, expected = tagger.manifest.prediction.seed, []
    for fold in (0, 1):
        for n_frames, number in tagger.passes:
            [batch] = batches.crop_pass(examples, n_frames, 1, (seed, "predict", fold, "test", n_frames, number))
            expected.append(np.asarray(trunk(batch.inputs))[0])
    np.testing.assert_allclose(result.embedding, np.mean(expected, axis=0), atol=1e-5)


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
    preprocessing = mel_tagger.manifest.preprocessing
    options = {"preprocessing": preprocessing, "statistics": False}
    windows = tagging.file_features(str(tmp_path / "both.wav"), segment_s=2.0, **options)  # type: ignore[arg-type]
    whole = tagging.file_features(str(tmp_path / "low.wav"), segment_s=None, **options)  # type: ignore[arg-type]
    assert not isinstance(windows, Failed) and not isinstance(whole, Failed)
    np.testing.assert_array_equal(windows[0].frames, whole[0].frames)


def test_windows_cover_a_file_once() -> None:
    generator = np.random.default_rng(0)
    for n_samples, segment_s in zip(generator.integers(1, 5_000, 200), generator.uniform(0.05, 3, 200), strict=True):
        found = tagging.windows(int(n_samples), 1_000, float(segment_s))
        assert found[0][0] == 0 and found[-1][1] == n_samples
        assert all(before[1] == after[0] for before, after in pairwise(found))
        step = round(segment_s * 1_000)
        assert all(end - start == step for start, end in found[:-1])
        assert len(found) == 1 or step / 2 <= found[-1][1] - found[-1][0] < 1.5 * step


def test_numbers_out_of_range_name_the_option(project: Path, mel_tagger: Tagger) -> None:
    opened = bundle.read(project / "data" / "bundle")
    with pytest.raises(FsatError, match=r"--folds must be between 1 and 2.*Got 3"):
        Tagger(opened, n_folds=3)
    with pytest.raises(FsatError, match=r"--tries must be at least 1.*Got 0"):
        Tagger(opened, tries=0)
    with pytest.raises(FsatError, match=r"--segments must be between"):
        list(mel_tagger.tag_files([], segment_s=0))


def test_weights_that_are_a_pickle_are_refused(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(project / "data" / "bundle", folder)
    path = folder / "stage1" / "fold0.weights.h5"
    path.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(FsatError, match=r"fold0\.weights\.h5: is not the file that bundle\.json names"):
        Tagger(bundle.read(folder), stage="stage1")
    values = json.loads((folder / "bundle.json").read_text())
    values["files"]["stage1/fold0.weights.h5"] = bundle.file_facts(path).model_dump()
    (folder / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(FsatError, match=r"fold0\.weights\.h5: does not fit the network of bundle\.json"):
        Tagger(bundle.read(folder), stage="stage1")


def test_a_projection_of_other_statistics_is_refused(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(project / "data" / "bundle", folder)
    projection = pca.load(folder / "projection.npz")
    other = pca.Projection(**(vars(projection) | {"columns": projection.columns[::-1]}))
    pca.save(folder / "projection.npz", other)
    values = json.loads((folder / "bundle.json").read_text())
    values["files"]["projection.npz"] = bundle.file_facts(folder / "projection.npz").model_dump()
    (folder / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(FsatError, match=r"projection\.npz: does not fit: it makes 5 components of 1133 statistics"):
        Tagger(bundle.read(folder))


def test_workers_in_another_folder_find_files_named_relative_to_this_one(
    project: Path, mel_tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(work: Callable[[str], Any], paths: list[str], **_: str) -> list[Any]:
        monkeypatch.chdir(tmp_path)
        return [work(path) for path in paths]

    monkeypatch.setattr(tagging, "_FEW_FILES", 0)
    monkeypatch.setattr(tagging.parallel, "map_clips", elsewhere)
    monkeypatch.chdir(project / "sounds" / "test")
    [result] = tagged(mel_tagger, Path("short.wav"))
    assert result.path == "short.wav"
