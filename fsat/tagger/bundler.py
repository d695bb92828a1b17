"""Write a model bundle from what a run has trained."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.tagger.bundle import FORMAT, PROJECTION, STAGES, VERSION, Bundle, file_facts, file_names, read, weights_name
from fsat.tagger.card import model_card


def write(
    out: str | Path,
    *,
    models: str | Path,
    folds: Sequence[int],
    projection: str | Path,
    labels: Sequence[str],
    preprocessing: Mapping[str, params.Section],
    passes: Mapping[str, int],
    select: str,
    dataset: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> Bundle:
    """Write a bundle of trained networks.

    Parameters
    ----------
    out : path
        Folder; one that is there is replaced as a whole.
    models : path
        Holds ``<stage>/fold<k>/`` as training writes them; what lengths and which networks is read from there.
    projection : path
        The npz of `pca.save`.
    labels : sequence of str
        In the order of the networks' outputs.
    preprocessing : mapping
        Fields of `Preprocessing`: sections audio, trim, mel and spectral of the parameters.
    passes : mapping
        seed, step, lengths and tries of `Prediction`.
    dataset : mapping
        Fields of `Dataset`.
    scores : mapping
        Content of ``metrics/map3.json``.

    Raises
    ------
    FsatError
        If the networks of the folds are not alike, or what is given does not fit them.
    """
    summaries = {
        (stage, fold): files.read_json(Path(models) / stage / f"fold{fold}" / "summary.json")
        for stage in STAGES
        for fold in folds
    }
    alike = [_common(summaries, stage) for stage in STAGES]
    if alike[0]["bounds"] != alike[1]["bounds"]:
        raise FsatError(f"{models}: stage 1 and stage 2 were trained at other lengths. Run `dvc repro`.")
    with files.atomic_folder(out) as part:
        files.write_npz(part / PROJECTION, **files.read_npz(projection))  # arrays and nothing else
        for stage, fold in summaries:
            (part / stage).mkdir(exist_ok=True)
            shutil.copyfile(Path(models) / stage / f"fold{fold}" / "model.weights.h5", part / weights_name(stage, fold))
        values = {
            "format": FORMAT,
            "version": VERSION,
            "labels": list(labels),
            "preprocessing": {name: section.model_dump() for name, section in preprocessing.items()},
            "prediction": {**passes, "bounds": alike[0]["bounds"], "folds": list(folds)},
            "networks": {stage: summary["network"] for stage, summary in zip(STAGES, alike, strict=True)},
            "parameters": {stage: summary["parameters"] for stage, summary in zip(STAGES, alike, strict=True)},
            "select": select,
            "dataset": dict(dataset),
            "scores": dict(scores),
            "files": {name: file_facts(part / name).model_dump() for name in file_names(folds)},
        }
        files.write_json(part / "bundle.json", values)
        written = read(part)
        files.write_text(part / "README.md", model_card(written.manifest))
    return Bundle(Path(out), written.manifest)


def _common(summaries: Mapping[tuple[str, int], dict[str, Any]], stage: str) -> dict[str, Any]:
    """What the summaries of a stage's folds agree on."""
    mine = {fold: summary for (of_stage, fold), summary in summaries.items() if of_stage == stage}
    first_fold, first = next(iter(mine.items()))
    for fold, summary in mine.items():
        for key in ("network", "bounds", "parameters"):
            if summary[key] != first[key]:
                raise FsatError(
                    f"{stage}: folds {first_fold} and {fold} differ in {key}: {json.dumps(first[key])} and "
                    f"{json.dumps(summary[key])}. Run `dvc repro`."
                )
    return first
