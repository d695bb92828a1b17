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
from fsat.tagger import bundle as bundles
from fsat.tagger.bundle import Bundle, Fusion, Network, Published
from fsat.tagger.card import model_card


def write(
    out: str | Path,
    *,
    models: str | Path,
    convert: Callable[[Path, Path, Sequence[str]], int],
    convert_trunk: Callable[[Path], dict[str, int]],
    folds: Sequence[int],
    filters: str | Path,
    projection: str | Path,
    baseline: Mapping[str, np.ndarray],
    baseline_weight: float,
    labels: Sequence[str],
    preprocessing: Mapping[str, params.Section],
    passes: Mapping[str, int],
    calibration: Mapping[str, float],
    references: str | Path,
    **about: Any,
) -> Bundle:
    """Write a bundle of trained networks.

    Parameters
    ----------
    out : path
        Folder; one that is there is replaced as a whole.
    models : path
        Holds ``<stage>/fold<k>/`` as training writes them; the lengths of crops and the networks are read from there.
    convert : callable
        Writes the network of such a folder as an ONNX file and returns the length of its embedding
        (`networks.onnx_export.convert`); refuses one that was trained on other labels.
    convert_trunk : callable
        Writes the trunk with its initial weights and returns the length of each view (`onnx_export.convert_trunk`);
        called where the regression reads more than the components.
    filters, projection : path
        Folder of the stage `filters`; the npz of `pca.save`.
    baseline, baseline_weight
        Arrays of `baseline.coefficients`, for features [embedding, components] or [components], and its weight in
        late fusion; without weight it is left out.
    labels : sequence of str
        In the order of the networks' outputs.
    preprocessing, passes : mapping
        Fields of `Preprocessing`, and of `RandomPasses` but for the bounds.
    calibration : mapping of stage to float
        Temperatures.
    references : path
        Holds ``fold<k>/reference.npz`` with an array a stage, of `unknown.reference`.
    **about
        Other fields of `Manifest`: unknown, for both stages; select; dataset; scores, with ``models``, the rows of
        ``metrics/models.csv``, and ``baseline``, the one of these to compare with.

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
        files.write_npz(part / bundles.MEL_FILTERS, **files.read_npz(Path(filters) / "mel.npz"))
        if has_components:
            files.write_npz(part / bundles.SPECTRAL_FILTERS, **files.read_npz(Path(filters) / "spectral.npz"))
            files.write_npz(part / bundles.PROJECTION, **files.read_npz(projection))
        fusion = None
        if baseline_weight:
            files.write_npz(part / bundles.BASELINE, **baseline)
            reads_trunk = baseline["weights"].shape[1] > alike["stage2"]["network"]["n_components"]
            n_embedding = sum(convert_trunk(part / bundles.TRUNK).values()) if reads_trunk else 0
            fusion = Fusion(baseline_weight=baseline_weight, n_embedding=n_embedding)
        lengths = {}
        for stage, fold in summaries:
            (part / stage).mkdir(exist_ok=True)
            known = files.read_npz(Path(references) / f"fold{fold}" / "reference.npz")[stage]
            files.write_npz(part / bundles.reference_name(stage, fold), embeddings=known)
            network = part / bundles.network_name(stage, fold)
            lengths[stage] = convert(Path(models) / stage / f"fold{fold}", network, labels)
        values = {
            "labels": list(labels),
            "activation": "softmax",
            "preprocessing": {name: section.model_dump() for name, section in preprocessing.items()},
            "passes": {**passes, "bounds": alike["stage1"]["bounds"]},
            "folds": list(folds),
            "networks": {
                stage: Network(
                    n_components=summary["network"]["n_components"],
                    n_embedding=lengths[stage],
                    parameters=summary["parameters"],
                    architecture=summary["network"],
                ).model_dump()
                for stage, summary in alike.items()
            },
            "fusion": None if fusion is None else fusion.model_dump(),
            "calibration": {"temperature": dict(calibration)},
            **about,
        }
        names = bundles.file_names(STAGES, folds, has_components, fusion, marked=STAGES)
        return _close(part, values, names, out)


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
            "folds": [0],
            "networks": {"stage1": described.model_dump()},
            "dataset": {"name": trained_on, "synthetic": False, "fingerprint": None, "facts": {}},
            "published": [source.model_dump() for source in published],
            "scores": dict(scores),
        }
        return _close(part, values, [bundles.MEL_FILTERS, name], out)


def _close(part: Path, values: Mapping[str, Any], names: Sequence[str], out: str | Path) -> Bundle:
    """Write `bundle.json` and the card beside files that are complete; they are to be moved to `out`."""
    facts = {name: bundles.file_facts(part / name).model_dump() for name in names}
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
