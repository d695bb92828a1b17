"""A model bundle: one folder that holds all that tagging needs, and that says where it comes from.

::

    bundle.json                     labels, preprocessing, networks, scores, data; sha256 of every file below
    README.md                       model card, made from the same numbers
    projection.npz                  statistics -> principal components
    stage1/fold<k>.weights.h5       the mel networks
    stage2/fold<k>.weights.h5       the mel + PCA networks

It holds arrays and text, no code and no clock: equal models give equal bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, ValidationError, model_validator

from fsat import files, params
from fsat.errors import FsatError

FORMAT, VERSION = "fsat-bundle", 1
STAGES = ("stage1", "stage2")
PROJECTION = "projection.npz"
Stage = Literal["stage1", "stage2"]
NotNegative = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[StrictInt, Field(ge=1, le=10_000_000)]

# What is in `bundle.json` ------------------------------------------------------------------------------------------


class Preprocessing(params.Section):
    """From a file to a network's inputs; the sections are those of `params.yaml`."""

    audio: params.Audio
    trim: params.Trim
    mel: params.Mel
    spectral: params.Spectral


class Prediction(params.Section):
    """The passes over a clip.

    `bounds` are the shortest and longest T in frames, `lengths` how many T between them, all multiples of `step`;
    `tries` passes at each. `seed` is that of the random spans.
    """

    seed: NotNegative
    bounds: tuple[Positive, Positive]
    step: Positive
    lengths: Positive
    tries: Positive
    folds: Annotated[list[NotNegative], Field(min_length=1)]


class Network(params.Section):
    """Arguments of `model.build_network`."""

    backbone: str
    width: float
    batchnorm_momentum: float
    n_mels: Positive
    n_classes: Positive
    n_components: NotNegative


class Dataset(params.Section):
    """What the networks learned from."""

    name: str
    synthetic: bool
    fingerprint: Annotated[str, Field(description="sha256 of data/index.csv: clips, labels, licences, lengths")]
    facts: dict[str, Any]


class FileFacts(params.Section):
    """Content of a file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: NotNegative


class Manifest(params.Section):
    """All of `bundle.json`."""

    format: Literal["fsat-bundle"]
    version: Literal[1]
    labels: Annotated[list[str], Field(min_length=1)]
    preprocessing: Preprocessing
    prediction: Prediction
    networks: dict[Stage, Network]
    parameters: dict[Stage, Positive]
    select: Annotated[str, Field(description="train.select: which weights a training handed on")]
    dataset: Dataset
    scores: dict[str, Any]
    files: dict[str, FileFacts]

    @model_validator(mode="after")
    def _fits_together(self) -> "Manifest":
        if set(self.networks) != set(STAGES) or set(self.parameters) != set(STAGES):
            raise ValueError("must have the networks of stage1 and stage2")
        if any(network.n_classes != len(self.labels) for network in self.networks.values()):
            raise ValueError(f"has {len(self.labels)} labels, which is not what its networks tell apart")
        if any(network.n_mels != self.preprocessing.mel.n_mels for network in self.networks.values()):
            raise ValueError("has networks for another number of mel bands than its preprocessing gives")
        if self.prediction.bounds[0] > self.prediction.bounds[1]:
            raise ValueError("has its bounds the wrong way round")
        if set(self.files) != set(_file_names(self.prediction.folds)):
            raise ValueError("lists other files than its folds need")
        return self


def weights_name(stage: str, fold: int) -> str:
    """``stage2/fold0.weights.h5``."""
    return f"{stage}/fold{fold}.weights.h5"


def _file_names(folds: Sequence[int]) -> list[str]:
    return [PROJECTION, *(weights_name(stage, fold) for stage in STAGES for fold in folds)]


# Reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose `bundle.json` was read and checked."""

    folder: Path
    manifest: Manifest

    def verified(self, name: str) -> Path:
        """Path of one of the bundle's files, whose content is what `bundle.json` says.

        Raises
        ------
        FsatError
            If it is missing or was changed.
        """
        path, expected = self.folder / name, self.manifest.files[name]
        try:
            found = file_facts(path)
        except OSError as error:
            raise FsatError(f"{path}: cannot be read ({error.strerror}). Copy the whole bundle again.") from error
        if found != expected:
            raise FsatError(
                f"{path}: is not the file that bundle.json names ({found.bytes} bytes, sha256 {found.sha256[:12]}..., "
                f"expected {expected.bytes} bytes, {expected.sha256[:12]}...). Copy the whole bundle again."
            )
        return path

    def weights(self, stage: str, fold: int) -> Path:
        """Verified path of one network's weights."""
        return self.verified(weights_name(stage, fold))


def read(folder: str | Path) -> Bundle:
    """Read and check `bundle.json`; the other files are checked when they are asked for (`Bundle.verified`).

    Raises
    ------
    FsatError
        If there is no bundle, it is of another version of the format, or it is not consistent in itself.
    """
    path = Path(folder) / "bundle.json"
    if not path.is_file():
        raise FsatError(
            f"{folder}: no model bundle there (no bundle.json). `dvc repro bundle` makes data/bundle; "
            "name another one with --model."
        )
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FsatError(f"{path}: is no fsat model bundle (its format is not '{FORMAT}').")
    if values.get("version") != VERSION:
        raise FsatError(
            f"{path}: has version {values.get('version')!r} of the format, this fsat reads version {VERSION}. "
            "Install the fsat it was made with."
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the bundle"
        message = f"{path}: {key}: {first['msg']}. Copy the bundle again, or make it anew: `dvc repro bundle`."
        raise FsatError(message) from invalid
    return Bundle(Path(folder), manifest)


def file_facts(path: Path) -> FileFacts:
    """Size and sha256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileFacts(sha256=digest, bytes=stream.tell())


# Writing -----------------------------------------------------------------------------------------------------------


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
            "files": {name: file_facts(part / name).model_dump() for name in _file_names(folds)},
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


# Model card --------------------------------------------------------------------------------------------------------


_SYNTHETIC = """\
> **Synthetic data.** This model was trained and scored on the demo dataset, whose clips are synthesised. It shows that
> the pipeline works. It does not know real sounds, and its scores say nothing about them."""

_USE = """\
```
fsat tag --model <this folder> clip.wav
fsat tag --model <this folder> recordings/ --format csv
```

Only the package `fsat` is needed. `bundle.json` is the readable list of everything in here, with a checksum for every
file."""

_INTENDED = """\
Finding and sorting clips by the sound events they hold, one main sound a clip, as suggestions that a person looks
over."""

_LIMITS = """\
- Every clip gets some of the labels below, also a clip with none of these sounds; the probabilities of a clip sum to 1
  and are not calibrated.
- A long recording is tagged as a whole from random spans; use `--segments` to tag it in windows.
- Sounds recorded in other ways than the training clips (distance, noise, codecs) may be tagged worse than the scores
  suggest.
- Not for decisions about people or about safety, such as an alarm."""


def model_card(manifest: Manifest) -> str:
    """Markdown that says what a bundle is, what it learned from, how good it is and what it is not for."""
    parts = [
        f"# Audio tagging model: {len(manifest.labels)} labels, trained on {manifest.dataset.name}",
        _networks_section(manifest),
        *([_SYNTHETIC] if manifest.dataset.synthetic else []),
        *("## Use", _USE),
        *("## Data", _data_section(manifest.dataset)),
        *("## Scores", _scores_section(manifest.scores, manifest.select)),
        *("## Intended use", _INTENDED),
        *("## Limits", _LIMITS),
        *("## Labels", ", ".join(f"`{label}`" for label in manifest.labels)),
    ]
    return "\n\n".join(parts) + "\n"


def _networks_section(manifest: Manifest) -> str:
    p, stage2 = manifest.prediction, manifest.networks["stage2"]
    shortest, longest = p.bounds
    return f"""\
Made by the pipeline `fsat`: {_plural(len(p.folds), "network")} of each stage, {stage2.backbone} of width \
{stage2.width:g}.

- Stage 1: log-mel spectrogram, {manifest.parameters["stage1"]:,} parameters.
- Stage 2: log-mel spectrogram and {stage2.n_components} principal components of spectral statistics, \
{manifest.parameters["stage2"]:,} parameters.
- A clip's prediction is the geometric mean over all passes: {_plural(len(p.folds), "fold")} x \
{_plural(p.lengths, "length")} from {shortest} to {longest} frames (equal ones count once) x {p.tries} random spans."""


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _data_section(dataset: Dataset) -> str:
    lines = []
    for split, name in (("train", "training"), ("test", "test")):
        facts = dataset.facts.get(split, {})
        if facts.get("clips"):
            lines.append(f"- {facts['clips']} {name} clips, {facts['hours']:.2f} hours")
    twins = dataset.facts.get("test_also_in_train", {}).get("clips", 0)
    if twins:
        lines.append(f"- {_plural(twins, 'test clip')} may be in the training set too (same name, source or bytes)")
    lines.append(f"- Fingerprint (sha256 of the list of clips): `{dataset.fingerprint}`")
    licenses = dataset.facts.get("licenses", {}).get("train", {})
    if licenses:
        rows = [f"| {_cell(name)} | {count} |" for name, count in licenses.items()]
        lines += ["", "| licence | training clips |", "|---|---|", *rows]
        lines += ["", "Whether and how these licences bind a model made from the clips is for its user to judge."]
    return "\n".join(lines)


def _scores_section(scores: Mapping[str, Any], select: str) -> str:
    """Table of MAP@3 with intervals; a part without a score has no row."""
    rows = []
    for key, what in (("all", "test clips"), ("public", "test clips, Public"), ("private", "test clips, Private")):
        pair = [_score(scores, "test", "stage1", key), _score(scores, "test", key)]
        count = scores.get("n", {}).get("test", {}).get(key)
        if count:
            rows.append(f"| {what} ({count}) | {pair[0]} | {pair[1]} |")
    pair = [_score(scores, "cv", stage) for stage in STAGES]
    rows.append(f"| cross-validation ({scores.get('n', {}).get('cv', '?')} held-out clips) | {pair[0]} | {pair[1]} |")
    table = "\n".join(["| MAP@3 [95 % interval] | stage 1: mel | stage 2: mel + PCA |", "|---|---|---|", *rows])
    caveat = (
        "The cross-validation scores are those of single folds' networks on clips they did not train on."
        if select == "last"
        else "The cross-validation scores flatter: each fold's weights were chosen by their loss on the same held-out "
        "clips that the score is taken on (`train.select: last` avoids that)."
    )
    return f"{table}\n\n{caveat}"


def _score(scores: Mapping[str, Any], *keys: str) -> str:
    value, limits = _look_up(scores, keys), _look_up(scores.get("ci95", {}), keys)
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.4f} [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else f"{value:.4f}"


def _look_up(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
