"""Clips by the file that they are read from: a file that is one clip, or a recording of which stretches are clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fsat.clips import audio

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sound:
    """What one task reads: clips of one file.

    `intervals` are the samples of each clip that are not silence; its end is None where nothing was trimmed.
    `stretches` are seconds of the recording, of each clip; None: the file is one clip.
    """

    path: Path
    intervals: Sequence[tuple[int, int | None]] = ((0, None),)
    stretches: list[audio.Stretch] | None = None

    def __str__(self) -> str:
        """Return the path, for messages."""
        return str(self.path)


def sounds(clips: "pd.DataFrame", folder: Path, *, trimmed: bool = True) -> list[Sound]:
    """Sound files of a part of `data/trim.csv`, in its order: neighbouring rows of a recording are read together.

    Columns path, start and end (samples), and from_s and to_s where clips are stretches; not `trimmed`: no samples.
    """
    paths = list(clips["path"])
    intervals = list(zip(clips["start"], clips["end"], strict=True)) if trimmed else [(0, None)] * len(paths)
    if "from_s" not in clips:
        return [Sound(folder / path, [interval]) for path, interval in zip(paths, intervals, strict=True)]
    stretches = list(zip(clips["from_s"], clips["to_s"], strict=True))
    found = []
    for path, group in groupby(range(len(paths)), key=paths.__getitem__):
        rows = list(group)
        found.append(Sound(folder / path, [intervals[row] for row in rows], [stretches[row] for row in rows]))
    return found


def each(sound: Sound, *, work: Callable[[np.ndarray], Result], sample_rate: int) -> list[Result]:
    """``work(samples)`` of each clip of a file, in order; no more than one clip after the other is in memory.

    An empty interval is an empty signal, for which no file is opened. Raises what `audio.load` raises.
    """
    if sound.stretches is None:
        [(start, end)] = sound.intervals
        return [work(audio.load_interval(sound.path, start, end, sample_rate))]
    wanted = [number for number, (start, end) in enumerate(sound.intervals) if start != end]
    empty = set(range(len(sound.intervals))) - set(wanted)
    results = {number: work(np.zeros(0, dtype=np.float32)) for number in empty}
    if wanted:
        stretches = [sound.stretches[number] for number in wanted]
        for position, x in audio.load_stretches(sound.path, stretches, sample_rate):
            number = wanted[position]
            results[number] = work(x[slice(*sound.intervals[number])])
    return [results[number] for number in range(len(sound.intervals))]
