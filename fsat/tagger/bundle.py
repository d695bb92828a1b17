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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, ValidationError, model_validator

from fsat.core import files, params
from fsat.core.errors import FsatError

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

    def first_folds(self, n_folds: int | None) -> list[int]:
        """The first `n_folds` folds, None: all; `FsatError` if there are not that many."""
        if n_folds is not None and not 1 <= n_folds <= len(self.folds):
            raise FsatError(
                f"--folds must be between 1 and {len(self.folds)}, the folds of this bundle. Got {n_folds}."
            )
        return self.folds[:n_folds]


class Network(params.Section):
    """Arguments of `model.build_network`."""

    backbone: str
    width: float
    batchnorm_momentum: float
    n_mels: Positive
    n_classes: Positive
    n_components: NotNegative
    head: list[Positive]
    freeze_batchnorm: bool


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
        if set(self.files) != set(file_names(self.prediction.folds)):
            raise ValueError("lists other files than its folds need")
        return self


def weights_name(stage: str, fold: int) -> str:
    """``stage2/fold0.weights.h5``."""
    return f"{stage}/fold{fold}.weights.h5"


def file_names(folds: Sequence[int]) -> list[str]:
    """Names of the files that a bundle of these folds holds besides `bundle.json` and the card."""
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
