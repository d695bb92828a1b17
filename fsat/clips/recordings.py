"""Clips by the file that they are read from: a file that is one clip, or a recording of which stretches are clips."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fsat.clips import audio

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sound:
    """What one task reads: clips of one file.

    `intervals` are the samples of each clip that are not silence; None: all. `stretches` are seconds of the recording;
    None: the file is one clip.
    """

    path: Path
    intervals: list[tuple[int, int]] | None = None
    stretches: list[audio.Stretch] | None = None

    def __str__(self) -> str:
        """Return the path, for messages."""
        return str(self.path)


def sounds(clips: "pd.DataFrame", folder: Path, *, trimmed: bool = True) -> list[Sound]:
    """Sound files of a part of `data/trim.csv`, in its order: neighbouring rows of a recording are read together.

    Columns path, start and end (samples), and from_s and to_s where clips are stretches; not `trimmed`: no samples.
    """
    paths = list(clips["path"])
    intervals = list(zip(clips["start"], clips["end"], strict=True)) if trimmed else None
    if "from_s" not in clips:
        return [
            Sound(folder / path, None if intervals is None else [intervals[row]], None)
            for row, path in enumerate(paths)
        ]
    stretches = list(zip(clips["from_s"], clips["to_s"], strict=True))
    found = []
    for path, group in groupby(range(len(paths)), key=paths.__getitem__):
        rows = list(group)
        own = None if intervals is None else [intervals[row] for row in rows]
        found.append(Sound(folder / path, own, [stretches[row] for row in rows]))
    return found


def each(sound: Sound, *, work: Callable[[np.ndarray], Result], sample_rate: int) -> list[Result]:
    """``work(samples)`` of each clip of a file, in order; no more than one clip after the other is in memory.

    An empty interval is an empty signal, for which no file is opened. Raises what `audio.load` raises.
    """
    if sound.stretches is None:
        if sound.intervals is None:
            return [work(audio.load(sound.path, sample_rate))]
        [(start, end)] = sound.intervals
        return [work(audio.load_interval(sound.path, start, end, sample_rate))]
    intervals: list[Any] = sound.intervals or [(0, None)] * len(sound.stretches)
    wanted = [number for number, (start, end) in enumerate(intervals) if start != end]
    results = {number: work(np.zeros(0, dtype=np.float32)) for number in set(range(len(intervals))) - set(wanted)}
    if wanted:
        stretches = [sound.stretches[number] for number in wanted]
        for position, x in audio.load_stretches(sound.path, stretches, sample_rate):
            number = wanted[position]
            results[number] = work(x[slice(*intervals[number])])
    return [results[number] for number in range(len(intervals))]
