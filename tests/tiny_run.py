"""A run of a few seconds of sound with made-up predictions, complete enough for a report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import yaml

from fsat.clips import corrections
from fsat.core import files, fold_folders, params
from fsat.inputs import frames
from fsat.report.run import Run
from fsat.scoring import baseline, calibration, ensemble, outcomes, selection, summary, thresholds, unknown
from fsat.scoring.names import STAGES

ROOT = Path(__file__).parents[1]
RATE = 44_100
PLAIN = ("Bark", "Cello", "Gong", "Oboe")
UNKNOWN = {"stage1": (0.2, 0.9), "stage2": (0.25, 0.94), "last": (0.15, 0.95)}  # thresholds, shares kept
# What a dataset may hold: markup, quotes, template and script ends, other scripts, a right-to-left override.
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "\"><img src=x onerror='window.pwned=2'>",
    "{{ 791 * 809 }}{% raw %}&amp;<!--",
    "Ďábel_\u202etxt.exe_日本語 '\"`",
)


def make_run(
    folder: Path,
    *,
    labels: tuple[str, ...] = PLAIN,
    test: str = "labelled",
    n_per_label: int = 8,
    path: str = "",
    noise: float = 2.6,
    models: tuple[str, ...] = ("stage2",),
    choose: str = "all",
    networks: tuple[str, ...] = ("stage1", "stage2"),
    views: tuple[str, ...] = (),
    **train: Any,
) -> Run:
    """Write clips under `folder` and return their run.

    The test set is "labelled", "unlabelled" or "none"; a labelled one has two clips without a label and one that cannot
    be read. `path` is ``dataset.path`` where it is not `folder`; more `noise` makes more mistakes. `models` and
    `choose` are parameters of ``ensemble``, `networks` are trained, `views` have a regression besides the statistics,
    and what is left are parameters of ``train``.
    """
    rng = np.random.default_rng(5)
    rows = []
    for split, n in (("train", n_per_label), ("test", 0 if test == "none" else 3)):
        for number, label in enumerate(labels * n):
            kind = number % len(labels)
            # Hostile labels make hostile names; a file name holds no slash.
            fname = f"{split}{number:03d}{label.replace('/', '_') if number < len(labels) else ''}.wav"
            rows.append((split, fname, label, kind, number))
    index = pd.DataFrame(rows, columns=["split", "fname", "label", "kind", "number"])
    index["path"] = [f"{split}/{number}.wav" for split, number in zip(index["split"], index["number"], strict=True)]
    index["usage"] = np.where(index["split"] == "train", "", np.where(index["number"] % 2, "Private", "Public"))
    index["verified"] = np.where(index["split"] == "train", (index["number"] % 3 == 0).astype(float), np.nan)
    index["freesound_id"] = 1000 + index.index
    index["license"] = [("Creative Commons 0", "<b>Attribution</b>")[number % 2] for number in index["number"]]
    index["sample_rate"], index["channels"], index["problem"] = RATE, 1, ""
    seconds = 0.15 + 0.05 * (index["number"] % 5)
    index["seconds"] = seconds
    is_test = index["split"] == "test"
    if test == "unlabelled":
        index.loc[is_test, ["label", "usage"]] = ""
    elif test == "labelled":
        index.loc[index.index[is_test][:2], "label"] = ""
    trim = index[["split", "fname", "path"]].assign(start=0, end=(seconds * RATE).astype(int))
    spectrograms: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    columns = (index[name].tolist() for name in ("split", "fname", "path", "kind"))
    for split, fname, path_below, kind, end in zip(*columns, trim["end"].tolist(), strict=True):
        n_frames = 3 + end // 441
        shape = rng.normal(-40, 5, (n_frames, 16))
        shape[:, 3 * kind % 16] += 30
        spectrograms[split].append((fname, shape.astype(np.float32)))
        (folder / split).mkdir(parents=True, exist_ok=True)
        wave = 0.2 * np.sin(2 * np.pi * 220 * 2**kind * np.arange(end) / RATE)
        soundfile.write(folder / path_below, wave.astype(np.float32), RATE)
    if test == "labelled":
        broken = index.index[is_test][-1]
        index.loc[broken, "seconds"], index.loc[broken, "problem"] = np.nan, "0 bytes <i>"
        trim.loc[broken, "end"] = 0
    mel = {}
    for split, named in spectrograms.items():
        frames.write_frames(folder / "mel" / split, named, n_mels=16)
        mel[split] = frames.open_frames(folder / "mel" / split, limits=(-80.0, 0.0))
    folds = corrections.apply(
        index[~is_test], (index.loc[~is_test, "number"] // len(labels) % 3).to_numpy(), [], unverified_weight=1.0
    )

    def drawn(clips: pd.DataFrame) -> pd.DataFrame:
        table = pd.DataFrame(rng.normal(0, 0.6, (len(clips), 6)) + 2 * np.eye(6)[clips["kind"] % 6])
        table.insert(0, "fname", clips["fname"].to_numpy())
        return table

    splits = {"train": index[~is_test], "test": index[is_test]}
    features = {name: {split: drawn(clips) for split, clips in splits.items()} for name in ("statistics", *views)}
    ids = [0, 2]
    classes = sorted(labels)
    of_folds = _predictions(index, folds, classes, ids, rng, noise)
    trained = ensemble.combine({fold: table[table["model"].isin(networks)] for fold, table in of_folds.items()})
    index = index.drop(columns=["kind", "number"])
    found = [baseline.predict(tables, folds, ids, model=name).table for name, tables in features.items()]
    regressions = pd.concat(found, ignore_index=True)
    every = pd.concat([trained, regressions], ignore_index=True)
    learned = dict(zip(folds["fname"], folds["corrected"], strict=True))
    choice = selection.choose(every, learned, models, best=choose == "best")
    predictions = pd.concat([trained, selection.submission(every, choice)], ignore_index=True)
    every = pd.concat([predictions, regressions], ignore_index=True)
    fitted = {}
    for model in [model for model in ("stage1", "submission") if (predictions["model"] == model).any()]:
        heldout, tested = (
            calibration.scored(outcomes.outcome(predictions, index, split=split, model=model), classes)
            for split in ("heldout", "test")
        )
        fitted[model] = calibration.calibrate(heldout, tested)
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["dataset"]["path"] = path or str(folder)
    parameters["folds"]["ids"] = ids
    parameters["train"] |= train
    parameters["embed"]["views"] = list(views)
    for stage in STAGES:
        parameters["train"][stage]["run"] = stage in networks
    parameters["ensemble"] |= {"models": list(models), "choose": choose}
    marked = [*networks, *(view for view in views if view == unknown.VIEW)]
    distances = {model: UNKNOWN[model][0] for model in marked}
    kept = {"cv": {model: UNKNOWN[model][1] for model in marked}} if marked else {}
    return Run(
        predictions=predictions,
        index=index,
        folds=folds,
        trim=trim,
        histories={fold: (epochs := _history(fold, rng))[epochs["stage"].isin(networks)] for fold in ids},
        mel=mel,
        regressions=regressions,
        models=summary.summarise(every, index, choice=choice, baseline="statistics").models,
        choice=choice,
        feature_sets={"best": "statistics", "features": {name: {} for name in features}},
        facts=_facts() | {"synthetic": path == "data/demo"},
        pca={"requested": 350, "n_components": 6, "explained_variance": 0.9},
        variance=pd.DataFrame({"component": range(1, 7), "cumulative": np.linspace(0.4, 0.93, 6)}),
        calibration=calibration.headline(fitted) | {"unknown": {"threshold": distances, "kept": kept}},
        reliability=pd.DataFrame(fitted["submission"].curve),
        thresholds=thresholds.curves(*_held_out(predictions, learned, classes), classes),
        events={},
        parameters=parameters,
        meanings=params.leaves(),
    )


def _held_out(predictions: pd.DataFrame, labels: dict[str, str], classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of held-out clips, and which label each has."""
    rows = predictions.query("model == 'submission' and split == 'heldout'")
    return rows[classes].to_numpy(), rows["fname"].map(labels).to_numpy()[:, None] == np.array(classes)


def _predictions(
    index: pd.DataFrame, folds: pd.DataFrame, classes: list[str], ids: list[int], rng: np.random.Generator, noise: float
) -> dict[int, pd.DataFrame]:
    order = list(dict.fromkeys(folds["label"]))  # "kind" is the position of a label among these, not the sorted ones
    tables = {}
    for fold in ids:
        parts = []
        heldout = folds.loc[folds["fold"] == fold, "fname"]
        for model, extra in (("stage1", 1.3), ("stage2", 1.0)):
            for split, clips in (
                ("test", index[index["split"] == "test"]),
                ("heldout", index[(index["split"] == "train") & index["fname"].isin(heldout)]),
            ):
                truth = np.array([[label == order[kind] for label in classes] for kind in clips["kind"]], dtype=float)
                logits = 3 * truth.reshape(-1, len(classes)) + rng.normal(0, noise * extra, (len(clips), len(classes)))
                log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                table = pd.DataFrame(log_p, columns=classes).assign(fname=clips["fname"].to_numpy())
                parts.append(table.assign(model=model, split=split)[["model", "split", "fname", *classes]])
        tables[fold] = pd.concat(parts, ignore_index=True)
    return tables


def _history(fold: int, rng: np.random.Generator) -> pd.DataFrame:
    """Ten epochs of each stage; every second one was not validated."""
    parts = []
    for stage in ("stage1", "stage2"):
        epoch = np.arange(1, 11)
        loss = 3 / epoch + rng.uniform(0, 0.2, 10) + 0.1 * fold
        columns = {
            "stage": stage,
            "epoch": epoch,
            "phase": ["cyclic"] * 6 + ["finetune_low"] * 2 + ["finetune_high"] * 2,
            "learning_rate": [1e-4, 1e-3] * 3 + [1e-5] * 2 + [1e-4] * 2,
            "loss": loss,
        }
        validated = {"val_loss": 0.8 * loss, "val_map3": 1 - loss / 4, "val_accuracy": 1 - loss / 3.6}
        columns |= {name: np.where(epoch % 2 == 0, values, np.nan) for name, values in validated.items()}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _facts() -> dict[str, Any]:
    clips = {"clips": 20, "hours": 0.0011, "verified": 7, "bad": 1}
    return {
        "train": clips | {"classes": 4, "clips_per_class": {"min": 4, "max": 6}, "excluded": 0},
        "test": clips | {"labelled": 10},
        "test_also_in_train": {"clips": 0},
        "licenses": {"train": {"Creative Commons 0": 11, "<b>Attribution</b>": 9}, "test": {"Creative Commons 0": 20}},
    }


def write(run: Run, root: Path) -> None:
    """Write the tables of a run where the pipeline keeps them below `root`; the audio stays where it is."""
    data, scores = root / "data", root / "metrics"
    files.write_parquet(data / "predictions.parquet", run.predictions)
    files.write_parquet(data / "baseline.parquet", run.regressions)
    files.write_csv(data / "index.csv", run.index)
    files.write_csv(data / "folds.csv", run.folds)
    files.write_csv(data / "trim.csv", run.trim)
    for fold, history in run.histories.items():
        for stage in STAGES:
            folder, epochs = data / f"models/{stage}/fold{fold}", history[history["stage"] == stage]
            if epochs.empty:
                fold_folders.write_empty(folder, "test")
            else:
                files.write_csv(folder / "history.csv", epochs.drop(columns="stage"))
                files.write_json(folder / "summary.json", {})
    for split, store in run.mel.items():
        clips = [
            (fname, store.frames[start : start + n])
            for fname, start, n in zip(store.fnames, store.starts, store.lengths, strict=True)
        ]
        frames.write_frames(data / "mel" / split, clips, n_mels=16)
    files.write_csv(scores / "reliability.csv", run.reliability)
    files.write_csv(scores / "thresholds.csv", run.thresholds)
    files.write_json(scores / "events.json", run.events)
    tables = {"calibration": run.calibration, "baseline": run.feature_sets, "data": run.facts, "pca": run.pca}
    for name, value in tables.items():
        files.write_json(scores / f"{name}.json", value)
    files.write_json(data / "models.json", run.choice)
    files.write_csv(scores / "models.csv", run.models)
    files.write_csv(scores / "pca_variance.csv", run.variance)
    files.write_text(root / "params.yaml", yaml.safe_dump(run.parameters, sort_keys=False))
