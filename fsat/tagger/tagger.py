"""Tag sounds with a model bundle, by the same functions that the pipeline's stages call.

A file is read (`audio`), trimmed (`trim`), turned into log-mel frames (`mel`) and spectral statistics (`spectral`),
these are projected (`pca`), and the networks see random spans of the frames (`batches`, `passes`), keyed as those of
the stage `predict`; regressions read the projection, or views of the whole clip (`whole_clips`). So a test clip gets
the pipeline's own prediction, but for rounding. Without Keras: the networks run in ONNX Runtime.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, product, repeat
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from fsat.clips import audio
from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.numeric import log_probabilities, one_blas_thread
from fsat.features import pca
from fsat.inputs import batches, whole_clips
from fsat.inputs.examples import Clips
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Outputs, Passes, Predictor, mean_outputs
from fsat.scoring import calibration, ensemble, unknown
from fsat.scoring.names import STAGES, SUBMISSION, Stage
from fsat.tagger import arrays, sessions
from fsat.tagger import bundle as bundles
from fsat.tagger.bundle import LAST, STATISTICS, Bundle, network_name
from fsat.tagger.regressions import Regressions, Trunk
from fsat.tagger.results import Ended, Failed, Tagged
from fsat.tagger.windows import Features, file_features, part_features, stream_features

# Bins of spectrogram (bands x frames) and clips in a batch. Larger ones take more memory for the activations of a
# network's first layers, and leave the processor's cache: they are slower.
BATCH_BINS, MAX_BATCH = 1 << 17, 16
CHUNK_WINDOWS, CHUNK_FILES = 16, 128  # whose features are in memory at a time,
CHUNK_S = 1800.0  # and no more than this many seconds of sound, unless one file or window has more
_FEW_FILES, _LITTLE_S = 16, 120.0  # with less, starting other processes would take longer than the work
MIN_SEGMENT_S = 0.05  # a shorter window holds less than a few frames of a spectrogram
ARRAY = "array"  # name of samples that come without a file; the random spans hang on it
Item = TypeVar("Item")


class Tagger:
    """The models of a bundle, ready to be asked. One tagger may be used by several threads at the same time.

    Parameters
    ----------
    bundle : path or Bundle
        A bundle's folder, such as ``data/bundle``.
    stage : {"stage2", "stage1"} or None
        The mel + PCA networks, or the mel networks, alone; None: the submission, all that the bundle gives.
    lengths, tries, n_folds : int or None
        Lengths a fold, passes a length, and how many of the bundle's folds; None is what the pipeline did. Less is
        faster and less accurate.
    embeddings : bool
        Also give the embedding.
    threads : int or None
        Threads of ONNX Runtime; None: one a core. The number does not change a result.

    Raises
    ------
    FsatError
        If a number is out of range, the bundle lacks what is asked for, or its files are damaged.

    Examples
    --------
    >>> tagger = Tagger("data/bundle")  # doctest: +SKIP
    >>> tagger("clip.wav").top(1)  # doctest: +SKIP
    [('Bark', 0.93)]
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        stage: Stage | None = None,
        lengths: int | None = None,
        tries: int | None = None,
        n_folds: int | None = None,
        embeddings: bool = False,
        threads: int | None = None,
    ) -> None:
        """Check and open the models."""
        opened = bundle if isinstance(bundle, Bundle) else bundles.read(bundle)
        manifest = opened.manifest
        self.manifest = manifest
        if stage is not None and stage not in manifest.networks:
            allowed = f"must be {' or '.join(manifest.networks)} in this bundle"
            none = "cannot be chosen: this bundle has no networks, its models are logistic regressions"
            raise FsatError(f"--stage {allowed if manifest.networks else none}. Got {stage}.")
        # A stage that alone makes the submission is that, unless the submission has another embedding.
        is_submission = stage is None or [stage] == manifest.models
        self.stage: Stage | None = None if is_submission and stage == manifest.embedder(None) else stage
        most = len(manifest.folds)
        if n_folds is not None and not 1 <= n_folds <= most:
            allowed = f"must be between 1 and {most}, the folds of this bundle"
            raise FsatError(f"--folds {allowed if most else 'cannot be chosen: this bundle has none'}. Got {n_folds}.")
        self.passes = self._passes(lengths, tries)
        embedder = manifest.embedder(self.stage)
        if embeddings and embedder is None:
            raise FsatError("this bundle gives no embeddings: it has no network, and no regression on a view.")
        self._unknown = manifest.unknown if embedder in manifest.marks else None
        self._gives_embeddings = embeddings
        self._embedder = embedder if embeddings or self.marks_unknown else None
        self._models = manifest.models if self.stage is None else [self.stage]
        asked, folds = {*self._models, self._embedder}, manifest.folds[:n_folds]
        regressions = [name for name in manifest.regressions if name in self._models]
        networks = [name for name in STAGES if name in asked]
        reads_components = any(manifest.networks[name].n_components for name in networks) or STATISTICS in regressions
        self.filters = arrays.load_filters(opened, statistics=reads_components)
        self._projection = arrays.load_projection(opened) if reads_components else None
        self._regressions = Regressions(opened, regressions)
        self._trunk = Trunk(opened, [name for name in manifest.views if name in asked], threads=threads)
        self._references: dict[int, np.ndarray] = {}
        self._threshold = 2.0
        if self._unknown is not None and embedder is not None:
            self._references = arrays.load_references(opened, embedder, folds)
            self._threshold = self._unknown.threshold[embedder]
        temperatures = {} if manifest.calibration is None else manifest.calibration.temperature
        self._temperature = temperatures.get(stage if stage and not is_submission else SUBMISSION, 1.0)
        self._predictors: dict[int, dict[str, Predictor]] = {fold: {} for fold in folds}
        for fold, name in product(folds, networks):
            session = sessions.open_network(opened, name, fold, threads=threads)
            path = str(opened.folder / network_name(name, fold))
            self._predictors[fold][name] = sessions.predictor(session, embeddings=name == self._embedder, name=path)
        self._workers = threading.Lock()  # joblib's pool of processes is one for the whole process

    def _passes(self, lengths: int | None, tries: int | None) -> Passes | None:
        """The passes asked for; None if the bundle's models see a clip once, whole."""
        usual = self.manifest.passes
        for name, value in (("--lengths", lengths), ("--tries", tries)):
            if value is not None and value < 1:
                raise FsatError(f"{name} must be at least 1. Got {value}.")
            if value is not None and usual is None:
                raise FsatError(f"{name} cannot be chosen: this bundle's models see a clip once, whole.")
        if usual is None:
            return None
        fixed = batches.fixed_lengths(usual.bounds, lengths or usual.lengths, step=usual.step)
        return Passes(fixed, tries or usual.tries)

    @property
    def n_passes(self) -> int:
        """Passes over a clip, of all folds; 1 without networks."""
        return max(1, len(self._predictors)) * (1 if self.passes is None else len(self.passes))

    @property
    def described(self) -> dict[str, object]:
        """What decides a result besides the sound; values that JSON has."""
        passes = None if self.passes is None else [self.passes.lengths, self.passes.tries]
        bundle = hashlib.sha256(self.manifest.model_dump_json().encode("utf-8")).hexdigest()
        return {"bundle": bundle, "stage": self.stage, "folds": list(self._predictors), "passes": passes}

    @property
    def marks_unknown(self) -> bool:
        """Whether results say if a sound is none of the labels."""
        return self._unknown is not None

    def __call__(self, sound: str | Path | np.ndarray, sample_rate: int | None = None) -> Tagged:
        """Tag one sound as a whole: a file, or samples (n,) or (n, channels) as floats between about -1 and 1.

        `sample_rate` is that of samples, in Hz.

        Raises
        ------
        FsatError
            If the array is no sound; `AudioError` if the file cannot be read.
        """
        if isinstance(sound, np.ndarray):
            [tagged] = self._in_order([self._array_features(sound, sample_rate)], name="")
        elif sample_rate is not None and isinstance(sound, (str, os.PathLike)):
            raise FsatError(f"{sound}: a file has a sample rate of its own; give one with an array only.")
        else:
            [tagged] = self.tag_files([sound])
        if isinstance(tagged, Failed):
            raise audio.AudioError(tagged.path, tagged.reason)
        return cast("Tagged", tagged)

    def tag_files(
        self,
        paths: Iterable[str | Path],
        *,
        segment_s: float | None = None,
        hop_s: float | None = None,
        progress: bool = False,
    ) -> Iterator[Tagged | Failed]:
        """Yield what the networks say about each file (or window), in order; a file that fails stops no other.

        Files are read in chunks, whole ones by several processes (``FSAT_JOBS``); windows are read as a stream. So
        memory does not grow with the length of a file, but for 200 MB an hour of its frames. A whole file of 15
        minutes or more is tagged in parts of about ten, of which the results are averaged. A file that breaks off
        gives the windows before, then `Failed`.

        Parameters
        ----------
        segment_s : float or None
            Tag windows of this many seconds instead of whole files.
        hop_s : float or None
            Seconds from the start of a window to that of the next; None: `segment_s`, windows without overlap.
        progress : bool
            Show bars on stderr.
        """
        results = self.tag_with_ends(paths, segment_s=segment_s, hop_s=hop_s, progress=progress)
        return (result for result in results if not isinstance(result, Ended))

    def tag_with_ends(
        self, paths: Iterable[str | Path], *, segment_s: float | None, hop_s: float | None, progress: bool
    ) -> Iterator[Tagged | Failed | Ended]:
        """As `tag_files`; each file that did not fail is followed by `Ended`."""
        names = map(_name, paths)
        if segment_s is not None:
            return self._tag_windows(names, segment_s, _checked_hop(segment_s, hop_s))
        if hop_s is not None:
            raise FsatError("--hop needs --segments.")
        return self._tag_whole(names, progress=progress)

    def _tag_windows(self, paths: Iterable[str], segment_s: float, hop_s: float) -> Iterator[Tagged | Failed | Ended]:
        work = partial(stream_features, preprocessing=self.manifest.preprocessing, filters=self.filters)
        found = chain.from_iterable(work(path, segment_s=segment_s, hop_s=hop_s) for path in paths)

        def seconds(item: Features | Failed | Ended) -> float:
            return item.end_s - item.start_s if isinstance(item, Features) else 0.0

        for chunk in _chunks(found, seconds, CHUNK_WINDOWS):
            windows = [[item] if isinstance(item, Features) else item for item in chunk]
            yield from self._in_order(windows, name="")

    def _tag_whole(self, paths: Iterator[str], *, progress: bool) -> Iterator[Tagged | Failed | Ended]:
        done = 0
        for chunk in _chunks(paths, audio.announced_seconds, CHUNK_FILES):
            files = f"files {done + 1} to {done + len(chunk)}"
            done += len(chunk)
            found = self._features(chunk, f"reading {files}" if progress else "")
            for result in self._in_order(found, name=f"tagging {files}" if progress else ""):
                yield result
                if isinstance(result, Tagged):
                    yield Ended(result.path)

    def _in_order(
        self, found: Sequence[list[Features] | Failed | Ended], *, name: str
    ) -> list[Tagged | Failed | Ended]:
        """Results in the order of their features, of which parts of one sound come in a list."""
        rows = [row for parts in found if isinstance(parts, list) for row in parts]
        tagged = iter(self.tag_features(rows, name=name))
        return [self._mean(list(islice(tagged, len(item)))) if isinstance(item, list) else item for item in found]

    def _mean(self, parts: Sequence[Tagged]) -> Tagged:
        """One result of the parts of a sound: means, weighted by their lengths."""
        first = parts[0]
        if len(parts) == 1:
            return first
        average = partial(np.average, axis=0, weights=[part.end_s - part.start_s for part in parts])
        embedding = None if first.embedding is None else average([part.embedding for part in parts]).astype(np.float32)
        values: dict[str, Any] = {"probabilities": average([part.probabilities for part in parts])}
        if self._unknown is not None:
            score = float(average([part.unknown_score for part in parts]))
            values |= {"unknown_score": score, "unknown": score > self._threshold}
        return replace(first, end_s=parts[-1].end_s, embedding=embedding, **values)

    def _features(self, paths: list[str], name: str) -> list[list[Features] | Failed]:
        work = partial(file_features, preprocessing=self.manifest.preprocessing, filters=self.filters)
        is_little = len(paths) < _FEW_FILES and sum(map(audio.announced_seconds, paths)) < _LITTLE_S
        if is_little or len(paths) == 1:
            return [work(path) for path in paths]
        from fsat.core import parallel  # joblib takes 0.05 s to import

        with self._workers:
            return list(parallel.map_clips(work, paths, desc=name))

    def _array_features(self, x: np.ndarray, sample_rate: int | None) -> list[Features]:
        lowest, highest = audio.MIN_RATE, audio.MAX_RATE
        if sample_rate is None or not lowest <= sample_rate <= highest:
            raise FsatError(f"sample_rate must be {lowest} to {highest} Hz with an array. Got {sample_rate}.")
        if x.ndim not in (1, 2) or x.size == 0 or not np.issubdtype(x.dtype, np.floating):
            raise FsatError(f"an array must hold floats (n,) or (n, channels), n >= 1. Got {x.dtype} {x.shape}.")
        if x.ndim == 2 and x.shape[1] > x.shape[0]:
            how = "the order is (n, channels): give its transpose"
            raise FsatError(f"an array must not have more channels than samples; {how}. Got {x.shape}.")
        mono = (x if x.ndim == 1 else x.mean(axis=1)).astype(np.float32)
        if not np.abs(mono).max() <= audio.MAX_SAMPLE:
            raise FsatError(f"an array must hold finite samples of at most {audio.MAX_SAMPLE:g}.")
        p = self.manifest.preprocessing
        mono = audio.resample(mono, sample_rate, p.audio.sample_rate)
        return part_features(ARRAY, [mono], preprocessing=p, filters=self.filters)

    def tag_features(self, features: Sequence[Features], *, name: str = "") -> list[Tagged]:
        """Ask the models about clips; see `tag_files`."""
        if not features:
            return []
        clips = self._clips(features)
        outputs = {fold: self._outputs(networks, clips, fold, name) for fold, networks in self._predictors.items()}
        views = self._trunk.views(clips, batch_bins=BATCH_BINS, name=name and f"{name}, whole clips")
        found = dict(self._regressions.probabilities(clips, views))
        is_softmax = self.manifest.activation == "softmax"
        for stage in (stage for stage in STAGES if stage in self._models):
            logs = [of_stage[stage].log_probabilities for of_stage in outputs.values()]
            mean = ensemble.geometric_mean(logs) if is_softmax else np.exp(np.minimum(np.mean(logs, axis=0), 0))
            found[stage] = mean
        tables = [found[model] for model in self._models]
        probabilities = tables[0] if len(tables) == 1 else ensemble.geometric_mean([*map(log_probabilities, tables)])
        scale = calibration.scale if is_softmax else calibration.scale_independent
        probabilities = scale(probabilities, self._temperature)
        embedded = self._embedded(outputs, views)
        mean = np.mean([*embedded.values()], axis=0).astype(np.float32) if embedded else None
        embeddings = mean if self._gives_embeddings and mean is not None else [None] * len(clips)
        marks = self._marks(embedded, len(clips))
        return [
            Tagged(clip.path, clip.start_s, clip.end_s, self.manifest.labels, probability, embedding, *mark)
            for clip, probability, embedding, mark in zip(features, probabilities, embeddings, marks, strict=True)
        ]

    def _embedded(
        self, outputs: Mapping[int, Mapping[str, Outputs]], views: Mapping[str, np.ndarray]
    ) -> dict[int, np.ndarray]:
        """Embeddings (n, E) of clips by fold, or under -1 their view; none where no one asks for them."""
        if self._embedder is None:
            return {}
        if self._embedder == LAST:
            return {-1: views[LAST]}
        return {fold: of_stage[self._embedder].embeddings for fold, of_stage in outputs.items()}

    def _marks(self, embedded: Mapping[int, np.ndarray], n: int) -> Iterable[tuple[float | None, bool | None]]:
        """Score of each clip, its mean distance to the clips that the folds learned from, and whether it is unknown."""
        if self._unknown is None:
            return repeat((None, None), n)
        with one_blas_thread():
            distances = [
                unknown.score(values, self._references[fold], neighbours=self._unknown.neighbours)
                for fold, values in embedded.items()
            ]
        return ((float(distance), bool(distance > self._threshold)) for distance in np.mean(distances, axis=0))

    def _outputs(self, networks: Mapping[str, Predictor], clips: Clips, fold: int, name: str) -> Mapping[str, Outputs]:
        """What a fold's networks give for clips, mean over the passes."""
        n_labels, usual = len(self.manifest.labels), self.manifest.passes
        name = name and f"{name}, fold {fold}"
        if usual is None or self.passes is None:
            found = {}
            for stage, predict in networks.items():
                options = {"n_outputs": self._n_outputs(stage), "batch_bins": BATCH_BINS}
                rows = whole_clips.outputs(predict, clips.store, clips.components, name=name, **options)
                found[stage] = Outputs(log_probabilities(rows[:, :n_labels]), rows[:, n_labels:])
            return found
        size = min(MAX_BATCH, max(1, BATCH_BINS // (max(self.passes.lengths) * clips.store.frames.shape[1])))
        key = (usual.seed, "predict", fold, "test")
        return mean_outputs(networks, clips, self.passes, n_labels=n_labels, batch_size=size, key=key, name=name)

    def _n_outputs(self, stage: str) -> int:
        """Columns that a network's predictor gives."""
        network = self.manifest.networks[cast("Stage", stage)]
        return len(self.manifest.labels) + (network.n_embedding if stage == self._embedder else 0)

    def _clips(self, features: Sequence[Features]) -> Clips:
        lengths = np.array([len(clip.frames) for clip in features], dtype=np.int64)
        # The random spans hang on this name, as in the pipeline; a later window of a file gets spans of its own.
        names = [Path(clip.path).name + (f"@{clip.start_s:.3f}" if clip.start_s else "") for clip in features]
        components = None
        if self._projection is not None:
            rows = np.array([clip.statistics for clip in features], dtype=np.float64)
            components = pca.project_rows(rows, self._projection)
        frames = np.concatenate([clip.frames for clip in features])
        limits = MEL_STYLES[self.manifest.preprocessing.mel.style].limits
        store = FrameStore(frames, names, np.cumsum(lengths) - lengths, lengths, limits)
        return Clips(names, store, np.arange(len(features)), components)


def _name(sound: object) -> str:
    """Name of a file; `FsatError` for what is none, such as its bytes."""
    if not isinstance(sound, (str, os.PathLike)) or not isinstance(name := os.fspath(sound), str):
        raise FsatError(f"a sound must be the name of a file or an array of floats. Got {type(sound).__name__}.")
    return name


def _chunks(items: Iterable[Item], seconds: Callable[[Item], float], most: int) -> Iterator[list[Item]]:
    """Lists of consecutive items: at most `most` and `CHUNK_S` together, at least one."""
    chunk: list[Item] = []
    total_s = 0.0
    for item in items:
        length_s = seconds(item)
        if chunk and total_s + length_s > CHUNK_S:
            yield chunk
            chunk, total_s = [], 0.0
        chunk.append(item)
        total_s += length_s
        if len(chunk) == most:
            yield chunk
            chunk, total_s = [], 0.0
    if chunk:
        yield chunk


def _checked_hop(segment_s: float, hop_s: float | None) -> float:
    low, high = MIN_SEGMENT_S, audio.MAX_SECONDS
    if not low <= segment_s <= high:
        raise FsatError(f"--segments must be between {low} and {high} seconds. Got {segment_s}.")
    if hop_s is not None and not low <= hop_s <= segment_s:
        raise FsatError(f"--hop must be between {low} and {segment_s}, the length of a window. Got {hop_s}.")
    return segment_s if hop_s is None else hop_s
