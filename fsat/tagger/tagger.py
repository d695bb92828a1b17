"""Tag sounds with a model bundle, by the same functions that the pipeline's stages call.

A file is read (`audio`), trimmed (`trim`), turned into log-mel frames (`mel`) and spectral statistics (`spectral`),
these are projected (`pca`), and the networks see random spans of the frames (`batches`, `passes`), keyed as those of
the stage `predict`. So a test clip gets the pipeline's own prediction, but for rounding. Without Keras: the networks
run in ONNX Runtime.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fsat.clips import audio
from fsat.core import parallel
from fsat.core.errors import FsatError
from fsat.core.mel_styles import MEL_STYLES
from fsat.features import pca
from fsat.inputs import batches
from fsat.inputs.examples import Examples
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Passes, Predictor, log_probabilities, outputs_by_pass
from fsat.scoring import calibration, ensemble, unknown
from fsat.tagger import arrays, sessions
from fsat.tagger import bundle as bundles
from fsat.tagger.bundle import Bundle
from fsat.tagger.late_fusion import LateFusion
from fsat.tagger.windows import Failed, Features, file_features, one_blas_thread, stream_features, window_features

# Bins of spectrogram (bands x frames) and clips in a batch. Larger ones take more memory for the activations of a
# network's first layers, and leave the processor's cache: they are slower.
BATCH_BINS, MAX_BATCH = 1 << 17, 16
# Windows whose features are in memory at a time.
CHUNK_WINDOWS = 16
# Files whose features are in memory at a time.
CHUNK_FILES = 128
# With fewer files, starting other processes would take longer than the work.
_FEW_FILES = 16
# A shorter window holds less than a few frames of a spectrogram.
MIN_SEGMENT_S = 0.05
# Name of samples that come without a file; the random spans hang on it.
ARRAY = "array"


@dataclass(frozen=True)
class Tagged:
    """What the networks say about a sound, or about a window of it.

    Attributes
    ----------
    path : str
    start_s, end_s : float
        The window, in seconds of the file.
    labels : sequence of str, length C
        The bundle's labels.
    probabilities : np.ndarray [shape=(C,), dtype=float64]
        In the order of the labels; the sum is 1 where the bundle's activation is softmax.
    embedding : np.ndarray [shape=(E,), dtype=float32] or None
        The trunk's features after pooling (1280 for MobileNetV2 at width 1.0), mean over all passes and folds.
    unknown_score : float or None
        How unlike the training clips the sound is, 0 to 2; see `scoring.unknown.score`. None where the bundle does not
        hold what that needs.
    unknown : bool or None
        Whether the score is above the bundle's threshold: probably none of the labels.
    """

    path: str
    start_s: float
    end_s: float
    labels: Sequence[str]
    probabilities: np.ndarray
    embedding: np.ndarray | None
    unknown_score: float | None = None
    unknown: bool | None = None

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[number], float(self.probabilities[number])) for number in order]


class Tagger:
    """The networks of a bundle, ready to be asked. One tagger may be used by several threads at the same time.

    Parameters
    ----------
    bundle : path or Bundle
        A bundle's folder, such as ``data/bundle``.
    stage : {"stage2", "stage1"} or None
        The mel + PCA networks, or the mel networks, which need no statistics and so are faster; None is the last
        stage that the bundle holds.
    lengths, tries, n_folds : int or None
        Lengths a fold, passes a length, and how many of the bundle's folds; None is what the pipeline did. Less is
        faster and less accurate.
    embeddings : bool
        Also give the trunk's features.
    threads : int or None
        Threads of ONNX Runtime; None: one a core. The number does not change a result.

    Raises
    ------
    FsatError
        If a number is out of range, or the bundle's files are damaged.

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
        stage: str | None = None,
        lengths: int | None = None,
        tries: int | None = None,
        n_folds: int | None = None,
        embeddings: bool = False,
        threads: int | None = None,
    ) -> None:
        """Check and open the networks."""
        opened = bundle if isinstance(bundle, Bundle) else bundles.read(bundle)
        manifest = opened.manifest
        self.manifest, self.stage = manifest, stage or manifest.best_stage
        if self.stage not in manifest.networks:
            raise FsatError(f"--stage must be {' or '.join(manifest.networks)} in this bundle. Got {self.stage}.")
        if n_folds is not None and not 1 <= n_folds <= len(manifest.folds):
            raise FsatError(
                f"--folds must be between 1 and {len(manifest.folds)}, the folds of this bundle. Got {n_folds}."
            )
        self.passes = self._passes(lengths, tries)
        has_components = manifest.networks[self.stage].n_components > 0
        self.filters = arrays.load_filters(opened, statistics=has_components)
        self._projection = arrays.load_projection(opened, self.stage) if has_components else None
        fusion = manifest.fusion if self.stage == "stage2" else None
        self._late_fusion = None if fusion is None else LateFusion(opened, fusion, threads=threads)
        self._unknown = manifest.unknown if self.stage in manifest.marked_stages else None
        self._references = arrays.load_references(opened, self.stage, manifest.folds[:n_folds])
        self._gives_embeddings = embeddings
        embeddings = embeddings or self.marks_unknown
        self._predictors: dict[int, Predictor] = {}
        for fold in manifest.folds[:n_folds]:
            session = sessions.open_network(opened, self.stage, fold, threads=threads)
            name = str(opened.folder / bundles.network_name(self.stage, fold))
            self._predictors[fold] = sessions.predictor(session, embeddings=embeddings, name=name)
        n_embedding = manifest.networks[self.stage].n_embedding
        self._n_outputs = len(manifest.labels) + (n_embedding if embeddings else 0)
        self._workers = threading.Lock()  # joblib's pool of processes is one for the whole process

    def _passes(self, lengths: int | None, tries: int | None) -> Passes | None:
        """The passes asked for; None if the bundle's networks see a clip once, whole."""
        usual = self.manifest.passes
        for name, value in (("--lengths", lengths), ("--tries", tries)):
            if value is not None and value < 1:
                raise FsatError(f"{name} must be at least 1. Got {value}.")
            if value is not None and usual is None:
                raise FsatError(f"{name} cannot be chosen: this bundle's networks see a clip once, whole.")
        if usual is None:
            return None
        return Passes(
            batches.fixed_lengths(usual.bounds, lengths or usual.lengths, step=usual.step), tries or usual.tries
        )

    @property
    def n_passes(self) -> int:
        """Passes over a clip, of all folds."""
        return len(self._predictors) * (1 if self.passes is None else len(self.passes))

    @property
    def marks_unknown(self) -> bool:
        """Whether results say if a sound is none of the labels."""
        return self._unknown is not None

    def __call__(self, sound: str | Path | np.ndarray, sample_rate: int | None = None) -> Tagged:
        """Tag one sound as a whole.

        Parameters
        ----------
        sound : path, or np.ndarray [shape=(n,) or (n, channels)]
            A file, or samples as floats between about -1 and 1.
        sample_rate : int
            Rate of the samples in Hz; only with an array.

        Raises
        ------
        AudioError
            If the file cannot be read.
        FsatError
            If the array is no sound.
        """
        if isinstance(sound, np.ndarray):
            features = self._array_features(sound, sample_rate)
        else:
            if sample_rate is not None:
                raise FsatError(f"{sound}: a file has a sample rate of its own; give one with an array only.")
            found = self._features([os.fspath(sound)], "")[0]
            if isinstance(found, Failed):
                raise audio.AudioError(found.path, found.reason)
            features = found
        return self.tag_features([features])[0]

    def tag_files(
        self,
        paths: Iterable[str | Path],
        *,
        segment_s: float | None = None,
        hop_s: float | None = None,
        progress: bool = False,
    ) -> Iterator[Tagged | Failed]:
        """Yield what the networks say about each file (or window), in order; a file that fails stops no other.

        Files are read in chunks, whole ones by several processes (``FSAT_JOBS``); windows are read as a stream, so
        that memory does not grow with the length of a file. A file that breaks off gives the windows before, then
        `Failed`.

        Parameters
        ----------
        paths : iterable of path
        segment_s : float or None
            Tag windows of this many seconds instead of whole files.
        hop_s : float or None
            Seconds from the start of a window to that of the next; None: `segment_s`, windows without overlap.
        progress : bool
            Show bars on stderr.
        """
        if segment_s is not None:
            hop_s = _checked_hop(segment_s, hop_s)
            return self._tag_windows((os.fspath(path) for path in paths), segment_s, hop_s)
        if hop_s is not None:
            raise FsatError("--hop needs --segments.")
        return self._tag_whole((os.fspath(path) for path in paths), progress=progress)

    def _tag_windows(self, paths: Iterable[str], segment_s: float, hop_s: float) -> Iterator[Tagged | Failed]:
        options = {"preprocessing": self.manifest.preprocessing, "filters": self.filters}
        found = chain.from_iterable(
            stream_features(path, segment_s=segment_s, hop_s=hop_s, **options)  # type: ignore[arg-type]
            for path in paths
        )
        while chunk := list(islice(found, CHUNK_WINDOWS)):
            yield from self._in_order(chunk, name="")

    def _tag_whole(self, paths: Iterator[str], *, progress: bool) -> Iterator[Tagged | Failed]:
        done = 0
        while chunk := list(islice(paths, CHUNK_FILES)):
            files = f"files {done + 1} to {done + len(chunk)}"
            done += len(chunk)
            found = self._features(chunk, f"reading {files}")
            yield from self._in_order(found, name=f"tagging {files}" if progress else "")

    def _in_order(self, found: Sequence[Features | Failed], *, name: str) -> Iterator[Tagged | Failed]:
        clips = [clip for clip in found if not isinstance(clip, Failed)]
        tagged = iter(self.tag_features(clips, name=name))
        return iter([clip if isinstance(clip, Failed) else next(tagged) for clip in found])

    def _features(self, paths: list[str], name: str) -> list[Features | Failed]:
        work = partial(file_features, preprocessing=self.manifest.preprocessing, filters=self.filters)
        if len(paths) < _FEW_FILES:
            return [work(path) for path in paths]
        with self._workers:
            return list(parallel.map_clips(work, paths, desc=name))

    def _array_features(self, x: np.ndarray, sample_rate: int | None) -> Features:
        if sample_rate is None or not audio.MIN_RATE <= sample_rate <= audio.MAX_RATE:
            raise FsatError(
                f"sample_rate must be {audio.MIN_RATE} to {audio.MAX_RATE} Hz with an array. Got {sample_rate}."
            )
        if x.ndim not in (1, 2) or x.size == 0 or not np.issubdtype(x.dtype, np.floating):
            raise FsatError(f"an array must hold floats (n,) or (n, channels), n >= 1. Got {x.dtype} {x.shape}.")
        mono = (x if x.ndim == 1 else x.mean(axis=1)).astype(np.float32)
        if not np.abs(mono).max() <= audio.MAX_SAMPLE:
            raise FsatError(f"an array must hold finite samples of at most {audio.MAX_SAMPLE:g}.")
        p = self.manifest.preprocessing
        mono = audio.resample(mono, sample_rate, p.audio.sample_rate)
        return window_features(ARRAY, mono, 0, preprocessing=p, filters=self.filters)

    def tag_features(self, clips: Sequence[Features], *, name: str = "") -> list[Tagged]:
        """Ask the networks about clips; see `tag_files`."""
        if not clips:
            return []
        examples = self._examples(clips)
        labels = self.manifest.labels
        logs, features = [], np.zeros((len(clips), self._n_outputs - len(labels)))
        distances = np.zeros(len(clips))
        bar = tqdm(total=self.n_passes, desc=name, unit="pass", leave=False, disable=not name)
        for fold, predict in self._predictors.items():
            total, n_passes = np.zeros((len(clips), len(labels))), 0
            fold_features = np.zeros(features.shape)
            for output in self._outputs(predict, examples, fold):
                bar.update()
                n_passes += 1
                total += log_probabilities(output[:, : len(labels)])
                fold_features += output[:, len(labels) :]
            logs.append(total / n_passes)
            features += fold_features
            distances += self._distances(fold_features, fold)
        bar.close()
        probabilities = self._combined(logs)
        if self._late_fusion is not None:
            probabilities = self._late_fusion.fuse(probabilities, examples)
        probabilities = self._calibrated(probabilities)
        embeddings = (features / self.n_passes).astype(np.float32) if self._gives_embeddings else [None] * len(clips)
        marks = self._marks(distances / len(self._predictors))
        return [
            Tagged(clip.path, clip.start_s, clip.end_s, labels, probability, embedding, *mark)
            for clip, probability, embedding, mark in zip(clips, probabilities, embeddings, marks, strict=True)
        ]

    def _distances(self, features: np.ndarray, fold: int) -> np.ndarray:
        """Distances (n,) to the clips that a fold learned from; zeros where the bundle holds none."""
        if self._unknown is None:
            return np.zeros(len(features))
        with one_blas_thread():
            return unknown.score(features, self._references[fold], neighbours=self._unknown.neighbours)

    def _marks(self, distances: np.ndarray) -> list[tuple[float | None, bool | None]]:
        """Score of each clip, and whether it is above the threshold."""
        if self._unknown is None:
            return [(None, None)] * len(distances)
        threshold = self._unknown.threshold[self.stage]  # type: ignore[index]
        return [(float(distance), bool(distance > threshold)) for distance in distances]

    def _outputs(self, predict: Predictor, examples: Examples, fold: int) -> Iterator[np.ndarray]:
        """Yield what a network gives in each pass, (n, C) or (n, C + E)."""
        usual = self.manifest.passes
        if usual is None or self.passes is None:
            yield self._whole_clips(predict, examples)
            return
        key, size = (usual.seed, "predict", fold, "test"), self._batch_size(max(self.passes.lengths))
        for output in outputs_by_pass({self.stage: predict}, examples, self.passes, batch_size=size, key=key, name=""):
            yield output[self.stage]

    def _batch_size(self, n_frames: int) -> int:
        """Clips of so many frames that are asked about at a time."""
        return min(MAX_BATCH, max(1, BATCH_BINS // (n_frames * self.manifest.preprocessing.mel.n_mels)))

    def _whole_clips(self, predict: Predictor, examples: Examples) -> np.ndarray:
        """Outputs for all frames of each clip; one too short for the network is mirrored to the shortest length."""
        lengths = np.maximum(examples.store.lengths[examples.rows], batches.STRIDE)
        output = np.empty((len(examples), self._n_outputs), dtype=np.float32)
        for n_frames in np.unique(lengths):
            alike = np.flatnonzero(lengths == n_frames)
            size = self._batch_size(int(n_frames))
            for start in range(0, len(alike), size):
                which = alike[start : start + size]
                spans = np.zeros(len(which), dtype=np.int64)
                output[which] = predict(batches.cropped(examples, which, spans, int(n_frames)).inputs)
        return output

    def _combined(self, logs: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities (n, C) of all folds' mean log p."""
        if self.manifest.activation == "softmax":
            return ensemble.geometric_mean(logs)
        return np.exp(np.minimum(np.mean(logs, axis=0), 0))

    def _calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (n, C) at the temperature that the bundle has for the stage."""
        temperatures = {} if self.manifest.calibration is None else self.manifest.calibration.temperature
        temperature = temperatures.get(self.stage, 1.0)  # type: ignore[call-overload]
        if self.manifest.activation == "softmax":
            return calibration.scale(probabilities, temperature)
        return calibration.scale_independent(probabilities, temperature)

    def _examples(self, clips: Sequence[Features]) -> Examples:
        lengths = np.array([len(clip.frames) for clip in clips], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        # The random spans hang on this name, as in the pipeline; a later window of a file gets spans of its own.
        names = [Path(clip.path).name + (f"@{clip.start_s:.3f}" if clip.start_s else "") for clip in clips]
        components = None
        if self._projection is not None:
            rows = np.array([clip.statistics for clip in clips], dtype=np.float64)
            with one_blas_thread():
                components = pca.project_rows(rows, self._projection)
        frames = np.concatenate([clip.frames for clip in clips])
        store = FrameStore(frames, names, starts, lengths, MEL_STYLES[self.manifest.preprocessing.mel.style].limits)
        targets = np.zeros((len(clips), len(self.manifest.labels)), dtype=np.float32)
        return Examples(names, store, np.arange(len(clips)), components, targets)


def _checked_hop(segment_s: float, hop_s: float | None) -> float:
    if not MIN_SEGMENT_S <= segment_s <= audio.MAX_SECONDS:
        limits = f"between {MIN_SEGMENT_S} and {audio.MAX_SECONDS} seconds"
        raise FsatError(f"--segments must be {limits}. Got {segment_s}.")
    if hop_s is None:
        return segment_s
    if not MIN_SEGMENT_S <= hop_s <= segment_s:
        raise FsatError(f"--hop must be between {MIN_SEGMENT_S} and {segment_s}, the length of a window. Got {hop_s}.")
    return hop_s
