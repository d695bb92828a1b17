"""The baseline: held out by the folds, fitted on all training clips for the test clips, deterministic."""

import numpy as np
import pandas as pd
import pytest

from fsat.core.errors import FsatError
from fsat.scoring import baseline, ensemble, outcomes
from shared_data import SHARED, needs

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
    found = baseline.predict(features, folds, [2, 0])
    assert found.columns.tolist() == ["model", "split", "fold", "fname", *CLASSES]
    sizes = found.groupby(["split", "fold"]).size().to_dict()
    assert sizes == {("heldout", 0): 15, ("heldout", 2): 15, ("test", -1): 12}
    heldout = found[found["split"] == "heldout"].set_index("fname")["fold"]
    assert heldout.equals(folds.set_index("fname")["fold"].loc[heldout.index])
    assert found[CLASSES].sum(axis=1).to_numpy() == pytest.approx(1)
    pd.testing.assert_frame_equal(baseline.predict(features, folds, [2, 0]), found, check_exact=True)


def test_a_held_out_clip_is_never_in_the_fit(features: dict[str, pd.DataFrame], folds: pd.DataFrame) -> None:
    """Neither labels nor features of a fold change what is predicted from the others."""
    found = baseline.predict(features, folds, [0, 2])
    is_mine = (found["split"] == "heldout") & (found["fold"] == 0)
    held_out = folds["fold"] == 0
    relabelled = folds.assign(corrected=folds["label"].where(~held_out, "Bark"))
    other = baseline.predict(features, relabelled, [0, 2])
    np.testing.assert_array_equal(other.loc[is_mine, CLASSES], found.loc[is_mine, CLASSES])
    assert not np.allclose(other.loc[~is_mine, CLASSES], found.loc[~is_mine, CLASSES])
    # The features of one held-out clip move that clip alone within its fold.
    moved = features["train"].copy()
    row = int(np.flatnonzero(held_out)[0])
    moved.iloc[row, 1:] += 5.0
    other = baseline.predict(features | {"train": moved}, folds, [0, 2])
    is_same = (other[CLASSES] == found[CLASSES]).all(axis=1)
    assert found.loc[is_mine & ~is_same, "fname"].tolist() == [moved["fname"].iloc[row]]


def test_test_clips_are_predicted_from_all_training_clips(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    found = baseline.predict(features, folds, [0])
    x, test = features["train"].iloc[:, 1:].to_numpy(), features["test"].iloc[:, 1:].to_numpy()
    expected = baseline.fit_predict(x, folds["label"].tolist(), test, CLASSES)
    np.testing.assert_array_equal(found[found["split"] == "test"][CLASSES], expected)
    # Which folds are trained does not matter to them.
    other = baseline.predict(features, folds, [1, 3])
    np.testing.assert_array_equal(other[other["split"] == "test"][CLASSES], expected)


def test_no_test_clip_is_fine_and_a_training_clip_without_features_is_named(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    empty = baseline.predict(features | {"test": features["test"].iloc[:0]}, folds, [0])
    assert set(empty["split"]) == {"heldout"}
    with pytest.raises(FsatError, match=r"no features of training clip a007\.wav"):
        baseline.predict(features | {"train": features["train"].drop(index=7)}, folds, [0])


def test_classes_without_a_clip_get_no_probability() -> None:
    x = np.array([[0.0], [1.0], [5.0]])
    p = baseline.fit_predict(x, ["a", "a", "c"], x, ["a", "b", "c"])
    assert (p[:, 1] == 0).all() and p.sum(axis=1) == pytest.approx(1)
    assert baseline.fit_predict(x, ["b"] * 3, x, ["a", "b"]).tolist() == [[0, 1]] * 3
    assert baseline.fit_predict(x, ["a", "a", "c"], x[:0], ["a", "c"]).shape == (0, 2)


def test_the_best_feature_set_and_the_scores_of_all() -> None:
    scores = {"statistics": {"cv": 0.7, "test": 0.9}, "embeddings": {"cv": 0.8, "test": 0.6}, "both": {"cv": 0.8}}
    assert baseline.summary(scores) == {"best": "embeddings", "features": scores}


@needs("reference")
def test_real_clips_reach_what_was_measured_on_them() -> None:
    """The slice: 200 training and 50 test clips, 150 components, MAP@3 0.900 (accuracy 0.84) by plain scikit-learn."""
    from fsat.features import pca

    meta = SHARED / "fsdkaggle2018_slice" / "FSDKaggle2018.meta"
    train = pd.read_csv(meta / "train_post_competition.csv")
    test = pd.read_csv(meta / "test_post_competition_scoring_clips.csv")
    statistics = pd.read_parquet(SHARED / "reference" / "spectral.parquet")
    projection, _ = pca.fit(statistics.loc[train["fname"]], n_components=150)
    features = {
        split: pd.DataFrame(pca.project(statistics.loc[table["fname"]], projection)).assign(fname=table["fname"])
        for split, table in (("train", train), ("test", test))
    }
    folds = learned(train[["fname", "label"]].assign(fold=train.groupby("label").cumcount() % 5))
    index = pd.concat([train.assign(split="train", usage=""), test.assign(split="test")]).assign(verified=np.nan)
    found = baseline.predict(features, folds, range(5))
    heldout, tested = (
        outcomes.outcome(found, index, split=split, model="statistics").clips for split in ("heldout", "test")
    )
    assert tested["ap3"].mean() == pytest.approx(0.900, abs=0.015)
    assert tested["correct"].mean() == pytest.approx(0.84, abs=0.03)
    assert len(heldout) == 200 and 0.7 < heldout["ap3"].mean() < 0.97


@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_coefficients_predict_what_the_regression_does(
    n_labels: int, features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    labels = [CLASSES[number % n_labels] for number in range(60)]
    shuffled = learned(folds.assign(label=labels)).sample(frac=1, random_state=1)
    found = baseline.coefficients(features["train"], shuffled)
    values, others = (features[split].iloc[:, 1:].to_numpy() for split in ("train", "test"))
    expected = baseline.fit_predict(values, labels, others, CLASSES[:n_labels])
    np.testing.assert_allclose(ensemble.linear(others, **found), expected, atol=1e-4)


def test_the_penalty_is_chosen_inside_the_clips_that_are_fitted_on() -> None:
    """Noisy features get a stronger penalty than clean ones, whatever their unit."""
    rng = np.random.default_rng(1)
    labels = ["a", "b", "c"] * 20
    truth = np.array([[label == name for name in "abc"] for label in labels])
    values = np.hstack([truth + rng.normal(0, 1, (60, 3)), rng.normal(0, 1, (60, 200))])
    chosen = baseline._with_chosen_penalty(values, np.array(labels), None, None)
    assert max(baseline.CANDIDATES) > chosen[-1].C
    clean = baseline._with_chosen_penalty(1000 * truth + rng.normal(0, 1, (60, 3)), np.array(labels), None, None)
    assert max(baseline.CANDIDATES) == clean[-1].C
    few = baseline._with_chosen_penalty(values[:4], np.array(["a", "a", "b", "b"]), None, None)
    assert min(baseline.CANDIDATES) == few[-1].C
    others = baseline.fit_predict(values, labels, values[:2], ["a", "b", "c", "unseen"], choose_penalty=True)
    np.testing.assert_allclose(others.sum(axis=1), 1)
    assert (others[:, 3] == 0).all()


def test_corrected_labels_and_weights_are_what_is_fitted_on(
    features: dict[str, pd.DataFrame], folds: pd.DataFrame
) -> None:
    """A dropped clip counts as if it were not there, but is predicted; half a weight is half a clip."""
    wrong = folds.copy()
    wrong.loc[:2, "label"] = ["Cello", "Gong", "Bark"]
    corrected = wrong.assign(corrected=folds["label"])
    plain = baseline.predict(features, folds, [0, 1])
    pd.testing.assert_frame_equal(baseline.predict(features, corrected, [0, 1]), plain)
    dropped = folds.assign(weight=np.where(folds.index < 3, 0.0, 1.0))
    found = baseline.predict(features, dropped, [0, 1])
    assert found["fname"].tolist() == plain["fname"].tolist()
    without = folds.drop(index=[0, 1, 2])
    expected = baseline.predict(features, without, [0, 1])
    common = found["fname"].isin(expected["fname"]).to_numpy()
    np.testing.assert_array_equal(found[common][CLASSES], expected[CLASSES])
    twice = pd.concat([folds, folds.assign(fname=folds["fname"])], ignore_index=True)
    halves = baseline.coefficients(features["train"], twice.assign(weight=0.5))
    once = baseline.coefficients(features["train"], folds)
    np.testing.assert_allclose(halves["weights"], once["weights"], atol=1e-3)


def test_the_penalty_is_chosen_with_the_clips_weights() -> None:
    rng = np.random.default_rng(3)
    truth = np.eye(3)[np.arange(90) % 3]
    values = truth + rng.normal(0, 0.5, (90, 3))
    labels = [("a", "b", "c")[(number + (number >= 60)) % 3] for number in range(90)]  # the last third is wrong
    weights = np.where(np.arange(90) < 60, 1.0, 1e-6)
    found = baseline.fit_predict(values, labels, truth, ["a", "b", "c"], weights=weights, choose_penalty=True)
    plain = baseline.fit_predict(values, labels, truth, ["a", "b", "c"], choose_penalty=True)
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
    split, whole = (
        baseline.fit_predict(x, labels, others, CLASSES[:2], groups=chosen, choose_penalty=True)
        for chosen in (None, groups)
    )
    assert np.abs(split - 0.5).mean() > np.abs(whole - 0.5).mean() + 0.05
    few = [f"recording{number % 2}" for number in range(len(labels))]
    strongest = baseline.fit_predict(x, labels, others, CLASSES[:2], groups=few, choose_penalty=True)
    np.testing.assert_allclose(strongest, whole)
