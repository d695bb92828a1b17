"""A model bundle: one folder that holds all that tagging needs, and that says where it comes from.

::

    bundle.json               labels, preprocessing, networks, scores, data; sha256 of every file below
    README.md                 model card, made from the same numbers
    filters/mel.npz           mel filters of the networks' spectrograms
    filters/spectral.npz      mel filters of the statistics; only where a model reads components
    projection.npz            statistics -> principal components; only where a model reads components
    regressions.npz           <model>.weights, <model>.bias of each logistic regression
    trunk.onnx                views of a whole clip; only where a regression or the marks read one
    stage1/fold<k>.onnx       the mel networks
    stage2/fold<k>.onnx       the mel + PCA networks
    <stage>/fold<k>.npz       embeddings of training clips by that network; only where clips that are none of the
                              labels are marked
    last.npz                  the view `last` of training clips; only where clips are marked without any network

It holds arrays and text, no code and no clock: equal models give equal bytes. A bundle has at least one model, a
network or a regression; folds, the projection, several passes over a clip, calibration and marks of unknown clips are
optional.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, StrictInt, ValidationError, model_validator

from fsat.core import files, params
from fsat.core.errors import FsatError
from fsat.core.model_names import ModelName
from fsat.features import mel_bank
from fsat.features.mel_bank import Purpose
from fsat.scoring.names import REGRESSIONS, STAGES, Stage

FORMAT, VERSION = "fsat-bundle", 4
MEL_FILTERS, SPECTRAL_FILTERS = "filters/mel.npz", "filters/spectral.npz"
PROJECTION, FITTED, TRUNK = "projection.npz", "regressions.npz", "trunk.onnx"
STATISTICS: Final = "statistics"  # the features that are no view
LAST: Final = "last"  # the view that marks clips
NotNegative = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Distance = Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)]  # of two directions: 1 - cosine
Read = Literal["statistics", "last", "middle"]  # what a regression of that name reads
READ: tuple[Read, ...] = get_args(Read)
Embedder = Literal["stage1", "stage2", "last"]  # whose embedding stands for a clip: a network's, or that view

# What is in `bundle.json` ------------------------------------------------------------------------------------------


class Preprocessing(params.Section):
    """From a file to a network's inputs. Without `trim` silence is kept; without `spectral` there are no statistics."""

    audio: params.Audio
    trim: params.Trim | None = None
    mel: params.Mel
    spectral: params.Spectral | None = None


class RandomPasses(params.Section):
    """The passes over a clip.

    `bounds` are the shortest and longest T in frames, `lengths` how many T between them, all multiples of `step`;
    `tries` passes at each. `seed` is that of the random spans.
    """

    seed: NotNegative
    bounds: tuple[Positive, Positive]
    step: Positive
    lengths: Positive
    tries: Positive


class Network(params.Section):
    """The networks of one stage.

    Inputs "mel" (B, M, T, 1), scaled to about [0, 1], and "pca" (B, `n_components`) where that is not 0; outputs
    "probabilities" (B, C) and "embedding" (B, `n_embedding`). `architecture` is free text and numbers: for the
    pipeline's own networks the arguments of `model.build_network`.
    """

    n_components: NotNegative
    n_embedding: Positive
    parameters: Annotated[StrictInt, Field(ge=1)]
    architecture: dict[str, Any]


class Calibration(params.Section):
    """The logits of the submission's, or of a stage's, probabilities are divided by its temperature; without one 1."""

    temperature: dict[
        Literal["stage1", "stage2", "submission"], Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]
    ]


class Unknown(params.Section):
    """Clips that are none of the labels: those farther than the embedder's threshold from the training clips.

    The score of a clip is `scoring.unknown.score`, mean over the folds; `neighbours` is how many training clips count,
    `keep` the share of held-out clips that the threshold was chosen to take for known.
    """

    threshold: Annotated[dict[Embedder, Distance], Field(min_length=1)]
    neighbours: Positive
    keep: Annotated[float, Field(gt=0, le=1)]


class Events(params.Section):
    """From which probability on a window has a label: `threshold`, chosen for windows of `segment_s` every `hop_s`.

    `source` is what they were chosen on: held-out windows of recordings, or held-out clips.
    """

    source: Literal["recordings", "clips"]
    segment_s: Annotated[float, Field(gt=0)]
    hop_s: Annotated[float, Field(gt=0)]
    threshold: dict[str, Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]]


class Dataset(params.Section):
    """What the models learned from."""

    name: str
    synthetic: bool
    fingerprint: str | None  # sha256 of `data/index.csv`: clips, labels, licences, lengths
    facts: dict[str, Any]


class Published(params.Section):
    """A file by others that a bundle was made of: whose it is, and what its licence says."""

    what: str
    credit: str
    page: str
    license: str
    sha256: Sha256


class FileFacts(params.Section):
    """Content of a file."""

    sha256: Sha256
    bytes: Annotated[StrictInt, Field(ge=0, le=2**31)]  # ONNX files cannot have more


class Manifest(params.Section):
    """All of `bundle.json`.

    `models` make the submission, what is given unless a stage is asked for: the geometric mean of their probabilities.
    `features` are the lengths of what regressions and marks read: components, and the views that `trunk.onnx` gives.
    `activation` says what the outputs are: "softmax" probabilities of a clip sum to 1, also after passes and folds
    are combined; "sigmoid" ones are independent and are never normalised. Without `passes` a clip is seen once, whole.
    """

    format: Literal["fsat-bundle"]
    version: Literal[4]
    labels: Annotated[list[str], Field(min_length=1)]
    activation: Literal["softmax", "sigmoid"]
    preprocessing: Preprocessing
    passes: RandomPasses | None = None
    models: Annotated[list[ModelName], Field(min_length=1)]
    folds: list[NotNegative]
    networks: dict[Stage, Network]
    features: dict[Read, Positive] = Field(default_factory=dict)
    calibration: Calibration | None = None
    unknown: Unknown | None = None
    events: Events | None = None
    select: Annotated[str | None, Field(description="train.select: which weights a training handed on")] = None
    dataset: Dataset
    published: Annotated[tuple[Published, ...], Field(description="none: the networks were trained by fsat")] = ()
    scores: dict[str, Any]
    files: dict[str, FileFacts]

    @model_validator(mode="after")
    def _fits_together(self) -> "Manifest":
        for what, names in (("label", self.labels), ("fold", self.folds), ("model", self.models)):
            if len({*names}) != len(names):
                raise ValueError(f"names a {what} twice")
        if self.passes is not None and self.passes.bounds[0] > self.passes.bounds[1]:
            raise ValueError("has its bounds the wrong way round")
        if bool(self.folds) != bool(self.networks) or (self.passes is not None and not self.networks):
            raise ValueError("has folds or passes without networks, or networks without folds")
        if lacking := {*self.models} - {*self.networks, *self.features}:
            raise ValueError(f"has no {min(lacking)}, which is one of its models")
        if self.activation == "sigmoid" and self.models not in (["stage1"], ["stage2"]):
            raise ValueError("has a mean of several models, whose probabilities do not sum to 1")
        lengths = {network.n_components for network in self.networks.values()} | {self.features.get(STATISTICS, 0)}
        if len(lengths - {0}) > 1:
            raise ValueError("has models that read different numbers of components")
        if self.n_components and self.preprocessing.spectral is None:
            raise ValueError("has a model that reads components, but no section spectral to compute them from")
        if not {*self.marks} <= {*self.networks, *self.features}:
            raise ValueError("has a threshold for unknown clips of a model that it does not hold")
        if {*self.files} != {*file_names(self.models, self.networks, self.folds, self.features, self.marks,
                                         has_components=self.n_components > 0)}:  # fmt: skip
            raise ValueError("lists other files than its models and folds need")
        return self

    @property
    def n_components(self) -> int:
        """How many principal components the models read; 0 if none does."""
        networks = (network.n_components for network in self.networks.values())
        return max(self.features.get(STATISTICS, 0), *networks, 0)

    @property
    def regressions(self) -> list[Read]:
        """The regressions among the models."""
        return [name for name in self.features if name in self.models]

    @property
    def views(self) -> dict[str, int]:
        """The outputs of `trunk.onnx`, and how long they are."""
        return views(self.features)

    @property
    def filters(self) -> dict[str, Purpose]:
        """The files of mel filters, and what each is for."""
        p, found = self.preprocessing, {MEL_FILTERS: mel_bank.for_mel(self.preprocessing.mel)}
        if self.n_components and p.spectral is not None:
            found[SPECTRAL_FILTERS] = mel_bank.for_spectral(p.audio.sample_rate, p.spectral.n_fft)
        return found

    @property
    def marks(self) -> list[Embedder]:
        """Whose embeddings mark clips which are none of the labels."""
        return [] if self.unknown is None else list(self.unknown.threshold)

    def embedder(self, stage: Stage | None) -> Embedder | None:
        """Whose embedding stands for a clip: the stage's, or for the submission (None) the view `last`.

        Without that view it is that of the last network of the submission, or the last that is there all the same; None
        if there is none.
        """
        if stage is not None:
            return stage
        if LAST in self.features:
            return LAST
        networks = [name for name in STAGES if name in self.networks]
        used = [name for name in networks if name in self.models] or networks
        return used[-1] if used else None


def network_name(stage: str, fold: int) -> str:
    """``stage2/fold0.onnx``."""
    return f"{stage}/fold{fold}.onnx"


def reference_names(embedder: Embedder, folds: Sequence[int]) -> dict[int, str]:
    """``stage2/fold0.npz`` of each fold; ``last.npz``, which is of no fold, under -1."""
    return {-1: f"{LAST}.npz"} if embedder == LAST else {fold: f"{embedder}/fold{fold}.npz" for fold in folds}


def views(features: Mapping[Read, int]) -> dict[str, int]:
    """Those of the features that `trunk.onnx` gives."""
    return {name: length for name, length in features.items() if name != STATISTICS}


def file_names(
    models: Iterable[str],
    networks: Iterable[Stage],
    folds: Sequence[int],
    features: Mapping[Read, int],
    marks: Iterable[Embedder],
    *,
    has_components: bool,
) -> list[str]:
    """Names of the files that such a bundle holds besides `bundle.json` and the card."""
    optional = {
        MEL_FILTERS: True,
        SPECTRAL_FILTERS: has_components,
        PROJECTION: has_components,
        FITTED: not {*REGRESSIONS}.isdisjoint(models),
        TRUNK: bool(views(features)),
    }
    needed = [name for name, is_needed in optional.items() if is_needed]
    needed += [name for embedder in marks for name in reference_names(embedder, folds).values()]
    return [*needed, *(network_name(stage, fold) for stage in networks for fold in folds)]


# Reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose `bundle.json` was read and checked."""

    folder: Path
    manifest: Manifest

    def content(self, name: str) -> bytes:
        """Bytes of one of the bundle's files; `FsatError` if it is missing or is not what `bundle.json` says.

        What is checked is what is used: the file is read once.
        """
        path, expected = self.folder / name, self.manifest.files[name]
        try:
            with files.open_regular(path) as stream:
                size = os.fstat(stream.fileno()).st_size
                content = stream.read(expected.bytes) if size == expected.bytes else b""
        except OSError as error:
            raise FsatError(f"{path}: cannot be read ({error.strerror}). Copy the whole bundle again.") from error
        sha256 = hashlib.sha256(content).hexdigest()
        if len(content) != expected.bytes or sha256 != expected.sha256:
            found = f"{size} bytes" + (f", sha256 {sha256[:12]}..." if content else "")
            raise FsatError(
                f"{path}: is not the file that bundle.json names ({found}, expected {expected.bytes} bytes, "
                f"{expected.sha256[:12]}...). Copy the whole bundle again."
            )
        return content


def read(folder: str | Path) -> Bundle:
    """Read and check `bundle.json`; the other files are checked when they are asked for (`Bundle.content`).

    `FsatError` if there is no bundle, it is of another version of the format, or it is not consistent in itself.
    """
    path = Path(folder) / "bundle.json"
    if not path.is_file():
        advice = "`dvc repro bundle` makes data/bundle; name another one with --model."
        raise FsatError(f"{folder}: no model bundle there (no bundle.json). {advice}")
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise FsatError(f"{path}: is no fsat model bundle (its format is not '{FORMAT}').")
    version = values.get("version")
    if version != VERSION:
        stage = "sources/dvc.yaml:audioset-tagger" if values.get("published") else "bundle"
        is_older = version in range(1, VERSION)
        advice = f"Make it anew: `dvc repro {stage}`." if is_older else "Install the fsat it was made with."
        raise FsatError(f"{path}: has version {version!r} of the format, this fsat reads version {VERSION}. {advice}")
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
