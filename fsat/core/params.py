"""The schema of ``params.yaml``, and how a stage reads the parameters it declares.

Every number a run depends on is a field below, with its unit, its range and what the recipe uses. A file is checked as
a whole before anything runs; a stage then sees only what it asked for, so that it cannot use a parameter that
`dvc.yaml` does not know it depends on.
"""

import difflib
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES

# --- types of values -------------------------------------------------------------------------------------------------


def _not_bool(value: Any) -> Any:
    """YAML's true and false are no numbers, although Python's are."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number")
    return value


def _not_ascending() -> PydanticCustomError:
    return PydanticCustomError("ascending", "must be two numbers, the smaller one first")


def _two(pair: Any) -> Any:
    """Refuse a list of another length as a whole; pydantic would name each entry that is missing."""
    if isinstance(pair, list | tuple) and len(pair) != 2:
        raise _not_ascending()
    return pair


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise _not_ascending()
    return pair


# A float may come as text: PyYAML reads the 1e-05 that `dvc exp run -S` writes as a string.
Float = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1)]
# scikit-learn takes seeds of 32 bits.
Seed = Annotated[Int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[Int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[Int, Field(ge=0, le=1_000_000)]
Hertz = Annotated[Int, Field(ge=1_000, le=400_000)]
Samples = Annotated[Int, Field(ge=1, le=1_000_000)]
Share = Annotated[Float, Field(ge=0, le=1)]
NotNegative = Annotated[Float, Field(ge=0)]
Rate = Annotated[Float, Field(gt=0, le=10)]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
# A pair is a list in YAML and JSON, and a tuple in Python.
_PAIR = (BeforeValidator(_two), AfterValidator(_ascending), PlainSerializer(list))
_Percentile = Annotated[Float, Field(ge=0, le=100)]
_PositiveShare = Annotated[Float, Field(gt=0, le=1)]
_Ratio = Annotated[Float, Field(gt=0, le=1_000)]
Percentiles = Annotated[tuple[_Percentile, _Percentile], *_PAIR]
Shares = Annotated[tuple[_PositiveShare, _PositiveShare], *_PAIR]
Ratios = Annotated[tuple[_Ratio, _Ratio], *_PAIR]
Ratio = Annotated[Float, Field(gt=0, le=100)]


class Section(BaseModel):
    """A section of the file: exactly the keys below, none of which can be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# --- sections --------------------------------------------------------------------------------------------------------


class Dataset(Section):
    """Which clips."""

    path: Text = Field(description="dataset folder: data/demo, data/fsdkaggle2018, or a folder outside data/")
    bad_clips: Literal["fail", "skip"] = Field(description="what to do about training clips that cannot be used")
    exclude_licenses: list[str] = Field(description="training clips with one of these licences are left out")
    corrections: Text = Field(description="CSV file with corrections of training labels; a header alone: none")


class DemoSource(Section):
    """The synthetic demo dataset."""

    clips_per_class: Annotated[Int, Field(ge=2, le=10_000)] = Field(description="training clips a label")
    seed: Seed = Field(description="seed of the synthesised clips")


class ArchiveSums(Section):
    """Checksums of the four zips."""

    audio_train: Md5 = Field(description="md5 of FSDKaggle2018.audio_train.zip")
    audio_test: Md5 = Field(description="md5 of FSDKaggle2018.audio_test.zip")
    meta: Md5 = Field(description="md5 of FSDKaggle2018.meta.zip")
    doc: Md5 = Field(description="md5 of FSDKaggle2018.doc.zip")


class Fsdkaggle2018Source(Section):
    """The FSDKaggle2018 download."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] = Field(description="address of the folder of the zips")
    md5: ArchiveSums = Field(description="checksums of the zips")


class AudiosetLabels(Section):
    """The table of AudioSet's labels."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")] = Field(description="address of class_labels_indices.csv")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="its checksum")


class AudiosetSource(Section):
    """The EfficientAT checkpoint, trained on AudioSet, and the names of its outputs."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")] = Field(description="address of the checkpoint")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="its checksum")
    labels: AudiosetLabels = Field(description="the table of AudioSet's labels")


class Sources(Section):
    """Where datasets come from."""

    demo: DemoSource = Field(description="the synthetic demo dataset")
    fsdkaggle2018: Fsdkaggle2018Source = Field(description="the FSDKaggle2018 download")
    audioset: AudiosetSource = Field(description="the EfficientAT checkpoint, trained on AudioSet")


class Audio(Section):
    """Reading of clips."""

    sample_rate: Hertz = Field(description="Hz, mono, at which clips are trimmed and the statistics computed")


class Trim(Section):
    """Silence at the ends of a clip."""

    top_db: Annotated[Float, Field(gt=0, le=1_000)] = Field(
        description="dB below the clip's peak that count as silence"
    )


class Mel(Section):
    """Log-mel spectrograms."""

    sample_rate: Hertz = Field(description="Hz to which a trimmed clip is resampled")
    n_fft: Annotated[Samples, Field(ge=16)] = Field(description="samples of a Fourier transform")
    hop_length: Samples = Field(description="samples between frames")
    n_mels: Annotated[Int, Field(ge=1, le=1_024)] = Field(description="mel bands, the height of a spectrogram")
    style: Literal["librosa", "kaldi"] = Field(description="window, mel formula, logarithm and limits of the values")

    @field_validator("style")
    @classmethod
    def _rate_and_window_fit(cls, style: str, info: ValidationInfo) -> str:
        numbers, rate, n_fft = MEL_STYLES[style], info.data.get("sample_rate"), info.data.get("n_fft")
        if rate is None or n_fft is None:  # wrong themselves
            return style
        allowed = ""
        if numbers.f_max_hz is not None and rate < (lowest := 2 * numbers.f_max_hz):
            allowed = f"must be librosa at a mel.sample_rate of {rate} Hz: {style} needs at least {lowest}"
        elif n_fft < (window := numbers.window_samples(rate, n_fft)):
            allowed = f"must be librosa with a mel.n_fft of {n_fft} samples: {style} has a window of {window}"
        if allowed:
            raise PydanticCustomError("style", "{allowed}", {"allowed": allowed})
        return style


class Spectral(Section):
    """The 1133 spectral statistics."""

    n_fft: Annotated[Samples, Field(ge=16)] = Field(description="samples a window, at audio.sample_rate")
    hop_length: Samples = Field(description="samples between frames")
    n_mfcc: Annotated[Int, Field(ge=1, le=128)] = Field(description="MFCC, of 128 mel bands")


class Pca(Section):
    """Projection of the statistics."""

    n_components: Count = Field(description="components kept, at most what the data allow")


class Folds(Section):
    """Cross-validation."""

    n_splits: Annotated[Int, Field(ge=2, le=1_000)] = Field(description="folds")
    seed: Seed = Field(description="seed of the shuffle")
    ids: Annotated[list[Int], Field(min_length=1)] = Field(description="folds to train, numbered from 0")

    @field_validator("ids")
    @classmethod
    def _ids_are_folds(cls, ids: list[int], info: ValidationInfo) -> list[int]:
        n_splits = info.data.get("n_splits")  # absent if it was itself wrong
        if n_splits is not None and not all(0 <= fold < n_splits for fold in ids):
            allowed = f"must be folds from 0 to {n_splits - 1} (folds.n_splits - 1)"
            raise PydanticCustomError("fold_range", "{allowed}", {"allowed": allowed})
        if len(set(ids)) != len(ids):
            raise PydanticCustomError("fold_twice", "must name each fold once")
        return ids


class Crop(Section):
    """Lengths of the training crops."""

    percentiles: Percentiles = Field(description="of the training clips' lengths, %; T is drawn between them")
    step: Count = Field(description="frames; T is a multiple of it, 1: any T")


class Erase(Section):
    """Random erasing: a rectangle filled with one value."""

    probability: Share = Field(description="share of clips with a rectangle erased")
    area: Shares = Field(description="smallest and largest share of the spectrogram's area")
    aspect: Ratios = Field(description="smallest and largest height in bins / width in frames")


class Augment(Section):
    """Augmentation of a training clip."""

    time_shift: Share = Field(description="largest shift along time, as a share of T")
    frequency_shift: Share = Field(description="largest shift along frequency, as a share of the bands")
    flip_probability: Share = Field(description="share of clips reversed in time")
    erase: Erase = Field(description="random erasing")


class Mixup(Section):
    """Mixing of two training clips."""

    alpha: Annotated[NotNegative, Field(le=1_000)] = Field(description="of Beta(alpha, alpha) in stage 1; 0: no mixup")
    stage2_factor: Annotated[NotNegative, Field(le=1_000)] = Field(description="stage 2 uses alpha x this")


class Model(Section):
    """The network."""

    backbone: Text = Field(description="EfficientAT, or a name in keras.applications that takes images of any size")
    width: Annotated[Float, Field(gt=0, le=10)] = Field(
        description="width multiplier of the backbone (EfficientAT, MobileNets)"
    )
    weights: Text = Field(description="file of the backbone's initial weights (*.weights.h5)")
    batchnorm_momentum: Annotated[Float, Field(ge=0, lt=1)] = Field(
        description="upper limit, of every batch normalisation's running averages"
    )
    freeze_batchnorm: Bool = Field(
        description="the trunk's batch normalisations keep their initial weights and averages"
    )
    head: Annotated[list[Annotated[Int, Field(ge=1, le=65_536)]], Field(max_length=8)] = Field(
        description="widths of the dense layers between pooling and softmax; none: the softmax alone"
    )


class Frozen(Section):
    """Phase 0: the head alone learns, from the trunk's features, which are computed once and without augmentation."""

    epochs: CountOrZero = Field(description="passes over the features; 0 leaves the phase out")
    lr: Rate = Field(description="learning rate at the start; it falls to 0 along a cosine")
    weight_decay: NotNegative = Field(description="decay of the head's kernels, as a share of the learning rate a step")


class Cyclic(Section):
    """Phase 1: triangular cyclic learning rate."""

    epochs: CountOrZero = Field(description="epochs; 0 leaves the phase out")
    half_cycle: Count = Field(description="epochs in which the rate goes from base_lr to max_lr or back")
    base_lr: Rate = Field(description="lowest learning rate")
    max_lr: Rate = Field(description="highest learning rate, at least base_lr")

    @field_validator("max_lr")
    @classmethod
    def _max_is_not_below_base(cls, max_lr: float, info: ValidationInfo) -> float:
        if max_lr < info.data.get("base_lr", max_lr):
            raise PydanticCustomError("rates", "must be at least base_lr")
        return max_lr


class Finetune(Section):
    """Phases 2 and 3: a rate that falls when the validation loss stalls."""

    epochs: CountOrZero = Field(description="epochs at most; 0 leaves the phase out")
    lr: Rate = Field(description="learning rate at the start")
    reduce_factor: Annotated[Float, Field(gt=0, le=1)] = Field(description="the rate is multiplied by this")
    reduce_patience: Count = Field(description="validations without a gain before it is")
    min_delta: NotNegative = Field(description="a smaller fall of the validation loss is no gain")
    stop_patience: Count = Field(description="validations without a new minimum before the phase ends")


class TrainStage(Section):
    """Schedule of one stage."""

    frozen: Frozen = Field(description="phase 0: the head alone, on the frozen trunk")
    cyclic: Cyclic = Field(description="phase 1: triangular cyclic rate")
    finetune_low: Finetune = Field(description="phase 2: low rate, falling")
    finetune_high: Finetune = Field(description="phase 3: higher rate, falling")

    @field_validator("finetune_high")
    @classmethod
    def _some_phase_has_epochs(cls, finetune_high: Finetune, info: ValidationInfo) -> Finetune:
        phases = [finetune_high, *(info.data.get(name) for name in ("frozen", "cyclic", "finetune_low"))]
        # One that is not there has a problem of its own.
        if all(phase is not None and phase.epochs == 0 for phase in phases):
            raise PydanticCustomError("epochs", "must have epochs, as no other phase has any")
        return finetune_high


class Train(Section):
    """Training."""

    backend: Literal["tensorflow", "jax"] = Field(description="what Keras runs on; another one gives other bytes")
    batch_size: Annotated[Int, Field(ge=1, le=65_536)] = Field(description="clips a batch")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(description="Keras dtype policy")
    deterministic: Bool = Field(description="deterministic TensorFlow ops: the same bytes each run")
    class_weight: Literal["none", "balanced"] = Field(description="weight of a class in the loss")
    unverified_weight: Share = Field(description="weight in the loss of a clip that is not verified; 0: left out")
    select: Literal["best", "last"] = Field(description="weights a phase hands on: lowest validation loss, or last")
    validate_every: Count = Field(description="epochs between validations; a phase's last epoch always has one")
    validation_lengths: Annotated[Int, Field(ge=1, le=1_000)] = Field(
        description="lengths of the validation crops, between the crop percentiles"
    )
    trunk_rate: Annotated[Float, Field(ge=0, le=1_000)] = Field(
        description="learning rate of the trunk as a multiple of the head's"
    )
    trained_share: Share = Field(
        description="share of the trained weights in the network a stage hands on; the rest: those before fine-tuning"
    )
    stage1: TrainStage = Field(description="schedule of the mel model")
    stage2: TrainStage = Field(description="schedule of the mel + PCA model")


class Tta(Section):
    """Test-time augmentation."""

    lengths: Annotated[Int, Field(ge=1, le=1_000)] = Field(description="lengths between the crop percentiles")
    tries: Annotated[Int, Field(ge=1, le=1_000)] = Field(description="passes a length")
    batch_size: Annotated[Int, Field(ge=1, le=65_536)] = Field(
        description="clips a batch; changes results by rounding at most"
    )


class Ensemble(Section):
    """Many predictions of a clip into one."""

    baseline_weight: NotNegative | Literal["auto"] = Field(
        description="weight of the baseline's log p in stage 2, where that of the networks' mean log p is 1; 0: none; "
        "auto: chosen on held-out clips, for the held-out clips of a fold on those of the others"
    )


class Unknown(Section):
    """Clips that are none of the labels: those whose embedding is far from every training clip's."""

    keep: Annotated[Float, Field(gt=0, le=1)] = Field(
        description="share of the held-out clips that the threshold takes for known"
    )
    neighbours: Count = Field(description="nearest training clips whose mean distance is the score")
    references: Count = Field(description="training clips of each fold that are kept to compare with")


class Verify(Section):
    """The rule of `fsat verify`, by q: the held-out probability of a label over the mean on clips of that label."""

    agree: Ratio = Field(description="q of the given label from which it is verified")
    doubt: Ratio = Field(description="q of the given label below which it is doubted")
    relabel: Ratio = Field(description="q of another label from which a doubted clip gets it")
    rest: Literal["drop", "keep"] = Field(description="doubted clips without such a label: drop, or keep their label")

    @field_validator("doubt")
    @classmethod
    def _doubt_is_below(cls, doubt: float, info: ValidationInfo) -> float:
        if doubt > info.data.get("agree", doubt):
            raise PydanticCustomError("doubt", "must be at most agree")
        return doubt


class Report(Section):
    """The report."""

    suspicious_clips: CountOrZero = Field(description="rows in the list of doubtful training labels")
    mistakes: CountOrZero = Field(description="rows in the list of the most confident mistakes")


class Params(Section):
    """All of `params.yaml`."""

    seed: Seed = Field(description="of every random draw in training and prediction")
    dataset: Dataset = Field(description="which clips")
    sources: Sources = Field(description="where datasets come from")
    audio: Audio = Field(description="reading of clips")
    trim: Trim = Field(description="silence")
    mel: Mel = Field(description="log-mel spectrograms")
    spectral: Spectral = Field(description="the spectral statistics")
    pca: Pca = Field(description="projection of the statistics")
    folds: Folds = Field(description="cross-validation")
    crop: Crop = Field(description="lengths of the training crops")
    augment: Augment = Field(description="augmentation of a training clip")
    mixup: Mixup = Field(description="mixing of two training clips")
    model: Model = Field(description="the network")
    train: Train = Field(description="training")
    tta: Tta = Field(description="test-time augmentation")
    ensemble: Ensemble = Field(description="the ensemble")
    unknown: Unknown = Field(description="clips that are none of the labels")
    verify: Verify = Field(description="the rule of fsat verify")
    report: Report = Field(description="the report")


# --- reading ---------------------------------------------------------------------------------------------------------


class View:
    """Parameters asked for, as nested attributes; any other attribute raises `AttributeError`."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Hold `values`; `prefix` is the dotted name of the section, with a dot at its end."""
        self.__dict__.update(values)
        self.__dict__["_prefix"] = prefix

    def __getattr__(self, name: str) -> Any:
        """Refuse what is not there."""
        if name.startswith("_"):  # copying and pickling look for such names before anything is set
            raise AttributeError(name)
        raise AttributeError(f"parameter {self._prefix}{name} was not asked for: add it to params.read(...)")

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse every change."""
        raise AttributeError(f"parameter {self._prefix}{name} cannot be changed")

    def __repr__(self) -> str:
        """Show the values."""
        return f"View({', '.join(f'{name}={value!r}' for name, value in vars(self).items() if name != '_prefix')})"


def read(*keys: str, path: str | Path = "params.yaml") -> Params:
    """Check the whole file, then return the parameters asked for and no others.

    Parameters
    ----------
    *keys
        Dotted names of leaves or sections, the same as under ``params:`` in `dvc.yaml`: ``read("mel", "trim.top_db")``.
    path
        The YAML file.

    Returns
    -------
    Params
        For a type checker. At run time a `View` of the parameters asked for: ``p.mel.n_fft``, ``p.trim.top_db``; a
        whole section is its class of this module, any other parameter raises `AttributeError`.

    Raises
    ------
    FsatError
        If the file is missing or no YAML, names every key that is unknown, missing or has a value that is not allowed;
        or if a key asked for does not exist.
    """
    params = validate(_load(Path(path)), where=str(path))
    unknown = [key for key in keys if key not in known_keys()]
    if unknown:
        raise FsatError("\n".join(f"No parameter {key!r} exists{_nearest(key)}." for key in unknown))
    tree: dict[str, Any] = {}
    # Shorter keys come first, so that a section asked for as a whole is not narrowed by one of its own leaves.
    for key in sorted(set(keys), key=lambda key: key.count(".")):
        _put(tree, key.split("."), params)
    return cast(Params, _view(tree))


def validate(mapping: Any, *, where: str = "params") -> Params:
    """Check a mapping as read from YAML against the schema.

    Raises
    ------
    FsatError
        Lists all problems: dotted key, what is allowed, which value came.
    """
    try:
        return Params.model_validate(mapping)
    except ValidationError as invalid:
        # The schema's order differs from the errors' order for unknown keys; sorted, a section stays together.
        problems = sorted({_message(error) for error in invalid.errors(include_url=False)})
    except RecursionError as error:
        raise FsatError(f"{where}: nested too deeply to be a parameter file.") from error
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise FsatError("\n  ".join([f"{where}: {count}", *problems]))


def known_keys() -> dict[str, str]:
    """Every dotted key of the schema, sections and leaves, with its description."""
    return {key: description for key, description, _ in _walk(Params)}


def leaves() -> dict[str, str]:
    """Every dotted key of the schema that holds a value, with its description."""
    return {key: description for key, description, is_section in _walk(Params) if not is_section}


def _walk(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, bool]]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        inner_section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        yield prefix + name, field.description or "", inner_section is not None
        if inner_section is not None:
            yield from _walk(inner_section, f"{prefix}{name}.")


def _put(tree: dict[str, Any], parts: list[str], params: Params) -> None:
    value: Any = params
    for depth, part in enumerate(parts):
        value = getattr(value, part)
        if depth == len(parts) - 1:
            tree[part] = value
        else:
            tree = tree.setdefault(part, {})
            if not isinstance(tree, dict):
                return  # the section is already there as a whole


def _view(tree: dict[str, Any], prefix: str = "") -> View:
    return View(
        {name: _view(value, f"{prefix}{name}.") if isinstance(value, dict) else value for name, value in tree.items()},
        prefix,
    )


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; DVC refuses such a file, so do we."""


def _mapping_of_unique_keys(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"key given twice: {', '.join(twice)}", node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:map", _mapping_of_unique_keys)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FsatError(
            f"{path}: cannot be read ({error.strerror}). Copy one from presets/ or take `git checkout params.yaml`."
        ) from error
    except UnicodeDecodeError as error:
        raise FsatError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader with one stricter rule
    except yaml.YAMLError as error:
        raise FsatError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError, RecursionError) as error:
        # PyYAML's scalar constructors leak these for values such as `!!bool x` or a date of month 99.
        raise FsatError(f"{path}: holds a value that YAML cannot read ({type(error).__name__}: {error}).") from error


# --- messages --------------------------------------------------------------------------------------------------------


def _message(error: Any) -> str:
    """One line: dotted key, what is allowed, which value came, what the key means."""
    location = tuple(error["loc"])
    key = _dotted(location)
    kind, value = error["type"], _show(error.get("input"))
    if kind == "invalid_key":
        return f"{_dotted(location[:-1]) or 'the file'}: has a key that is not text: {value}"
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_nearest(key)}"
    description = known_keys().get(_dotted(tuple(part for part in location if isinstance(part, str))), "")
    meaning = f" ({description})" if description else ""
    if kind == "missing":
        return f"{key}: missing{meaning}"
    if kind in ("model_type", "model_attributes_type"):
        names = [name.removeprefix(f"{key}.") for name in known_keys() if name.startswith(f"{key}." if key else "")]
        names = [name for name in names if "." not in name]
        return f"{key or 'the file'}: must be a section with the keys {', '.join(names)}. Got {value} instead"
    return f"{key}: {_allowed(error)}. Got {value} instead{meaning}"


_ALLOWED = {
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}


def _allowed(error: Any) -> str:
    """What a value may be, from pydantic's error."""
    limits = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "greater_than":
            return f"must be greater than {limits['gt']}"
        case "less_than_equal":
            return f"must be at most {limits['le']}"
        case "less_than":
            return f"must be less than {limits['lt']}"
        case "literal_error":
            return f"must be one of {limits['expected']}"
        case "string_pattern_mismatch":
            return f"must look like {limits['pattern']}"
        case "too_short":
            return f"must have at least {limits['min_length']} entries"
        case "too_long":
            return f"must have at most {limits['max_length']} entries"
        case kind:
            return _ALLOWED.get(kind) or str(error["msg"]).replace("Input should be", "must be")


def _dotted(location: tuple[Any, ...]) -> str:
    """``("folds", "ids", 0)`` -> ``folds.ids[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


# YAML aliases make a few lines stand for a list of millions of entries: only its start is shown.
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxstring, _short.maxother = 3, 12, 60, 60


def _show(value: Any) -> str:
    try:
        text = _short.repr(value)
    except ValueError:  # an integer of thousands of digits has no repr
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _nearest(key: str) -> str:
    """``; did you mean mel.n_mels?``, or the keys that exist beside it."""
    section, _, name = key.rpartition(".")
    beside = [known for known in known_keys() if known.rpartition(".")[0] == section]
    close = difflib.get_close_matches(name, [known.rpartition(".")[2] for known in beside], n=1)
    if close:
        return f"; did you mean {f'{section}.{close[0]}'.removeprefix('.')}?"
    # The key may have been put into the wrong section.
    elsewhere = [known for known in known_keys() if known.rpartition(".")[2] == name]
    elsewhere = elsewhere or difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.5)
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere)}?"
    return (
        f"; {section or 'the file'} knows {', '.join(known.rpartition('.')[2] for known in beside)}" if beside else ""
    )
