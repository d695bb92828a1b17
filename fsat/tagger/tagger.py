"""Tag sound files with a model bundle, by the same functions that the pipeline's stages call.

A file is read (`audio`), trimmed (`trim`), turned into log-mel frames (`mel`) and spectral statistics (`spectral`),
these are projected (`pca`), and the networks see random spans of the frames (`batches`, `prediction`), keyed as those
of the stage `predict`. So a test clip gets the pipeline's own prediction, but for rounding.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from fsat.clips import audio
from fsat.core import parallel
from fsat.core.errors import FsatError
from fsat.features import mel, pca, spectral, trim
from fsat.inputs import batches
from fsat.inputs.examples import Examples
from fsat.inputs.frames import FrameStore
from fsat.inputs.passes import Passes, log_probabilities, outputs_by_pass
from fsat.networks import backend, model, prediction
from fsat.scoring import ensemble
from fsat.tagger.bundle import PROJECTION, Bundle, Preprocessing

BATCH_SIZE = 64
# Files whose features are in memory at a time.
CHUNK_FILES = 128
# With fewer files, starting other processes would take longer than the work.
_FEW_FILES = 16
# A shorter window holds less than a few frames of a spectrogram.
MIN_SEGMENT_S = 0.05


@dataclass(frozen=True)
class Tagged:
    """What the networks say about a file, or about a window of it.

    Attributes
    ----------
    path : str
    start_s, end_s : float
        The window, in seconds of the file.
    probabilities : np.ndarray [shape=(C,), dtype=float64]
        In the order of the bundle's labels; their sum is 1.
    embedding : np.ndarray [shape=(E,), dtype=float32] or None
        The trunk's features after pooling (1280 at width 1.0), mean over all passes and folds.
    """

    path: str
    start_s: float
    end_s: float
    probabilities: np.ndarray
    embedding: np.ndarray | None


@dataclass(frozen=True)
class Failed:
    """A file that could not be tagged, and why."""

    path: str
    reason: str


# Features ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Features:
    """One window: frames (n_frames, M) in dB, and statistics (d,) unless only the mel network is asked."""

    path: str
    start_s: float
    end_s: float
    frames: np.ndarray
    statistics: np.ndarray | None


def windows(n_samples: int, sample_rate: int, segment_s: float | None) -> list[tuple[int, int]]:
    """First sample and end of each window of a file; the whole file if `segment_s` is None.

    What is left at the end is a window of its own if it is at least half as long as the others, else part of the last.

    >>> windows(50, 10, 2.0), windows(45, 10, 2.0), windows(5, 10, 2.0)
    ([(0, 20), (20, 40), (40, 50)], [(0, 20), (20, 45)], [(0, 5)])
    """
    if segment_s is None:
        return [(0, n_samples)]
    step = max(1, round(segment_s * sample_rate))
    count = max(1, (n_samples + (step + 1) // 2) // step)
    edges = [number * step for number in range(count)] + [n_samples]
    return list(pairwise(edges))


def file_features(
    path: str, *, preprocessing: Preprocessing, segment_s: float | None, statistics: bool, folder: str = ""
) -> list[Features] | Failed:
    """Features of all windows of a file; a relative path is one below `folder`, whatever folder the worker is in."""
    p = preprocessing
    try:
        x = audio.load(Path(folder, path), p.audio.sample_rate)
    except audio.AudioError as error:
        return Failed(path, error.reason)
    features = []
    for start, end in windows(len(x), p.audio.sample_rate, segment_s):
        window = x[start:end]
        first, last = trim.trim_interval(window, top_db=p.trim.top_db)
        sound = window[first:last]
        frames = mel.log_mel(sound, sample_rate=p.audio.sample_rate, settings=p.mel)
        numbers = (
            spectral.spectral_statistics(
                sound,
                sample_rate=p.audio.sample_rate,
                n_fft=p.spectral.n_fft,
                hop_length=p.spectral.hop_length,
                n_mfcc=p.spectral.n_mfcc,
            )
            if statistics
            else None
        )
        features.append(Features(path, start / p.audio.sample_rate, end / p.audio.sample_rate, frames, numbers))
    return features


# Networks ----------------------------------------------------------------------------------------------------------


def load_networks(bundle: Bundle, stage: str, folds: Sequence[int]) -> Iterator[tuple[int, keras.Model]]:
    """Yield each fold and one network, always the same object, filled with that fold's weights.

    Raises
    ------
    FsatError
        If weights are missing, changed or do not fit.
    """
    network = model.build_network(**bundle.manifest.networks[stage].model_dump())  # type: ignore[index]
    for fold in folds:
        path = bundle.weights(stage, fold)
        try:
            network.load_weights(str(path))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise FsatError(f"{path}: does not fit the network of bundle.json ({reason}).") from error
        yield fold, network


def _load_projection(bundle: Bundle) -> pca.Projection:
    """The projection, if it takes this version's statistics and gives what the networks need."""
    path = bundle.verified(PROJECTION)
    projection = pca.load(path)
    names = spectral.feature_names(n_mfcc=bundle.manifest.preprocessing.spectral.n_mfcc)
    needed = bundle.manifest.networks["stage2"].n_components
    if len(projection.components) != needed or projection.columns != names:
        raise FsatError(
            f"{path}: does not fit: it makes {len(projection.components)} components of {len(projection.columns)} "
            f"statistics, the networks need {needed} of {len(names)}. Make the bundle anew: `dvc repro bundle`."
        )
    return projection


class Tagger:
    """The networks of a bundle, ready to be asked.

    Parameters
    ----------
    bundle : Bundle
    stage : {"stage2", "stage1"}
        The mel + PCA networks, or the mel networks, which need no statistics and so are faster.
    lengths, tries, n_folds : int or None
        Lengths a fold, passes a length, and how many of the bundle's folds; None is what the pipeline did. Less is
        faster and less accurate.
    embeddings : bool
        Also give the trunk's features.

    Raises
    ------
    FsatError
        If a number is out of range, or the bundle's files are damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        stage: str = "stage2",
        lengths: int | None = None,
        tries: int | None = None,
        n_folds: int | None = None,
        embeddings: bool = False,
    ) -> None:
        """Load the weights; the network is compiled when the first clip comes."""
        manifest = bundle.manifest
        usual = manifest.prediction
        folds = usual.first_folds(n_folds)
        for name, value in (("--lengths", lengths), ("--tries", tries)):
            if value is not None and value < 1:
                raise FsatError(f"{name} must be at least 1. Got {value}.")
        self.manifest, self.stage = manifest, stage
        self.passes = Passes(
            batches.fixed_lengths(usual.bounds, lengths or usual.lengths, step=usual.step), tries or usual.tries
        )
        has_components = manifest.networks[stage].n_components > 0  # type: ignore[index]
        self._projection = _load_projection(bundle) if has_components else None
        backend.prepare(usual.seed)
        # One network that is compiled once and filled with each fold's weights in turn.
        self._weights = {}
        for fold, network in load_networks(bundle, stage, folds):
            self._weights[fold] = network.get_weights()
            self._network = network
        outputs = [self._network.output]
        if embeddings:
            outputs.append(
                keras.layers.Activation("linear", dtype="float32")(self._network.get_layer("embedding").output)
            )
        asked = keras.Model(self._network.inputs, keras.layers.Concatenate()(outputs)) if embeddings else self._network
        self._predict = prediction.predictor(asked)
        self._n_outputs = asked.output_shape[-1]

    @property
    def n_passes(self) -> int:
        """Passes over a clip, of all folds."""
        return len(self._weights) * len(self.passes)

    def tag_files(
        self,
        paths: Iterable[str | Path],
        *,
        segment_s: float | None = None,
        progress: bool = False,
    ) -> Iterator[Tagged | Failed]:
        """Yield what the networks say about each file (or window), in order; a file that fails stops no other.

        Parameters
        ----------
        paths : iterable of path
        segment_s : float or None
            Tag windows of this many seconds instead of whole files.
        progress : bool
            Show bars on stderr.
        """
        if segment_s is not None and not MIN_SEGMENT_S <= segment_s <= audio.MAX_SECONDS:
            limits = f"between {MIN_SEGMENT_S} and {audio.MAX_SECONDS} seconds"
            raise FsatError(f"--segments must be {limits}. Got {segment_s}.")
        remaining, done = iter(paths), 0
        while chunk := [os.fspath(path) for path in islice(remaining, CHUNK_FILES)]:
            files = f"files {done + 1} to {done + len(chunk)}"
            done += len(chunk)
            found = self._features(chunk, segment_s, f"reading {files}")
            clips = [clip for result in found if not isinstance(result, Failed) for clip in result]
            tagged = iter(self.tag_features(clips, name=f"tagging {files}" if progress else ""))
            for result in found:
                if isinstance(result, Failed):
                    yield result
                else:
                    yield from islice(tagged, len(result))

    def _features(self, paths: list[str], segment_s: float | None, name: str) -> list[list[Features] | Failed]:
        work = partial(
            file_features,
            preprocessing=self.manifest.preprocessing,
            segment_s=segment_s,
            statistics=self._projection is not None,
            folder=str(Path.cwd()),
        )
        if len(paths) < _FEW_FILES:
            # As in a worker process: with more threads, sums would be rounded in another way.
            with threadpool_limits(limits=1):
                return [work(path) for path in paths]
        return list(parallel.map_clips(work, paths, desc=name))

    def tag_features(self, clips: Sequence[Features], *, name: str = "") -> list[Tagged]:
        """Ask the networks about clips; see `tag_files`."""
        if not clips:
            return []
        examples = self._examples(clips)
        key = (self.manifest.prediction.seed, "predict")
        n_labels = len(self.manifest.labels)
        logs, features = [], np.zeros((len(clips), self._n_outputs - n_labels))
        bar = tqdm(total=self.n_passes, desc=name, unit="pass", leave=False, disable=not name)
        for fold, weights in self._weights.items():
            self._network.set_weights(weights)
            total = np.zeros((len(clips), n_labels))
            for output in outputs_by_pass(
                {self.stage: self._predict},
                examples,
                self.passes,
                batch_size=BATCH_SIZE,
                key=(*key, fold, "test"),
                name="",
            ):
                bar.update()
                total += log_probabilities(output[self.stage][:, :n_labels])
                features += output[self.stage][:, n_labels:]
            logs.append(total / len(self.passes))
        bar.close()
        probabilities = ensemble.geometric_mean(logs)
        embeddings = (features / self.n_passes).astype(np.float32)
        return [
            Tagged(clip.path, clip.start_s, clip.end_s, probability, embedding if len(embedding) else None)
            for clip, probability, embedding in zip(clips, probabilities, embeddings, strict=True)
        ]

    def _examples(self, clips: Sequence[Features]) -> Examples:
        lengths = np.array([len(clip.frames) for clip in clips], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        # The random spans hang on this name, as in the pipeline; a later window of a file gets spans of its own.
        names = [Path(clip.path).name + (f"@{clip.start_s:.3f}" if clip.start_s else "") for clip in clips]
        components = None
        if self._projection is not None:
            rows = np.array([clip.statistics for clip in clips])
            components = pca.project(pd.DataFrame(rows, names, self._projection.columns), self._projection)
        limits = self.manifest.preprocessing.mel.limits
        store = FrameStore(np.concatenate([clip.frames for clip in clips]), names, starts, lengths, limits)
        targets = np.zeros((len(clips), len(self.manifest.labels)), dtype=np.float32)
        return Examples(names, store, np.arange(len(clips)), components, targets)
