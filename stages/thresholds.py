"""Held-out windows of recordings, or held-out clips -> `metrics/thresholds.json`: from which probability a label holds.

Recordings are tagged in windows where the submission is of regressions alone. Networks take several passes of each
window and fold: where they belong to the submission, held-out clips serve.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fsat.clips.annotations import BACKGROUND
from fsat.core import files, fold_folders, keras_backend, parallel, params
from fsat.core.errors import FsatError
from fsat.core.network import output_labels
from fsat.core.stage import run
from fsat.features import pca
from fsat.scoring import calibration, outcomes, thresholds
from fsat.scoring.names import STAGES, SUBMISSION
from fsat.tagger import bundler
from fsat.tagger.bundle import STATISTICS, TRUNK
from fsat.tagger.event_f1 import of_windows
from fsat.tagger.results import Failed
from fsat.tagger.tagger import Tagger

KEYS = ["split", "fold", "path", "start_s", "end_s"]


def main() -> None:
    """Tag each training recording with the models of folds that did not see it, test recordings with all; choose."""
    p = params.read()
    index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
    ids, labels = fold_folders.existing(p.folds.ids, folds), output_labels(folds)
    chosen = files.read_json("data/models.json")["test"]
    temperature = files.read_json("metrics/calibration.json")["temperature"]
    used = folds[(folds["weight"] > 0) & folds["fold"].isin(ids)]
    windows = pd.DataFrame({**{key: [] for key in KEYS}, **{label: [] for label in labels}})
    has_windows = "start" in index and not {*chosen} & {*STAGES}
    if has_windows:
        keras_backend.use()
        from fsat.networks import onnx_export

        clips = used.merge(index.loc[index["split"] == "train", ["fname", "path", "start", "end"]], on="fname")
        test = index.loc[(index["split"] == "test") & (index["problem"].fillna("") == ""), "path"]
        preprocessing = {"audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral}
        Path("state").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir="state") as scratch:  # which workers on other machines see, too
            trunk = (p.model.weights, p.model.backbone, p.model.width, p.mel.n_mels)
            options: dict[str, Any] = {
                "chosen": chosen,
                "labels": labels,
                "preprocessing": preprocessing,
                "calibration": temperature,
            }
            options["convert_trunk"] = _Once(
                lambda path, views: onnx_export.convert_trunk(*trunk, path, views=views), Path(scratch, TRUNK)
            )
            parts = []
            for fold in (*ids, -1):
                paths = sorted(set(clips.loc[clips["fold"] == fold, "path"] if fold >= 0 else test))
                if not paths:
                    continue
                _bundle(Path(scratch, "bundle"), fold, folds, **options)
                found = _tagged(Path(scratch, "bundle"), Path(p.dataset.path), paths)
                parts.append(found.assign(split="heldout" if fold >= 0 else "test", fold=fold)[[*KEYS, *labels]])
        windows, holds = _held_out(pd.concat(parts, ignore_index=True), clips, labels)
        heldout = windows[windows["split"] == "heldout"]
        probabilities, examples = heldout[labels].to_numpy(np.float64), clips["corrected"].value_counts()
    else:
        predictions = files.read_parquet("data/predictions.parquet")
        outcome = outcomes.outcome(predictions, index, split="heldout", model=SUBMISSION)
        kept = outcome.clips["fname"].isin(used["fname"]).to_numpy()
        actual = outcome.clips.loc[kept, "fname"].map(used.set_index("fname")["corrected"])
        holds = actual.to_numpy()[:, None] == np.array(labels)
        probabilities = calibration.scale(outcome.probabilities[kept], temperature[SUBMISSION])
        examples = actual.value_counts()
    counts = {str(label): int(n) for label, n in examples.items()}
    names = [number for number, label in enumerate(labels) if label != BACKGROUND]
    table = thresholds.curves(probabilities[:, names], holds[:, names], [labels[number] for number in names])
    if has_windows:
        annotations = clips[["path", "start", "end"]].assign(label=clips["corrected"])
        at = [of_windows(heldout, annotations, float(level), thresholds.HOP_S) for level in thresholds.GRID]
        table["f1"] = [one["event"]["labels"].get(label, 0.0) for label in table["label"].unique() for one in at]
    chosen_at, why = thresholds.choose(table, counts, precision=p.events.precision, nearest=has_windows)
    files.write_parquet("data/windows.parquet", windows)
    files.write_csv("metrics/thresholds.csv", table.round(6))
    source = "recordings" if has_windows else "clips"
    section = {"source": source, "segment_s": thresholds.SEGMENT_S, "hop_s": thresholds.HOP_S, "threshold": chosen_at}
    files.write_json("metrics/thresholds.json", section)
    print(f"thresholds of {len(chosen_at)} labels by held-out {'windows of recordings' if has_windows else 'clips'}")
    if why:
        reasons = pd.Series(why).value_counts()
        told = "; ".join(f"{count} label{'s' if count > 1 else ''}: {reason}" for reason, count in reasons.items())
        print(f"note: threshold {thresholds.UNCHOSEN}{' or more' if has_windows else ''} for {told}")


class _Once:
    """Writes the views of the trunk for each bundle, converted once, to a path."""

    def __init__(self, convert: Callable[[Path, Sequence[Any]], Mapping[str, int]], path: Path) -> None:
        self.convert, self.path, self.lengths = convert, path, dict[str, int]()

    def __call__(self, path: Path, views: Sequence[Any]) -> Mapping[str, int]:
        if not self.lengths:
            self.lengths = dict(self.convert(self.path, views))
        shutil.copy(self.path, path)
        return self.lengths


def _bundle(out: Path, fold: int, folds: pd.DataFrame, **options: Any) -> None:
    """Write a bundle of the regressions of a fold; of all training clips for -1."""
    projection = Path("data/pca/projection.npz")
    if STATISTICS in options["chosen"] and fold >= 0:
        # As `baseline` fitted it.
        components = files.read_parquet("data/pca/train.parquet")
        statistics = files.read_parquet("data/spectral.parquet").set_index("fname").drop(columns="split")
        others = statistics.loc[components["fname"]].drop(index=list(folds.loc[folds["fold"] == fold, "fname"]))
        projection = out.with_name("projection.npz")
        pca.save(projection, pca.fit(others, n_components=components.shape[1] - 1)[0])
    every = files.read_npz("data/baseline_folds.npz") if fold >= 0 else files.read_npz("data/baseline.npz")
    ending = f".fold{fold}" if fold >= 0 else ""
    regressions = {name.removesuffix(ending): array for name, array in every.items() if name.endswith(ending)}
    bundler.write(
        out,
        networks=[],
        models="data/models",
        convert=lambda *_: 0,
        folds=[],
        filters="data/filters",
        projection=projection,
        regressions=regressions,
        passes={},
        unknown=None,
        references=lambda *_: np.zeros(0),
        dataset={"name": "", "synthetic": False, "fingerprint": None, "facts": {}},
        scores={},
        **options,
    )


def _tagged(bundle: Path, dataset: Path, paths: Sequence[str]) -> pd.DataFrame:
    """Windows of recordings, with their probabilities; `FsatError` if a recording breaks off."""
    work = partial(_windows, bundle=bundle.resolve(), dataset=dataset.resolve())  # absolute, for workers elsewhere
    return pd.concat(parallel.map_clips(work, paths, desc="windows", unit="recording"), ignore_index=True)


def _windows(path: str, *, bundle: Path, dataset: Path) -> pd.DataFrame:
    tagger, rows = Tagger(bundle, threads=1), []
    for result in tagger.tag_files([dataset / path], segment_s=thresholds.SEGMENT_S, hop_s=thresholds.HOP_S):
        if isinstance(result, Failed):
            raise FsatError(f"{result.path}: {result.reason}. Mend it, and run `dvc repro`.")
        rows.append((path, result.start_s, result.end_s, *result.probabilities))
    return pd.DataFrame(rows, columns=["path", "start_s", "end_s", *tagger.manifest.labels])


def _held_out(windows: pd.DataFrame, clips: pd.DataFrame, labels: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Windows without those of training recordings that another fold holds out; what the held-out ones hold."""
    kept, holds = [], [np.zeros((0, len(labels)), dtype=bool)]
    for (split, path, fold), rows in windows.groupby(["split", "path", "fold"], sort=False):
        if split == "heldout":
            own = clips[clips["path"] == path]
            centres = ((rows["start_s"] + rows["end_s"]) / 2).to_numpy()
            spans = list(own[["start", "end", "fold"]].itertuples(index=False, name=None))
            mine = thresholds.nearest_fold(centres, spans) == fold
            annotated = list(own[["start", "end", "corrected"]].itertuples(index=False, name=None))
            rows = rows[mine]
            holds.append(thresholds.holding(centres[mine], annotated, labels))
        kept.append(rows)
    return pd.concat(kept, ignore_index=True), np.concatenate(holds)


if __name__ == "__main__":
    # As in stage `bundle`.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    run(main)
