"""The baseline: held out by the folds, fitted on all training clips for the test clips, deterministic."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.features import pca
from fsat.scoring import baseline, outcomes
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]

CLASSES = ["Bark", "Cello", "Gong"]


def clips(n: int, *, seed: int, prefix: str) -> pd.DataFrame:
    """Clips of three labels in clusters that overlap: fname, label, k000 ... k003."""
    rng = np.random.default_rng(seed)
    number = np.arange(n) % 3
    x = rng.normal(0, 1, (n, 4))
    x[np.arange(n), number] += 3
    table = pd.DataFrame(x, columns=[f"k{column:03d}" for column in range(4)])
    table.insert(0, "fname", [f"{prefix}{row:03d}.wav" for row in range(n)])
    table.insert(1, "label", np.array(CLASSES)[number])
    return table


def predicted(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame, ids: Sequence[int], **options: Any
) -> pd.DataFrame:
    """The table of `baseline.predict`, of the model "last"."""
    return baseline.predict(features, folds, ids, model="last", **options).table


def learned(table: pd.DataFrame) -> pd.DataFrame:
    """`data/folds.csv` without corrections."""
    return table.assign(corrected=table["label"], weight=1.0)


@pytest.fixture
def features() -> dict[str, pd.DataFrame]:
    return {
        "train": clips(60, seed=0, prefix="a").drop(columns="label"),
        "test": clips(12, seed=1, prefix="t").drop(columns="label"),
    }


@pytest.fixture
def folds() -> pd.DataFrame:
    return learned(clips(60, seed=0, prefix="a")[["fname", "label"]].assign(fold=np.arange(60) // 3 % 4))


def test_predictions_have_the_columns_of_the_networks(features: dict[str, pd.DataFrame], folds: pd.DataFrame) -> None:
    found = predicted(features, folds, [2, 0])
    assert found.columns.tolist() == ["model", "split", "fold", "fname", *CLASSES]
    sizes = found.groupby(["split", "fold"]).size().to_dict()
    assert sizes == {("heldout", 0): 15, ("heldout", 2): 15, ("test", -1): 12}
    heldout = found[found["split"] == "heldout"].set_index("fname")["fold"]
    assert heldout.equals(folds.set_index("fname")["fold"].loc[heldout.index])
    assert found[CLASSES].sum(axis=1).to_numpy() == pytest.approx(1)
    pd.testing.assert_frame_equal(predicted(features, folds, [2, 0]), found, check_exact=True)


def test_a_held_out_clip_is_never_in_the_fit(features: dict[str, pd.DataFrame], folds: pd.DataFrame) -> None:
    """Neither labels nor features of a fold change what is predicted from the others."""
    found = predicted(features, folds, [0, 2])
    is_mine = (found["split"] == "heldout") & (found["fold"] == 0)
    held_out = folds["fold"] == 0
    relabelled = folds.assign(corrected=folds["label"].where(~held_out, "Bark"))
    other = predicted(features, relabelled, [0, 2])
    np.testing.assert_array_equal(other.loc[is_mine, CLASSES], found.loc[is_mine, CLASSES])
    assert not np.allclose(other.loc[~is_mine, CLASSES], found.loc[~is_mine, CLASSES])
    # The features of one held-out clip move that clip alone within its fold.
    moved = features["train"].copy()
    row = int(np.flatnonzero(held_out)[0])
    moved.iloc[row, 1:] += 5.0
    other = predicted(features | {"train": moved}, folds, [0, 2])
    is_same = (other[CLASSES] == found[CLASSES]).all(axis=1)
    assert found.loc[is_mine & ~is_same, "fname"].tolist() == [moved["fname"].iloc[row]]


def test_test_clips_are_predicted_from_all_training_clips(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    found = predicted(features, folds, [0])
    x, test = features["train"].iloc[:, 1:].to_numpy(), features["test"].iloc[:, 1:].to_numpy()
    expected = baseline.fit(x, folds["label"].tolist(), CLASSES).predict(test)
    np.testing.assert_array_equal(found[found["split"] == "test"][CLASSES], expected)
    # Which folds are trained does not matter to them.
    other = predicted(features, folds, [1, 3])
    np.testing.assert_array_equal(other[other["split"] == "test"][CLASSES], expected)


def test_no_test_clip_is_fine_and_a_training_clip_without_features_is_named(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    empty = predicted(features | {"test": features["test"].iloc[:0]}, folds, [0])
    assert set(empty["split"]) == {"heldout"}
    with pytest.raises(FsatError, match=r"no features of training clip a007\.wav"):
        predicted(features | {"train": features["train"].drop(index=7)}, folds, [0])


def test_classes_without_a_clip_get_no_probability() -> None:
    x = np.array([[0.0], [1.0], [5.0]])
    found = baseline.fit(x, ["a", "a", "c"], ["a", "b", "c"])
    p = found.predict(x)
    assert (p[:, 1] == 0).all() and p.sum(axis=1) == pytest.approx(1) and np.isfinite(found.bias).all()
    assert baseline.fit(x, ["b"] * 3, ["a", "b"]).predict(x).tolist() == [[0, 1]] * 3
    assert found.predict(x[:0]).shape == (0, 3)


def test_the_best_feature_set_and_the_scores_of_all() -> None:
    scores = {"statistics": {"cv": 0.7, "test": 0.9}, "last": {"cv": 0.8, "test": 0.6}, "middle": {"cv": 0.8}}
    assert baseline.summary(scores) == {"best": "last", "features": scores}


def spectral_like(folds: pd.DataFrame) -> pd.DataFrame:
    """Statistics of 30 numbers by fname, in clusters of the labels."""
    rng = np.random.default_rng(4)
    centres = rng.normal(0, 1, (3, 30))
    values = centres[folds["label"].map(CLASSES.index)] + rng.normal(0, 1, (len(folds), 30))
    return pd.DataFrame(values, index=folds["fname"]).rename(columns=str)


def fnames(folds: pd.DataFrame) -> dict[int, pd.Series]:
    """Held-out clips of folds 0 and 1."""
    return {fold: folds.loc[folds["fold"] == fold, "fname"] for fold in (0, 1)}


def test_components_of_held_out_clips_do_not_see_them(folds: pd.DataFrame) -> None:
    """However far a held-out clip's statistics move: what is predicted of the other clips of its fold stays."""
    statistics = spectral_like(folds)
    moved = statistics.copy()
    moved.iloc[0] *= 1000.0  # of fold 0

    def found(table: pd.DataFrame) -> pd.DataFrame:
        components = {split: pca.table(table, pca.fit(table, n_components=8)[0]) for split in ("train", "test")}
        heldout = {fold: pca.held_out(table, names, n_components=8) for fold, names in fnames(folds).items()}
        return predicted(components, folds, [0, 1], heldout=heldout.__getitem__, standardise=False)

    before, after = found(statistics), found(moved)
    differ = (before[CLASSES] != after[CLASSES]).any(axis=1)
    mine = before["fold"] == 0
    assert before.loc[mine & differ, "fname"].tolist() == ["a000.wav"]
    assert differ[before["fold"] == 1].any()  # there the clip is fitted on


@needs("reference")
def test_real_clips_reach_what_was_measured_on_them() -> None:
    """The slice: 200 training and 50 test clips, 150 components, MAP@3 0.900 (accuracy 0.84) by plain scikit-learn."""
    meta = SHARED / "fsdkaggle2018_slice" / "FSDKaggle2018.meta"
    train = pd.read_csv(meta / "train_post_competition.csv")
    test = pd.read_csv(meta / "test_post_competition_scoring_clips.csv")
    statistics = pd.read_parquet(SHARED / "reference" / "spectral.parquet")
    projection, _ = pca.fit(statistics.loc[train["fname"]], n_components=150)
    features = {
        split: pca.table(statistics.loc[table["fname"]], projection)
        for split, table in (("train", train), ("test", test))
    }
    folds = learned(train[["fname", "label"]].assign(fold=train.groupby("label").cumcount() % 5))
    index = pd.concat([train.assign(split="train", usage=""), test.assign(split="test")]).assign(verified=np.nan)
    found = predicted(features, folds, range(5), standardise=False)
    heldout, tested = (outcomes.outcome(found, index, split=split, model="last").clips for split in ("heldout", "test"))
    assert tested["ap3"].mean() == pytest.approx(0.900, abs=0.015)
    assert tested["correct"].mean() == pytest.approx(0.84, abs=0.03)
    assert len(heldout) == 200 and 0.7 < heldout["ap3"].mean() < 0.97


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("n_features", [4, 90])
def test_a_fit_is_that_of_scikit_learn_whatever_the_features_axes(n_labels: int, n_features: int) -> None:
    """With more features than clips too, where a rotation makes it faster."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(n_features)
    labels = [CLASSES[number % n_labels] for number in range(60)]
    values, others = (rng.normal(3, 50, (n, n_features)) for n in (60, 7))
    values[np.arange(60), np.arange(60) % n_labels] += 100
    found = baseline.fit(values, labels, CLASSES)
    assert found.c in baseline.CANDIDATES
    exact = make_pipeline(StandardScaler(), LogisticRegression(C=found.c, max_iter=10_000, tol=1e-8))
    expected = exact.fit(values, labels).predict_proba(others)
    np.testing.assert_allclose(found.predict(others)[:, :n_labels], expected, atol=2e-3)


def test_a_feature_that_holds_rounding_alone_has_no_say() -> None:
    """Units that a network never uses: their rounding differs between processors, and between Keras and ONNX."""
    rng = np.random.default_rng(0)
    labels = ["a", "b", "c"] * 10
    alive = rng.normal(size=(30, 4)) + 2 * np.eye(4)[np.arange(30) % 3]
    dead = 0.1 + rng.normal(0, 1e-8, (2, 30, 5))
    fitted = baseline.fit(np.concatenate([alive, dead[0]], axis=1), labels, ["a", "b", "c"])
    one, other = (fitted.predict(np.concatenate([alive, rounding], axis=1)) for rounding in dead)
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert not fitted.weights[:, 4:].any()


def test_the_penalty_is_chosen_inside_the_clips_that_are_fitted_on() -> None:
    """Noisy features get a stronger penalty than clean ones, whatever their unit; an edge of the range is said."""
    rng = np.random.default_rng(1)
    labels = CLASSES * 20
    truth = np.array([[label == name for name in CLASSES] for label in labels])
    values = np.hstack([0.3 * truth + rng.normal(0, 1, (60, 3)), rng.normal(0, 1, (60, 200))])
    noisy = baseline.fit(values, labels, CLASSES)
    assert noisy.is_chosen and noisy.c < max(baseline.CANDIDATES)
    clean = baseline.fit(1000 * truth + rng.normal(0, 1, (60, 3)), labels, CLASSES)
    assert clean.c == 0.3
    few = baseline.fit(values[:4], ["Bark", "Bark", "Gong", "Gong"], CLASSES)
    assert (few.c, few.is_chosen) == (baseline.UNCHOSEN, False)
    said = baseline.edges({0: clean, 1: clean, -1: few})
    assert said == "C 0.3, the weakest penalty that was tried, in 2 of 3 fits"
    assert baseline.edges({-1: few}) == ""


def test_corrected_labels_and_weights_are_what_is_fitted_on(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    """A dropped clip counts as if it were not there, but is predicted; half a weight is half a clip."""
    wrong = folds.copy()
    wrong.loc[:2, "label"] = ["Cello", "Gong", "Bark"]
    corrected = wrong.assign(corrected=folds["label"])
    plain = predicted(features, folds, [0, 1])
    pd.testing.assert_frame_equal(predicted(features, corrected, [0, 1]), plain)
    dropped = folds.assign(weight=np.where(folds.index < 3, 0.0, 1.0))
    found = predicted(features, dropped, [0, 1])
    assert found["fname"].tolist() == plain["fname"].tolist()
    without = folds.drop(index=[0, 1, 2])
    expected = predicted(features, without, [0, 1])
    common = found["fname"].isin(expected["fname"]).to_numpy()
    np.testing.assert_array_equal(found[common][CLASSES], expected[CLASSES])
    values = features["train"].iloc[:, 1:].to_numpy()
    halves = next(
        baseline._path(np.tile(values, (2, 1)), np.tile(folds["label"], 2), np.full(120, 0.5), standardise=True)
    )
    once = next(baseline._path(values, folds["label"].to_numpy(), None, standardise=True))
    np.testing.assert_allclose(halves[0], once[0], atol=1e-3)


def test_the_penalty_is_chosen_with_the_clips_weights() -> None:
    rng = np.random.default_rng(3)
    truth = np.eye(3)[np.arange(90) % 3]
    values = truth + rng.normal(0, 0.5, (90, 3))
    labels = [("a", "b", "c")[(number + (number >= 60)) % 3] for number in range(90)]  # the last third is wrong
    weights = np.where(np.arange(90) < 60, 1.0, 1e-6)
    found, plain = (
        baseline.fit(values, labels, ["a", "b", "c"], weights=given).predict(truth) for given in (weights, None)
    )
    right = np.arange(90) % 3
    assert found[np.arange(90), right].mean() > plain[np.arange(90), right].mean() + 0.1


def test_the_penalty_is_chosen_without_splitting_a_recording() -> None:
    """Clips of a recording are nearly equal: only inner folds that keep it whole see what a weak penalty does."""
    rng = np.random.default_rng(0)
    recordings = 24
    label = np.arange(recordings) % 2
    centres = rng.normal(0, 1, (recordings, 40))
    centres[:, 0] += 1.5 * label
    x = np.repeat(centres, 6, axis=0) + rng.normal(0, 0.05, (6 * recordings, 40))
    labels = [CLASSES[number] for number in np.repeat(label, 6)]
    groups = [f"recording{number}" for number in np.repeat(np.arange(recordings), 6)]
    others = rng.normal(0, 1, (50, 40))
    split, whole = (baseline.fit(x, labels, CLASSES[:2], groups=chosen).predict(others) for chosen in (None, groups))
    assert np.abs(split - 0.5).mean() > np.abs(whole - 0.5).mean() + 0.05
    few = [f"recording{number % 2}" for number in range(len(labels))]
    assert not baseline.fit(x, labels, CLASSES[:2], groups=few).is_chosen


# --- stage -----------------------------------------------------------------------------------------------------------


def test_the_stage_fits_the_statistics_and_each_view_but_pooled(
    folds: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held-out components are fitted without the fold: those of data/pca serve the test clips alone."""
    from stages import baseline as stage

    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["folds"] |= {"n_splits": 4, "ids": [0, 1]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    test = clips(12, seed=1, prefix="t")
    index = pd.concat([folds.assign(split="train"), test.assign(split="test")])[["split", "fname", "label"]]
    index = index.assign(usage="Private", verified=1.0, group="")
    index["group"] = [f"g{number // 2}" for number in range(len(index))]
    files.write_csv("data/index.csv", index)
    files.write_csv("data/folds.csv", folds)
    statistics = spectral_like(index)
    files.write_parquet("data/spectral.parquet", statistics.reset_index().assign(split=index["split"].to_numpy()))
    is_train = (index["split"] == "train").to_numpy()
    projection, _ = pca.fit(statistics[is_train], n_components=8)
    for split, rows in (("train", is_train), ("test", ~is_train)):
        files.write_parquet(f"data/pca/{split}.parquet", pca.table(statistics[rows], projection))
        views = statistics[rows].add_prefix("last.").join(statistics[rows].add_prefix("pooled."))
        files.write_parquet(f"data/embeddings/{split}.parquet", views.reset_index())
    stage.main()
    table, found = pd.read_parquet("data/baseline.parquet"), files.read_json("metrics/baseline.json")
    assert table.groupby("model").size().to_dict() == {"last": 42, "statistics": 42}
    assert found["best"] in found["features"] and found["features"].keys() == {"statistics", "last"}
    assert found["features"]["last"].keys() == {"cv", "test", "C"}
    heldout = {fold: pca.held_out(statistics[is_train], names, n_components=8) for fold, names in fnames(folds).items()}
    components = {"train": pca.table(statistics[is_train], projection), "test": heldout[0].iloc[:0]}
    grouped = folds.merge(index[["fname", "group"]])
    expected = predicted(components, grouped, [0, 1], heldout=heldout.__getitem__, standardise=False)
    mine = table[(table["model"] == "statistics") & (table["split"] == "heldout")]
    np.testing.assert_array_equal(mine[CLASSES], expected[CLASSES])
    assert "MAP@3 of the best regression" in capsys.readouterr().out
