"""Write a model bundle from what a run has trained, or from a network that others have published."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.features import mel_bank
from fsat.scoring.names import STAGES, Stage
from fsat.tagger.bundle import (
    BASELINE,
    FORMAT,
    MEL_FILTERS,
    PROJECTION,
    SPECTRAL_FILTERS,
    TRUNK,
    VERSION,
    Bundle,
    Fusion,
    Published,
    file_facts,
    file_names,
    network_name,
    read,
    reference_name,
)
from fsat.tagger.card import model_card


def write(
    out: str | Path,
    *,
    models: str | Path,
    convert: Callable[[Path, Path, Sequence[str]], int],
    convert_trunk: Callable[[Path], int],
    folds: Sequence[int],
    filters: str | Path,
    projection: str | Path,
    baseline: str | Path,
    baseline_weight: float,
    labels: Sequence[str],
    preprocessing: Mapping[str, params.Section],
    passes: Mapping[str, int],
    calibration: Mapping[str, float],
    unknown: Mapping[str, Any],
    references: str | Path,
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
    convert : callable
        Writes the network of such a folder as an ONNX file and returns the length of its embedding
        (`networks.onnx_export.convert`); refuses one that was trained on other labels.
    convert_trunk : callable
        The same for the trunk with its initial weights; called where the regression reads more than the components.
    filters : path
        Folder of the stage `filters`.
    projection : path
        The npz of `pca.save`.
    baseline, baseline_weight
        The npz of `baseline.coefficients`, for features [embedding, components] or [components], and its weight in
        late fusion; without weight it is left out.
    labels : sequence of str
        In the order of the networks' outputs.
    preprocessing : mapping
        Fields of `Preprocessing`: sections audio, trim, mel and spectral of the parameters.
    passes : mapping
        seed, step, lengths and tries of `RandomPasses`.
    calibration : mapping of stage to float
        Temperatures.
    unknown : mapping
        Fields of `Unknown`, for both stages.
    references : path
        Holds ``fold<k>/reference.npz`` with an array a stage, of `unknown.reference`.
    dataset : mapping
        Fields of `Dataset`.
    scores : mapping
        ``models``, the rows of ``metrics/models.csv``; others are free.

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
    alike = {stage: _common(summaries, stage) for stage in STAGES}
    if alike["stage1"]["bounds"] != alike["stage2"]["bounds"]:
        raise FsatError(f"{models}: stage 1 and stage 2 were trained with different crop lengths. Run `dvc repro`.")
    has_components = any(summary["network"]["n_components"] for summary in alike.values())
    with files.atomic_folder(out) as part:
        # Arrays and nothing else.
        files.write_npz(part / MEL_FILTERS, **files.read_npz(Path(filters) / "mel.npz"))
        if has_components:
            files.write_npz(part / SPECTRAL_FILTERS, **files.read_npz(Path(filters) / "spectral.npz"))
            files.write_npz(part / PROJECTION, **files.read_npz(projection))
        fusion = None
        if baseline_weight:
            coefficients = files.read_npz(baseline)
            files.write_npz(part / BASELINE, **coefficients)
            n_more = coefficients["weights"].shape[1] - alike["stage2"]["network"]["n_components"]
            fusion = Fusion(
                baseline_weight=baseline_weight, n_embedding=convert_trunk(part / TRUNK) if n_more > 0 else 0
            )
        n_embedding = {}
        for stage, fold in summaries:
            (part / stage).mkdir(exist_ok=True)
            known = files.read_npz(Path(references) / f"fold{fold}" / "reference.npz")[stage]
            files.write_npz(part / reference_name(stage, fold), embeddings=known)
            n_embedding[stage] = convert(Path(models) / stage / f"fold{fold}", part / network_name(stage, fold), labels)
        values = {
            "format": FORMAT,
            "version": VERSION,
            "labels": list(labels),
            "activation": "softmax",
            "preprocessing": {name: section.model_dump() for name, section in preprocessing.items()},
            "passes": {**passes, "bounds": alike["stage1"]["bounds"]},
            "folds": list(folds),
            "networks": {
                stage: {
                    "n_components": summary["network"]["n_components"],
                    "n_embedding": n_embedding[stage],
                    "parameters": summary["parameters"],
                    "architecture": summary["network"],
                }
                for stage, summary in alike.items()
            },
            "fusion": None if fusion is None else fusion.model_dump(),
            "calibration": {"temperature": dict(calibration)},
            "unknown": dict(unknown),
            "select": select,
            "dataset": dict(dataset),
            "scores": dict(scores),
        }
        names = file_names(STAGES, folds, projection=has_components, fusion=fusion, marked=STAGES)
        written = _close(part, values, names)
    return Bundle(Path(out), written.manifest)


def write_published(
    out: str | Path,
    *,
    network: bytes,
    n_embedding: int,
    parameters: int,
    architecture: Mapping[str, Any],
    labels: Sequence[str],
    mel: params.Mel,
    bank: np.ndarray,
    trained_on: str,
    published: Sequence[Published],
    scores: Mapping[str, Any],
) -> Bundle:
    """Write a bundle of one network that others trained: independent labels, clips seen once, whole, silence kept.

    Parameters
    ----------
    out : path
        Folder; one that is there is replaced as a whole.
    network : bytes
        The ONNX file.
    n_embedding, parameters : int
        Length of the embedding, and numbers that the network has learned.
    architecture : mapping
        Free text and numbers, such as backbone and width.
    labels : sequence of str
        In the order of the network's outputs.
    mel : params.Mel
        The front end; clips are read at its rate.
    bank : np.ndarray [shape=(1 + n_fft // 2, n_mels), dtype=float32]
        Its mel filters.
    trained_on : str
        Name of the dataset.
    published : sequence of Published
        What the bundle was made of.
    scores : mapping
        What is known of them.
    """
    name = network_name("stage1", 0)
    with files.atomic_folder(out) as part:
        (part / name).parent.mkdir()
        (part / name).write_bytes(network)
        mel_bank.write(part / MEL_FILTERS, bank, mel_bank.for_mel(mel))
        values = {
            "format": FORMAT,
            "version": VERSION,
            "labels": list(labels),
            "activation": "sigmoid",
            "preprocessing": {"audio": {"sample_rate": mel.sample_rate}, "mel": mel.model_dump()},
            "folds": [0],
            "networks": {
                "stage1": {
                    "n_components": 0,
                    "n_embedding": n_embedding,
                    "parameters": parameters,
                    "architecture": dict(architecture),
                }
            },
            "dataset": {"name": trained_on, "synthetic": False, "fingerprint": None, "facts": {}},
            "published": [source.model_dump() for source in published],
            "scores": dict(scores),
        }
        written = _close(part, values, [MEL_FILTERS, name])
    return Bundle(Path(out), written.manifest)


def _close(part: Path, values: Mapping[str, Any], names: Sequence[str]) -> Bundle:
    """Write `bundle.json` and the card beside files that are complete."""
    facts = {name: file_facts(part / name).model_dump() for name in names}
    files.write_json(part / "bundle.json", {**values, "files": facts})
    written = read(part)
    for name, purpose in written.manifest.filters.items():
        mel_bank.read(part / name, purpose)
    files.write_text(part / "README.md", model_card(written.manifest))
    return written


def _common(summaries: Mapping[tuple[Stage, int], dict[str, Any]], stage: Stage) -> dict[str, Any]:
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
