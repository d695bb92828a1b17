"""Write a model bundle from what a run has fitted, or from a network that others have published."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.core.model_names import ModelName
from fsat.features import mel_bank
from fsat.scoring.names import Stage
from fsat.tagger import bundle as bundles
from fsat.tagger.bundle import READ, STATISTICS, Bundle, Embedder, Network, Published, Read
from fsat.tagger.card import model_card


def write(
    out: str | Path,
    *,
    chosen: Sequence[ModelName],
    networks: Sequence[Stage],
    models: str | Path,
    convert: Callable[[Mapping[Path, Path], Sequence[str]], int],
    convert_trunk: Callable[[Path, Sequence[Read]], Mapping[str, int]],
    folds: Sequence[int],
    filters: str | Path,
    projection: str | Path,
    regressions: Mapping[str, np.ndarray],
    labels: Sequence[str],
    preprocessing: Mapping[str, params.Section],
    passes: Mapping[str, int],
    calibration: Mapping[str, float],
    unknown: Mapping[str, Any] | None,
    references: Callable[[Embedder, int], np.ndarray],
    **about: Any,
) -> Bundle:
    """Write a bundle of trained networks and fitted regressions.

    Parameters
    ----------
    out : path
        Folder; one that is there is replaced as a whole.
    chosen, networks : sequence of str
        The models of the submission; the networks that were trained, all of which the bundle holds.
    models : path
        Holds ``<stage>/fold<k>/`` as training writes them; the lengths of crops and the networks are read from there.
    convert : callable
        Writes the networks of such folders, all of one stage, as ONNX files and returns the length of their embedding
        (`networks.onnx_export.convert`); refuses one that was trained on other labels.
    convert_trunk : callable
        Writes views of the trunk with its initial weights and returns the length of each
        (`onnx_export.convert_trunk`); called where a regression or the marks read one.
    filters, projection : path
        Folder of the stage `filters`; the npz of `pca.save`.
    regressions : mapping of str to np.ndarray
        `data/baseline.npz`: ``<model>.weights`` (C, k) and ``<model>.bias`` (C,).
    labels : sequence of str
        In the order of the networks' outputs.
    preprocessing, passes : mapping
        Fields of `Preprocessing`, and of `RandomPasses` but for the bounds.
    calibration : mapping of str to float
        Temperatures.
    unknown : mapping or None
        Fields of `Unknown`.
    references : callable
        Gives the result of `unknown.reference` for a network and a fold, or for the view `last` and -1.
    **about
        Other fields of `Manifest`: events; select; dataset; scores, with ``models``, the rows of
        ``metrics/models.csv``, and ``baseline``, the one of these to compare with.

    Raises
    ------
    FsatError
        If the networks of the folds are not alike, or what is given does not fit them.
    """
    summaries = {
        (stage, fold): files.read_json(Path(models) / stage / f"fold{fold}" / "summary.json")
        for stage in networks
        for fold in folds
    }
    alike = {stage: _common(summaries, stage) for stage in networks}
    bounds = [summary["bounds"] for summary in alike.values()]
    if bounds[1:] and bounds[0] != bounds[1]:
        raise FsatError(f"{models}: stage 1 and stage 2 were trained with different crop lengths. Run `dvc repro`.")
    fitted: list[Read] = [name for name in READ if name in chosen]
    marks: list[Embedder] = [] if unknown is None else list(unknown["threshold"])
    views = [name for name in READ if name != STATISTICS and name in (*fitted, *marks)]
    has_components = STATISTICS in fitted or any(summary["network"]["n_components"] for summary in alike.values())
    with files.atomic_folder(out) as part:
        # Arrays and nothing else.
        files.write_npz(part / bundles.MEL_FILTERS, **files.read_npz(Path(filters) / "mel.npz"))
        if has_components:
            files.write_npz(part / bundles.SPECTRAL_FILTERS, **files.read_npz(Path(filters) / "spectral.npz"))
            files.write_npz(part / bundles.PROJECTION, **files.read_npz(projection))
        if fitted:
            names = [f"{name}.{array}" for name in fitted for array in ("weights", "bias")]
            files.write_npz(part / bundles.FITTED, **{name: regressions[name] for name in names})
        features: dict[Read, int] = {}
        if STATISTICS in fitted:
            features[STATISTICS] = regressions[f"{STATISTICS}.weights"].shape[1]
        if views:
            found = convert_trunk(part / bundles.TRUNK, views)
            features |= {view: found[view] for view in views}
        lengths = {}
        for stage in networks:
            (part / stage).mkdir()
            paths = {Path(models) / stage / f"fold{fold}": part / bundles.network_name(stage, fold) for fold in folds}
            lengths[stage] = convert(paths, labels)
        for embedder in marks:
            for fold, name in bundles.reference_names(embedder, folds).items():
                files.write_npz(part / name, embeddings=references(embedder, fold))
        values = {
            "labels": list(labels),
            "activation": "softmax",
            "preprocessing": {name: section.model_dump() for name, section in preprocessing.items()},
            "passes": {**passes, "bounds": bounds[0]} if bounds else None,
            "models": list(chosen),
            "folds": list(folds) if networks else [],
            "networks": {
                stage: Network(
                    n_components=summary["network"]["n_components"],
                    n_embedding=lengths[stage],
                    parameters=summary["parameters"],
                    architecture=summary["network"],
                ).model_dump()
                for stage, summary in alike.items()
            },
            "features": features,
            "calibration": {"temperature": dict(calibration)},
            "unknown": None if unknown is None else dict(unknown),
            **about,
        }
        return _close(part, values, out)


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
    name = bundles.network_name("stage1", 0)
    described = Network(n_components=0, n_embedding=n_embedding, parameters=parameters, architecture=dict(architecture))
    with files.atomic_folder(out) as part:
        (part / name).parent.mkdir()
        (part / name).write_bytes(network)
        mel_bank.write(part / bundles.MEL_FILTERS, bank, mel_bank.for_mel(mel))
        values = {
            "labels": list(labels),
            "activation": "sigmoid",
            "preprocessing": {"audio": {"sample_rate": mel.sample_rate}, "mel": mel.model_dump()},
            "models": ["stage1"],
            "folds": [0],
            "networks": {"stage1": described.model_dump()},
            "dataset": {"name": trained_on, "synthetic": False, "fingerprint": None, "facts": {}},
            "published": [source.model_dump() for source in published],
            "scores": dict(scores),
        }
        return _close(part, values, out)


def _close(part: Path, values: Mapping[str, Any], out: str | Path) -> Bundle:
    """Write `bundle.json` and the card beside files that are complete; they are to be moved to `out`."""
    paths = sorted(path for path in part.rglob("*") if path.is_file())
    facts = {path.relative_to(part).as_posix(): bundles.file_facts(path).model_dump() for path in paths}
    head = {"format": bundles.FORMAT, "version": bundles.VERSION}
    files.write_json(part / "bundle.json", {**head, **values, "files": facts})
    manifest = bundles.read(part).manifest
    for name, purpose in manifest.filters.items():
        mel_bank.read(part / name, purpose)
    files.write_text(part / "README.md", model_card(manifest))
    return Bundle(Path(out), manifest)


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
