"""Read a clip as float32 mono at a wanted rate, or say why it cannot be read.

A clip is either read completely or refused with a reason: a decode error never becomes a shorter or silent example.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from fsat.core.errors import FsatError

# With a damaged header that says 1 Hz or 4 GHz, resampling would use all memory.
MIN_RATE, MAX_RATE = 1_000, 1_000_000
MAX_SECONDS = 3_600
# Larger than in any sound file; the power spectrum of such samples is still finite in float32.
MAX_SAMPLE = 1e6
_BLOCK_FRAMES = 1 << 18
_MAX_CHUNKS = 1_000
# First four bytes of formats made of chunks: byte order, and name of the chunk that holds the samples.
_CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RF64": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"FORM": ("big", b"SSND"),
}
_UNKNOWN_SIZES = {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}  # written by encoders that stream and cannot go back


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
    """What a clip file holds; `problem` is empty if it can be used, else the other fields are 0."""

    sample_rate: int
    channels: int
    seconds: float
    problem: str


def load(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read a clip as mono at a wanted rate.

    Parameters
    ----------
    path : str or Path
        Anything libsndfile decodes: WAV, FLAC, OGG, MP3, AIFF ...
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
        x = np.empty(sound.frames, dtype=np.float32)  # one array: blocks put together would need twice the memory
        n = 0
        for block in _blocks(sound, path):
            if n + len(block) > len(x):  # a header that announces too little
                x = np.concatenate([x[:n], np.empty(2 * len(x) + len(block), dtype=np.float32)])
            np.mean(block, axis=1, out=x[n : n + len(block)])
            n += len(block)
        rate = sound.samplerate
    return resample(x[:n], rate, sample_rate)


def stream(path: str | Path, sample_rate: int, *, max_seconds: float = np.inf) -> Iterator[np.ndarray]:
    """Yield the samples of `load` block by block, so that memory does not grow with their number.

    Parameters
    ----------
    path, sample_rate
        See `load`.
    max_seconds : float
        A file that is longer by its header is refused.

    Yields
    ------
    np.ndarray [shape=(m,), dtype=float32]
        Consecutive samples; m varies and can be 0.

    Raises
    ------
    AudioError
        As `load` does. Damage behind the header is found when it is reached: the blocks yielded before it are good.
    """
    with _opened(path, max_seconds=max_seconds) as sound:
        rate = sound.samplerate
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="soxr_hq")
        n_read = n_given = 0
        for block in _blocks(sound, path):
            n_read += len(block)
            mono = block.mean(axis=1)
            y = mono if rate == sample_rate else resampler.resample_chunk(mono)
            n_given += len(y)
            yield y
        if rate != sample_rate:
            y = resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            n_left = int(np.ceil(n_read * (sample_rate / rate))) - n_given
            yield np.pad(y, (0, max(0, n_left - len(y))))[: max(0, n_left)]


def load_interval(path: str | Path, start: int, end: int, sample_rate: int) -> np.ndarray:
    """Read samples `start` to `end` (excluded), counted at `sample_rate`; see `load`.

    With ``start == end`` the file is not opened: a test clip that cannot be read counts as an empty signal.
    """
    if start == end:
        return np.zeros(0, dtype=np.float32)
    return load(path, sample_rate)[start:end]


def probe(path: str | Path) -> ClipInfo:
    """Decode a whole clip block by block; a clip that cannot be used gives a `problem`, not an exception."""
    try:
        with _opened(path) as sound:
            n_frames = sum(len(block) for block in _blocks(sound, path))
            return ClipInfo(sound.samplerate, sound.channels, n_frames / sound.samplerate, "")
    except AudioError as error:
        return ClipInfo(0, 0, 0.0, error.reason)


def announced_seconds(path: str | Path) -> float:
    """Length of a sound file by its header; 0 for what cannot be opened as one."""
    try:
        with _opened(path, max_seconds=np.inf) as sound:
            return float(sound.frames / sound.samplerate)
    except AudioError:
        return 0.0


def resample(x: np.ndarray, rate: int, wanted_rate: int) -> np.ndarray:
    """Resample a signal as `librosa.resample` does by default: ``ceil(n * wanted_rate / rate)`` samples, float32."""
    if rate == wanted_rate or len(x) == 0:
        return x
    n_wanted = int(np.ceil(len(x) * (wanted_rate / rate)))
    y = soxr.resample(x, rate, wanted_rate, quality="soxr_hq")
    # soxr rounds the length in another way than librosa.
    return np.pad(y, (0, n_wanted - len(y))) if len(y) < n_wanted else y[:n_wanted]


@contextmanager
def _opened(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> Iterator[soundfile.SoundFile]:
    """Open a clip whose header is plausible and whose bytes are all there, and stay so until it has been read."""
    try:
        # Opening a pipe or a device can block for ever, so the type of the file is checked first.
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(str(path), "a folder, not an audio file")
        if not stat.S_ISREG(mode):
            raise AudioError(str(path), "not a regular file")
        stream = Path(path).open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise AudioError(str(path), "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(str(path), f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    with stream:
        before = _state(stream)
        try:
            _check_container(stream, path)
        except OSError as error:
            raise AudioError(str(path), f"cannot be read ({error.strerror})") from error
        try:
            sound = soundfile.SoundFile(str(path))
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: the suffix says headerless .raw
            raise AudioError(str(path), f"not audio that can be decoded ({_reason(error)})") from error
        with sound:
            if not MIN_RATE <= sound.samplerate <= MAX_RATE:
                raise AudioError(str(path), f"sample rate {sound.samplerate} Hz, allowed is {MIN_RATE} to {MAX_RATE}")
            if sound.frames > max_seconds * sound.samplerate:
                found = f"{sound.frames // sound.samplerate} s long by its header, allowed is {max_seconds}"
                raise AudioError(str(path), f"{found}; `fsat tag --segments` takes any")
            yield sound
        # What was checked may not be what was read.
        if _state(stream) != before:
            raise AudioError(str(path), "changed while it was read")


def _state(stream: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change of an open file."""
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns


def _blocks(sound: soundfile.SoundFile, path: str | Path) -> Iterator[np.ndarray]:
    """Yield float32 blocks (n_frames, channels) of an open clip, checked; memory does not grow with the clip."""
    n_frames, block_frames = 0, max(1, _BLOCK_FRAMES // sound.channels)
    while True:
        try:
            block = sound.read(block_frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(str(path), f"damaged after {n_frames} samples ({_reason(error)})") from error
        if len(block) == 0:
            break
        # One pass: a NaN fails the comparison as an infinity does.
        if not max(block.max(), -block.min()) <= MAX_SAMPLE:
            finite = np.isfinite(block).all()
            raise AudioError(str(path), f"samples beyond {MAX_SAMPLE:g}" if finite else "NaN or infinite samples")
        n_frames += len(block)
        yield block
    if n_frames < sound.frames:
        raise AudioError(str(path), f"truncated: {n_frames} of {sound.frames} samples")
    if n_frames == 0:
        raise AudioError(str(path), "a header without samples")


def _reason(error: Exception) -> str:
    """The error message of libsndfile, without the path."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _check_container(stream: BinaryIO, path: str | Path) -> None:
    """Compare the size in a header with the size of the file: libsndfile reads a truncated file without an error."""
    head = stream.read(12)
    if not head:
        raise AudioError(str(path), "0 bytes")
    if head[:4] in _CHUNKED:
        announced, present = _chunk_of_samples(stream, *_CHUNKED[head[:4]])
        if announced > present and announced not in _UNKNOWN_SIZES:
            raise AudioError(str(path), f"truncated: {present} of {announced} bytes of samples")
    elif head[:4] == b"OggS" and not _ogg_ends(stream):
        raise AudioError(str(path), "truncated: no end-of-stream page")


def _chunk_of_samples(stream: BinaryIO, order: Literal["little", "big"], name: bytes) -> tuple[int, int]:
    """Bytes of the chunk `name` of a WAV or AIFF: by its header, and present; (0, 0) if there is no such chunk."""
    size = stream.seek(0, 2)
    position, wide_size = 12, 0xFFFFFFFF
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        chunk = stream.read(8)
        if len(chunk) < 8:
            break
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"ds64":  # RF64 keeps the 64-bit length of its data here
            wide_size = int.from_bytes(stream.read(16)[8:], "little")
        if chunk[:4] == name:
            return (wide_size if length == 0xFFFFFFFF else length), size - position - 8
        position += 8 + length + length % 2
    return 0, 0


def _ogg_ends(stream: BinaryIO) -> bool:
    """Whether the last Ogg page has the end-of-stream flag and all its bytes (RFC 3533); a page is under 64 KiB."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 70_000))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
