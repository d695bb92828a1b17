"""The schema of ``params.yaml``: every number a run depends on, with its unit and its range.

A file is checked as a whole before anything runs. Which stage depends on which parameter is read from the stage's
script and written into `dvc.yaml` by `python -m scripts.graph`.
"""

import difflib
import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

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

from fsat.core import files
from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.model_names import ModelName, View

# --- types of values -------------------------------------------------------------------------------------------------


_NOT_ASCENDING = PydanticCustomError("ascending", "must be two numbers, the smaller one first")


def _two(pair: Any) -> Any:
    """Refuse a list of another length as a whole; pydantic would name each entry that is missing."""
    if isinstance(pair, list | tuple) and len(pair) != 2:
        raise _NOT_ASCENDING
    return pair


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise _NOT_ASCENDING
    return pair


Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1)]
# scikit-learn takes seeds of 32 bits.
Seed = Annotated[Int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[Int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[Int, Field(ge=0, le=1_000_000)]
Hertz = Annotated[Int, Field(ge=1_000, le=400_000)]
Samples = Annotated[Int, Field(ge=1, le=1_000_000)]
# Of a batch or a layer, and of a loop over passes.
Size = Annotated[Int, Field(ge=1, le=65_536)]
Passes = Annotated[Int, Field(ge=1, le=1_000)]
Share = Annotated[Float, Field(ge=0, le=1)]
PositiveShare = Annotated[Float, Field(gt=0, le=1)]
NotNegative = Annotated[Float, Field(ge=0)]
Rate = Annotated[Float, Field(gt=0, le=10)]
# A pair is a list in YAML and JSON, and a tuple in Python.
_PAIR = (BeforeValidator(_two), AfterValidator(_ascending), PlainSerializer(list))
_Percentile = Annotated[Float, Field(ge=0, le=100)]
_Ratio = Annotated[Float, Field(gt=0, le=1_000)]
Percentiles = Annotated[tuple[_Percentile, _Percentile], *_PAIR]
Shares = Annotated[tuple[PositiveShare, PositiveShare], *_PAIR]
Ratios = Annotated[tuple[_Ratio, _Ratio], *_PAIR]


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise PydanticCustomError("twice", "must name each once")
    return names


def _conflict(text: str) -> PydanticCustomError:
    """A problem of values that do not go together; `text` names their keys."""
    return PydanticCustomError("sections", "{text}", {"text": text})


class Section(BaseModel):
    """A section of the file: exactly the keys below, none of which can be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)


# What sources/dvc.yaml:audioset makes of `sources.audioset.network`.
AUDIOSET_WEIGHTS = "data/pretrained/audioset.weights.h5"


# --- sections --------------------------------------------------------------------------------------------------------


class Dataset(Section):
    path: Text = Field(description="dataset folder: data/demo, data/fsdkaggle2018, or a folder outside data/")
    bad_clips: Literal["fail", "skip"] = Field(description="what to do about training clips that cannot be used")
    exclude_licenses: list[str] = Field(description="training clips with one of these licences are left out")
    corrections: Text = Field(description="CSV file with corrections of training labels; a header alone: none")
    label_column: str = Field(description="labels in Raven's selection tables; empty: Label, Annotation or Species")
    background: CountOrZero = Field(description="windows without an annotation, of each annotated recording")


class DemoSource(Section):
    clips_per_class: Annotated[Int, Field(ge=2, le=10_000)] = Field(description="training clips a label")
    seed: Seed = Field(description="seed of the synthesised clips")


class AudiosetSource(Section):
    network: Literal["mn04", "mn10"] = Field(description="published EfficientAT: mn04 (width 0.4) or mn10 (width 1.0)")


class Sources(Section):
    demo: DemoSource = Field(description="the synthetic demo dataset")
    audioset: AudiosetSource = Field(description="the network with AudioSet weights")


class Audio(Section):
    sample_rate: Hertz = Field(description="Hz, mono, at which clips are trimmed and the statistics computed")


class Trim(Section):
    top_db: Annotated[Float, Field(gt=0, le=1_000)] = Field(description="dB below the clip's peak, taken for silence")


class Mel(Section):
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
        if numbers.f_max_hz is not None and rate < (lowest := 2 * numbers.f_max_hz):
            must = f"must be librosa at a mel.sample_rate of {rate} Hz: {style} needs at least {lowest}"
            raise PydanticCustomError("style", must)
        if n_fft < (window := numbers.window_samples(rate, n_fft)):
            must = f"must be librosa with a mel.n_fft of {n_fft} samples: {style} has a window of {window}"
            raise PydanticCustomError("style", must)
        return style


class Spectral(Section):
    n_fft: Annotated[Samples, Field(ge=16)] = Field(description="samples a window, at audio.sample_rate")
    hop_length: Samples = Field(description="samples between frames")
    n_mfcc: Annotated[Int, Field(ge=1, le=128)] = Field(description="MFCC, of 128 mel bands")


class Pca(Section):
    n_components: Count = Field(description="components kept, at most what the data allow")


class Folds(Section):
    n_splits: Annotated[Int, Field(ge=2, le=1_000)] = Field(description="folds")
    seed: Seed = Field(description="seed of the shuffle")
    ids: Annotated[list[Int], Field(min_length=1)] = Field(description="folds to train, numbered from 0")

    @field_validator("ids")
    @classmethod
    def _ids_are_folds(cls, ids: list[int], info: ValidationInfo) -> list[int]:
        n_splits = info.data.get("n_splits")  # absent if it was itself wrong
        if n_splits is not None and not all(0 <= fold < n_splits for fold in ids):
            raise PydanticCustomError("fold_range", f"must be folds from 0 to {n_splits - 1} (folds.n_splits - 1)")
        if len(set(ids)) != len(ids):
            raise PydanticCustomError("fold_twice", "must name each fold once")
        return ids


class Crop(Section):
    percentiles: Percentiles = Field(description="of the training clips' lengths, %; T is drawn between them")
    step: Count = Field(description="frames; T is a multiple of it, 1: any T")


class Erase(Section):
    probability: Share = Field(description="share of clips with a rectangle erased")
    area: Shares = Field(description="smallest and largest share of the spectrogram's area")
    aspect: Ratios = Field(description="smallest and largest height in bins / width in frames")


class Augment(Section):
    time_shift: Share = Field(description="largest shift along time, as a share of T")
    frequency_shift: Share = Field(description="largest shift along frequency, as a share of the bands")
    flip_probability: Share = Field(description="share of clips reversed in time")
    erase: Erase = Field(description="random erasing")


class Mixup(Section):
    alpha: Annotated[NotNegative, Field(le=1_000)] = Field(description="of Beta(alpha, alpha) in stage 1; 0: no mixup")
    stage2_factor: Annotated[NotNegative, Field(le=1_000)] = Field(description="stage 2 uses alpha x this")


class Model(Section):
    backbone: Text = Field(description="EfficientAT, or a name in keras.applications that takes images of any size")
    width: Annotated[Float, Field(gt=0, le=10)] = Field(description="width multiplier (EfficientAT, MobileNets)")
    weights: Text = Field(description="file of the backbone's initial weights (*.weights.h5)")
    batchnorm_momentum: Annotated[Float, Field(ge=0, lt=1)] = Field(description="of running averages, at most")
    freeze_batchnorm: Bool = Field(description="the trunk's batch normalisations keep initial weights and averages")
    head: Annotated[list[Size], Field(max_length=8)] = Field(description="widths of dense layers before the softmax")


class Embed(Section):
    views: Annotated[list[View], AfterValidator(_distinct)] = Field(
        description="views of the frozen trunk that are computed; each but pooled has a regression"
    )


class Frozen(Section):
    epochs: CountOrZero = Field(description="passes over the features; 0 leaves the phase out")
    lr: Rate = Field(description="learning rate at the start; it falls to 0 along a cosine")
    weight_decay: NotNegative = Field(description="decay of the head's kernels, as a share of the learning rate a step")
    share: Share = Field(description="share of the weights after this phase in the network; the rest: fine-tuned ones")

    @field_validator("share")
    @classmethod
    def _of_a_phase_that_runs(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("epochs") == 0:
            raise PydanticCustomError("share", "must be 0 where epochs is 0: there are no weights after the phase")
        return share


class Cyclic(Section):
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
    epochs: CountOrZero = Field(description="epochs at most; 0 leaves the phase out")
    lr: Rate = Field(description="learning rate at the start; it falls as train.plateau says")


class Plateau(Section):
    reduce_factor: PositiveShare = Field(description="the rate is multiplied by this")
    reduce_patience: Count = Field(description="validations without a gain before it is")
    min_delta: NotNegative = Field(description="a smaller fall of the validation loss is no gain")
    stop_patience: Count = Field(description="validations without a new minimum before the phase ends")


class TrainStage(Section):
    run: Bool = Field(description="whether the network is trained; if not, its stage writes an empty output")
    frozen: Frozen = Field(description="phase 0: the head alone, on features of the frozen trunk")
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
    backend: Literal["tensorflow", "jax"] = Field(description="what Keras runs on; another one gives other bytes")
    portable: Bool = Field(description="TensorFlow uses AVX2 at most, and two threads; not in half precision")
    batch_size: Size = Field(description="clips a batch")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(description="Keras dtype policy")
    deterministic: Bool = Field(description="deterministic TensorFlow ops: the same bytes each run")
    class_weight: Literal["none", "balanced"] = Field(description="weight of a class in the loss")
    unverified_weight: Share = Field(description="weight in the loss of a clip that is not verified; 0: left out")
    select: Literal["best", "last"] = Field(description="weights a phase hands on: lowest validation loss, or last")
    validate_every: Count = Field(description="epochs between validations; a phase's last epoch always has one")
    validation_lengths: Passes = Field(description="lengths of validation crops, between the crop percentiles")
    plateau: Plateau = Field(description="phases 2 and 3: when the rate falls, and when a phase ends")
    stage1: TrainStage = Field(description="schedule of the mel model")
    stage2: TrainStage = Field(description="schedule of the mel + PCA model")

    @field_validator("stage2")
    @classmethod
    def _stage2_has_its_start(cls, stage2: TrainStage, info: ValidationInfo) -> TrainStage:
        stage1 = info.data.get("stage1")  # absent if it was itself wrong
        if stage1 is not None and stage2.run and not stage1.run:
            raise _conflict("train.stage2.run: must be false where train.stage1.run is: its trunk starts from stage 1")
        return stage2


class Tta(Section):
    lengths: Passes = Field(description="lengths between the crop percentiles")
    tries: Passes = Field(description="passes a length")
    batch_size: Size = Field(description="clips a batch; changes results by rounding at most")


class Ensemble(Section):
    models: Annotated[list[ModelName], Field(min_length=1), AfterValidator(_distinct)] = Field(
        description="models whose probabilities' geometric mean is the submission"
    )
    choose: Literal["all", "best"] = Field(
        description="all: of all of them; best: of the subset with the lowest log loss on held-out clips"
    )


class Unknown(Section):
    keep: PositiveShare = Field(description="share of the held-out clips that the threshold takes for known")


class Events(Section):
    precision: PositiveShare = Field(description="least share of what reaches a label's threshold that must be right")


class Verify(Section):
    rest: Literal["drop", "keep"] = Field(description="doubted clips that no other label fits: drop, or keep")


class Report(Section):
    listed_clips: CountOrZero = Field(description="clips in each list: the surest mistakes, the most doubtful labels")


class Params(Section):
    seed: Seed = Field(description="of every random draw in training and prediction")
    dataset: Dataset = Field(description="which clips")
    sources: Sources = Field(description="where datasets and initial weights come from")
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
    embed: Embed = Field(description="views of the frozen trunk")
    train: Train = Field(description="training")
    tta: Tta = Field(description="test-time augmentation")
    ensemble: Ensemble = Field(description="the ensemble")
    unknown: Unknown = Field(description="clips that are none of the labels")
    events: Events = Field(description="thresholds of labels in recordings")
    verify: Verify = Field(description="the rule of fsat verify")
    report: Report = Field(description="the report")

    @field_validator("model")
    @classmethod
    def _model_fits_audioset_weights(cls, model: Model, info: ValidationInfo) -> Model:
        sources = info.data.get("sources")
        if sources is None or Path(model.weights).as_posix() != AUDIOSET_WEIGHTS:
            return model
        network = sources.audioset.network
        width = int(network.removeprefix("mn")) / 10
        for key, value, wanted in (("backbone", model.backbone, "EfficientAT"), ("width", model.width, width)):
            if value != wanted:
                text = f"model.{key}: must be {wanted}, as sources.audioset.network is {network} and model.weights is "
                text += f"{AUDIOSET_WEIGHTS}. Got {value} instead"
                raise _conflict(text)
        return model

    @field_validator("ensemble")
    @classmethod
    def _models_are_there(cls, ensemble: Ensemble, info: ValidationInfo) -> Ensemble:
        train, embed = info.data.get("train"), info.data.get("embed")
        if train is None or embed is None:  # wrong themselves
            return ensemble
        runs = {"stage1": train.stage1.run, "stage2": train.stage2.run}
        for model in ensemble.models:
            lists = f"ensemble.models: lists {model}, but"
            if not runs.get(model, True):
                raise _conflict(f"{lists} train.{model}.run is false. Set it to true, or take {model} from the list")
            if model in get_args(View) and model not in embed.views:
                views = f"embed.views is {json.dumps(embed.views)}"
                raise _conflict(f"{lists} {views}. Add {model} to the views, or take it from the list")
        networks = [model for model in ensemble.models if model in runs]
        if ensemble.choose == "best" and train.select == "best" and networks:
            raise _conflict(
                f"ensemble.choose: must be all where train.select is best and ensemble.models lists {networks[0]}: its "
                "weights were chosen on the held-out clips. Set train.select to last to choose on them"
            )
        return ensemble


# --- reading ---------------------------------------------------------------------------------------------------------

# Deeper nesting than this many characters allow overflows the stack of the C parser.
_MAX_BYTES = 32_768


def read(path: str | Path = "params.yaml") -> Params:
    """Read a parameter file as DVC does, and check all of it.

    `FsatError` if the file is missing or no YAML; else it names every key that is unknown, missing or has a value that
    is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise FsatError(f"{path}: no such file. Write one: `fsat preset demo`, or `git checkout {path.name}`.")
    if path.stat().st_size > _MAX_BYTES:
        raise FsatError(f"{path}: has {path.stat().st_size} bytes, a parameter file at most {_MAX_BYTES}.")
    return validate(files.read_yaml(path), where=str(path))


def validate(mapping: Any, *, where: str = "params") -> Params:
    """Check a mapping as read from YAML; `FsatError` lists all problems: key, what is allowed, which value came."""
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
        section_inside = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        yield prefix + name, field.description or "", section_inside is not None
        if section_inside is not None:
            yield from _walk(section_inside, f"{prefix}{name}.")


# --- messages --------------------------------------------------------------------------------------------------------


def _message(error: Any) -> str:
    """One line: dotted key, what is allowed, which value came, what the key means."""
    location = tuple(error["loc"])
    key = _dotted(location)
    kind, value = error["type"], _show(error.get("input"))
    if kind == "invalid_key":
        return f"{_dotted(location[:-1]) or 'the file'}: has a key that is not text: {value}"
    if kind == "sections":
        return str(error["msg"])
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_nearest(key)}"
    description = known_keys().get(_dotted(tuple(part for part in location if isinstance(part, str))), "")
    meaning = f" ({description})" if description else ""
    if kind == "missing":
        return f"{key}: missing{meaning}"
    if kind == "model_type":
        names = [name.rpartition(".")[2] for name in known_keys() if name.rpartition(".")[0] == key]
        return f"{key or 'the file'}: must be a section with the keys {', '.join(names)}. Got {value} instead"
    allowed = _ALLOWED.get(kind, "{msg}").format_map(error | error.get("ctx", {}))
    return f"{key}: {allowed}. Got {value} instead{meaning}"


# What a value may be, by pydantic's type of error; its limits are filled in.
_ALLOWED = {
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be one of {expected}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


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
    names = ", ".join(known.rpartition(".")[2] for known in beside)
    return f"; {section or 'the file'} knows {names}" if names else ""
