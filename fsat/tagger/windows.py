"""From sound files to the inputs of networks: whole files, or windows of a file that is read as a stream."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fsat.clips import audio
from fsat.core.numeric import one_blas_thread
from fsat.features import mel, spectral, trim
from fsat.tagger.arrays import Filters
from fsat.tagger.bundle import Preprocessing
from fsat.tagger.results import Ended, Failed

# A sound of at least one and a half times this length is tagged in parts of it, so that memory does not grow with it.
PART_S = 600.0


@dataclass(frozen=True)
class Features:
    """One window: frames (n_frames, M), and statistics (d,) unless only the mel network is asked."""

    path: str
    start_s: float
    end_s: float
    frames: np.ndarray
    statistics: np.ndarray | None


def file_features(path: str, *, preprocessing: Preprocessing, filters: Filters) -> list[Features] | Failed:
    """Features of a whole file: one row, or those of its parts (`PART_S`)."""
    rate = preprocessing.audio.sample_rate
    try:
        blocks = audio.stream(path, rate, max_seconds=audio.MAX_SECONDS)
        return part_features(path, blocks, preprocessing=preprocessing, filters=filters)
    except audio.AudioError as error:
        return Failed(path, error.reason)


def part_features(
    path: str, blocks: Iterable[np.ndarray], *, preprocessing: Preprocessing, filters: Filters
) -> list[Features]:
    """Features of a sound whose samples come in blocks: one row, or those of its parts (`PART_S`)."""
    found = windows(blocks, preprocessing.audio.sample_rate, segment_s=PART_S, hop_s=PART_S)
    return [window_features(path, x, start, preprocessing=preprocessing, filters=filters) for start, x in found]


def stream_features(
    path: str, *, preprocessing: Preprocessing, filters: Filters, segment_s: float, hop_s: float
) -> Iterator[Features | Failed | Ended]:
    """Yield the features of a file's windows as the file is read, then `Ended`, or `Failed` if reading broke off."""
    rate, n = preprocessing.audio.sample_rate, 0
    try:
        for start, x in windows(audio.stream(path, rate), rate, segment_s=segment_s, hop_s=hop_s):
            n = start + len(x)
            yield window_features(path, x, start, preprocessing=preprocessing, filters=filters)
        yield Ended(path, n / rate)
    except audio.AudioError as error:
        yield Failed(path, error.reason)


def windows(
    blocks: Iterable[np.ndarray], sample_rate: int, *, segment_s: float, hop_s: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield first sample and samples of each window of a stream: every `hop_s` one of `segment_s` seconds.

    What is left at the end is a window of its own if it is at least half a hop, else part of the last one; a stream
    that is shorter than a window is one window.

    >>> [(start, start + len(x)) for start, x in windows([np.zeros(45)], 10, segment_s=2, hop_s=2)]
    [(0, 20), (20, 45)]
    >>> [(start, start + len(x)) for start, x in windows([np.zeros(35)], 10, segment_s=2, hop_s=1)]
    [(0, 20), (10, 30), (20, 35)]
    """
    length, hop = max(1, round(segment_s * sample_rate)), max(1, round(hop_s * sample_rate))
    enough = length + (hop + 1) // 2  # a window is given out when it is known that another one follows
    waiting, n_waiting, start = [np.zeros(0, dtype=np.float32)], 0, 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting < enough:
            continue
        held = np.concatenate(waiting)
        waiting.clear()
        while len(held) >= enough:
            yield start, held[:length]
            held = held[hop:]
            start += hop
        waiting.append(held.copy())  # a view would keep the earlier samples
        n_waiting = len(held)
        del held
    held = np.concatenate(waiting)
    waiting.clear()
    yield start, held


def window_features(
    path: str, x: np.ndarray, start: int, *, preprocessing: Preprocessing, filters: Filters
) -> Features:
    """Features of samples that begin at sample `start` of a file; statistics where `filters` has those for them."""
    p, rate = preprocessing, preprocessing.audio.sample_rate
    with one_blas_thread():
        first, last = (0, len(x)) if p.trim is None else trim.trim_interval(x, top_db=p.trim.top_db)
        sound = x[first:last]
        frames = mel.log_mel(sound, sample_rate=rate, settings=p.mel, bank=filters.mel)
        numbers = None
        if filters.spectral is not None and p.spectral is not None:
            numbers = spectral.spectral_statistics(
                sound, sample_rate=rate, bank=filters.spectral, **p.spectral.model_dump()
            )
    return Features(path, start / rate, (start + len(x)) / rate, frames, numbers)
