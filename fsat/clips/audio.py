"""Read a clip as float32 mono at a wanted rate, or say why it cannot be read.

A clip is either read completely or refused with a reason: a decode error never becomes a shorter or silent example.
"""

import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from fsat.clips import containers, ffmpeg
from fsat.clips.container import Container, Excerpt
from fsat.clips.ffmpeg import DecodeError
from fsat.core.errors import FsatError

# With a damaged header that says 1 Hz or 4 GHz, resampling would use all memory.
MIN_RATE, MAX_RATE = 1_000, 1_000_000
MAX_SECONDS = 3_600
# Larger than in any sound file; the power spectrum of such samples is still finite in float32.
MAX_SAMPLE = 1e6
_BLOCK_FRAMES, _SMALL_BLOCK = 1 << 18, 1 << 10
_UNDECODABLE = "not audio that can be decoded"
SILENT, CANCELLING = "silent", "channels cancel"
_SILENT_PEAK = 2.0**-15  # one step of 16-bit samples
_CANCELLING_POWER = 10.0 ** (-40 / 10)  # of the mean, over that of the channels
# What libsndfile notes of a header in formats that `containers` does not check.
_NOTED = re.compile(r"(?:Frames|Cols) *: (?P<more>\d+)|\d+ \(?should be \d+")
_NOTING = ("SVX", "WVE", "AVR", "MAT4", "MAT5", "MPC2K")
# Formats in which libsndfile goes to the wanted sample. In Ogg Vorbis it goes to one up to 900 samples away.
_SOUGHT = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "OPUS")

Stretch = tuple[float, float]  # start and end in seconds


class AudioError(FsatError):
    """A clip that cannot be used; `reason` is short, e.g. ``"truncated: 1000 of 88200 bytes of samples"``."""

    def __init__(self, path: str, reason: str) -> None:
        # Both go to `args`, so that the error can be pickled when a worker process returns it.
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}. Replace the file by a good copy or take the clip out of the dataset."


@dataclass(frozen=True)
class ClipInfo:
    """What a clip file holds; `problem` is empty if it can be used, else the numbers are 0; `note`: `SILENT`, ..."""

    sample_rate: int
    channels: int
    seconds: float
    problem: str
    note: str = ""


def load(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read a clip as mono at a wanted rate.

    Parameters
    ----------
    path : str or Path
        Anything libsndfile decodes: WAV, FLAC, OGG, MP3, AIFF; with PyAV also MP4, WebM, AAC, WMA, videos.
    sample_rate : int
        Wanted rate in Hz. A clip of another rate is resampled with soxr's high quality, librosa's default.

    Returns
    -------
    np.ndarray [shape=(n,), dtype=float32]
        The mean of the channels.

    Raises
    ------
    AudioError
        If the file is missing, is no audio, is damaged or truncated, or holds NaN or infinite samples.
    """
    with _opened(path) as sound:
        x = np.empty(sound.n_frames, dtype=np.float32)  # one array: blocks put together would need twice the memory
        n = 0
        for block in sound.blocks:
            if n + len(block) > len(x):  # a header that announces nothing, or too little
                x = np.concatenate([x[:n], np.empty(2 * len(x) + len(block), dtype=np.float32)])
            np.mean(block, axis=1, out=x[n : n + len(block)])
            n += len(block)
    return resample(x[:n], sound.sample_rate, sample_rate)


def stream(path: str | Path, sample_rate: int, *, max_seconds: float = np.inf) -> Iterator[np.ndarray]:
    """Yield the samples of `load` block by block, so that memory does not grow with their number.

    Parameters
    ----------
    path, sample_rate
        See `load`.
    max_seconds : float
        A longer file is refused.

    Yields
    ------
    np.ndarray [shape=(m,), dtype=float32]
        Consecutive samples; m varies and can be 0.

    Raises
    ------
    AudioError
        As `load` does, at the end of what can be read: the blocks before are good.
    """
    with _opened(path, max_seconds=max_seconds, partly=True) as sound:
        rate = sound.sample_rate
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="soxr_hq")
        n_read = n_given = 0
        for block in sound.blocks:
            n_read += len(block)
            mono = block.mean(axis=1)
            y = mono if rate == sample_rate else resampler.resample_chunk(mono)
            n_given += len(y)
            yield y
        if rate != sample_rate:
            y = resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            n_left = int(np.ceil(n_read * (sample_rate / rate))) - n_given
            yield np.pad(y, (0, max(0, n_left - len(y))))[: max(0, n_left)]


def load_interval(path: str | Path, start: int, end: int | None, sample_rate: int) -> np.ndarray:
    """Read samples `start` to `end` (excluded), counted at `sample_rate`; see `load`.

    With ``start == end`` the file is not opened: a test clip that cannot be read counts as an empty signal.
    """
    if start == end:
        return np.zeros(0, dtype=np.float32)
    return load(path, sample_rate)[start:end]


def load_stretches(
    path: str | Path, stretches: Sequence[Stretch], sample_rate: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Read stretches of a recording of any length, each as if it were a file of its own.

    They may overlap and come in any order. Yields the number of each and its samples, float32 (n,), in the order of the
    recording; what lies behind its end is not there. `AudioError` as by `load`, of what is read: where libsndfile seeks
    to the sample that is nothing but the stretches.
    """
    with _opened(path, max_seconds=np.inf) as sound:
        frames = [(round(start * sound.sample_rate), round(end * sound.sample_rate)) for start, end in stretches]
        order = sorted(range(len(frames)), key=frames.__getitem__)
        found = (
            _passing(sound.blocks, frames, order)
            if sound.read_at is None
            else ((number, sound.read_at(*frames[number])) for number in order)
        )
        for number, x in found:
            yield number, resample(x, sound.sample_rate, sample_rate)


def _passing(
    blocks: Iterator[np.ndarray], frames: Sequence[tuple[int, int]], order: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and samples of stretches as the blocks of a recording go by, to the end of the last stretch."""
    waiting, begun, position = deque(order), dict[int, list[np.ndarray]](), 0
    for block in blocks:
        after = position + len(block)
        while waiting and frames[waiting[0]][0] < after:
            begun[waiting.popleft()] = []
        for number, parts in begun.items():
            first, last = frames[number]
            parts.append(block[max(0, first - position) : last - position].mean(axis=1))
        for number in [number for number in begun if frames[number][1] <= after]:
            yield number, np.concatenate(begun.pop(number))
        if not waiting and not begun:
            return
        position = after
    for number in [*begun, *waiting]:
        yield number, np.concatenate([np.zeros(0, dtype=np.float32), *begun.get(number, [])])


def probe(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> ClipInfo:
    """Decode a whole file block by block; one that cannot be used gives a `problem`, not an exception."""
    try:
        with _opened(path, max_seconds=max_seconds) as sound:
            n_frames, power, power_of_mean = 0, 0.0, 0.0
            for block in sound.blocks:
                n_frames += len(block)
                if sound.channels > 1:
                    mono = block @ np.full(sound.channels, 1 / sound.channels, dtype=np.float32)
                    power += float(np.vdot(block, block)) / sound.channels
                    power_of_mean += float(np.vdot(mono, mono))
    except AudioError as error:
        return ClipInfo(0, 0, 0.0, error.reason)
    note = CANCELLING if power_of_mean <= _CANCELLING_POWER * power else ""
    note = SILENT if sound.peak <= _SILENT_PEAK else note if sound.channels > 1 else ""
    return ClipInfo(sound.sample_rate, sound.channels, n_frames / sound.sample_rate, "", note)


def announced_seconds(path: str | Path) -> float:
    """About how long a sound file is, by its header; 0 for what cannot be opened as one."""
    try:
        with _opened(path, max_seconds=np.inf) as sound:
            return sound.seconds
    except AudioError:
        return 0.0


def header(path: str | Path) -> tuple[int, str, str]:
    """Sample rate; format and encoding as libsndfile names them, "" where a file is not read as it is; `AudioError`."""
    with _opened(path, max_seconds=np.inf) as sound:
        return sound.sample_rate, *sound.form


def resample(x: np.ndarray, rate: int, wanted_rate: int) -> np.ndarray:
    """Resample a signal as `librosa.resample` does by default: ``ceil(n * wanted_rate / rate)`` samples, float32."""
    if rate == wanted_rate or len(x) == 0:
        return x
    n_wanted = int(np.ceil(len(x) * (wanted_rate / rate)))
    y = soxr.resample(x, rate, wanted_rate, quality="soxr_hq")
    # soxr rounds the length in another way than librosa.
    return np.pad(y, (0, n_wanted - len(y))) if len(y) < n_wanted else y[:n_wanted]


@dataclass
class _Sound:
    """An open clip; `n_frames` is by its header, 0 if unknown; `peak` is that of the blocks that have been read."""

    sample_rate: int
    channels: int
    n_frames: int
    seconds: float  # by its header, or a guess
    blocks: Iterator[np.ndarray]  # float32 (n, channels)
    form: tuple[str, str] = ("", "")
    read_at: Callable[[int, int], np.ndarray] | None = None  # mono between two frames, where that is exact
    peak: float = 0.0


@contextmanager
def _opened(path: str | Path, *, max_seconds: float = MAX_SECONDS, partly: bool = False) -> Iterator[_Sound]:
    """Open a clip, by one handle, whose header is plausible and whose bytes are all there, and stay so.

    With `partly`, what is there can be read before the error is raised.
    """
    with _regular_file(path) as file, ExitStack() as stack:
        before = _state(file)
        try:
            if before[0] == 0:
                raise AudioError(str(path), "0 bytes")
            container = containers.examine(file)
        except OSError as error:
            raise AudioError(str(path), f"cannot be read ({error.strerror})") from error
        try:
            yield _plausible(container, file, stack, max_seconds=max_seconds, partly=partly)
        except DecodeError as error:
            raise AudioError(str(path), container.problem or str(error)) from error
        if container.problem:
            raise AudioError(str(path), container.problem)
        # What was checked may not be what was read.
        if _state(file) != before:
            raise AudioError(str(path), "changed while it was read")


@contextmanager
def _regular_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file without a buffer, because decoders move the position of its handle too."""
    try:
        # Opening a pipe or a device can block for ever, so the type of the file is checked first.
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(str(path), "a folder, not an audio file")
        if not stat.S_ISREG(mode):
            raise AudioError(str(path), "not a regular file")
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise AudioError(str(path), "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(str(path), f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    with file:
        yield file


def _state(file: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change of an open file."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _plausible(container: Container, file: BinaryIO, stack: ExitStack, *, max_seconds: float, partly: bool) -> _Sound:
    """Open a clip whose rate and length, by its header, can be those of a sound."""
    if container.problem and not partly:
        raise DecodeError(container.problem)
    sound = _decoded(container, file, stack)
    if not MIN_RATE <= sound.sample_rate <= MAX_RATE:
        raise DecodeError(f"sample rate {sound.sample_rate} Hz, allowed is {MIN_RATE} to {MAX_RATE}")
    if sound.n_frames > max_seconds * sound.sample_rate:
        found = f"{sound.n_frames // sound.sample_rate} s long by its header, allowed is {max_seconds}"
        raise DecodeError(f"{found}; `fsat tag --segments` takes any")
    sound.blocks = _checked(sound, sound.blocks, max_seconds)
    return sound


def _decoded(container: Container, file: BinaryIO, stack: ExitStack) -> _Sound:
    """What libsndfile decodes, or FFmpeg where libsndfile fails, finds nothing or is known to be wrong."""
    reason = ""
    if not container.kind:
        try:
            return _by_libsndfile(container, file, stack)
        except DecodeError as error:
            reason = str(error)
    if not ffmpeg.is_installed():
        if container.kind:
            raise DecodeError(f"{container.kind}, which the extra `formats` reads: {ffmpeg.INSTALL}")
        raise DecodeError(f"{reason}; {ffmpeg.INSTALL} reads more" if reason.startswith(_UNDECODABLE) else reason)
    try:
        content = container.content or Excerpt(file, (0, _state(file)[0]))  # its seek forgives all
        track = stack.enter_context(ffmpeg.opened(content))
        return _Sound(track.sample_rate, track.channels, 0, track.seconds, track.blocks(_BLOCK_FRAMES))
    except DecodeError as error:
        raise DecodeError(reason or f"{_UNDECODABLE} ({container.kind}: {error})") from error


def _by_libsndfile(container: Container, file: BinaryIO, stack: ExitStack) -> _Sound:
    """Open a file and read its first block."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        sound = stack.enter_context(soundfile.SoundFile(container.content or file.fileno(), closefd=False))
    except soundfile.SoundFileError as error:
        raise DecodeError(f"{_UNDECODABLE} ({_reason(error)})") from error
    n_block = max(1, _BLOCK_FRAMES // sound.channels)
    try:
        first = sound.read(n_block, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DecodeError(f"damaged after 0 samples ({_reason(error)})") from error
    if len(first) == 0:
        raise DecodeError("a header without samples")
    form = ("", "") if container.content else (sound.format, sound.subtype)
    seconds = sound.frames / sound.samplerate if sound.samplerate else 0.0
    blocks = _blocks(sound, first, n_block)
    is_exact = {sound.format, sound.subtype} & set(_SOUGHT) and sound.seekable()
    read_at = partial(_read_at, sound, n_block) if is_exact else None
    return _Sound(sound.samplerate, sound.channels, sound.frames, seconds, blocks, form, read_at)


def _read_at(sound: soundfile.SoundFile, n_block: int, start: int, end: int) -> np.ndarray:
    """Frames `start` to `end`, or to the end of the file: the mean of the channels, float32 (n,)."""
    start, end = min(start, sound.frames), min(end, sound.frames)
    x = np.empty(end - start, dtype=np.float32)
    try:
        sound.seek(start)
        for first in range(0, len(x), n_block):
            part = x[first : first + n_block]
            block = sound.read(len(part), dtype="float32", always_2d=True)
            if len(block) < len(part):
                raise DecodeError(f"truncated: {start + first + len(block)} of {sound.frames} samples")
            _peak(block)
            np.mean(block, axis=1, out=part)
    except soundfile.SoundFileError as error:
        raise DecodeError(f"damaged between samples {start} and {end} ({_reason(error)})") from error
    return x


def _blocks(sound: soundfile.SoundFile, block: np.ndarray, n_block: int) -> Iterator[np.ndarray]:
    """Yield the first block and all others; memory does not grow with the clip."""
    n_frames, damage = 0, None
    while len(block):
        n_frames += len(block)
        yield block
        try:
            block = sound.read(n_block, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            if damage is not None:
                break
            damage, n_block = error, _SMALL_BLOCK  # up to the damage in small steps
            with suppress(soundfile.SoundFileError):
                sound.seek(n_frames)
                block = sound.read(n_block, dtype="float32", always_2d=True)
                continue
            break
    if damage is not None:
        raise DecodeError(f"damaged after {n_frames} of {sound.frames} samples ({_reason(damage)})")
    if n_frames < sound.frames:
        raise DecodeError(f"truncated: {n_frames} of {sound.frames} samples")
    for noted in _NOTED.finditer(sound.extra_info) if sound.format in _NOTING else ():
        if noted["more"] is None or int(noted["more"]) > n_frames:
            raise DecodeError(f"truncated: {n_frames} samples, its header announces more ({noted[0]})")


def _checked(sound: _Sound, blocks: Iterator[np.ndarray], max_seconds: float) -> Iterator[np.ndarray]:
    n_frames = 0
    for block in blocks:
        sound.peak = max(sound.peak, _peak(block))
        n_frames += len(block)
        if n_frames > max_seconds * sound.sample_rate:
            raise DecodeError(f"longer than {max_seconds} s; `fsat tag --segments` takes any")
        yield block
    if n_frames == 0:
        raise DecodeError("a header without samples")


def _peak(block: np.ndarray) -> float:
    """The largest sample; `DecodeError` if it is none of a sound."""
    # One pass: a NaN fails the comparison as an infinity does.
    peak = max(block.max(), -block.min())
    if not peak <= MAX_SAMPLE:
        finite = np.isfinite(block).all()
        raise DecodeError(f"samples beyond {MAX_SAMPLE:g}" if finite else "NaN or infinite samples")
    return float(peak)


def _reason(error: Exception) -> str:
    """The error message of libsndfile, without the path."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
