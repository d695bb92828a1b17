"""Short-time Fourier transform in blocks of frames, so that memory does not grow with the length of a signal.

Spectrograms are (n_frames, n_bins): time first. Frames are centred, with a Hann window and zeros around the signal, as
those of `librosa.stft`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

# The last block takes what is left, up to twice as much: short blocks would make matrix products round in another way.
BLOCK_FRAMES = 1024
_FFT_FRAMES = 64  # frames of one transform stay in the processor's cache


def frame_count(n_samples: int, n_fft: int, hop_length: int) -> int:
    """Centred frames of a signal: 1 + n_samples // hop_length for even `n_fft`."""
    return 1 + (n_samples + 2 * (n_fft // 2) - n_fft) // hop_length


@dataclass(frozen=True)
class Stft:
    """The transform of a signal, of which any range of frames can be computed."""

    x: np.ndarray  # float32 (n,)
    n_fft: int  # samples of a frame
    hop_length: int  # samples from frame to frame

    @property
    def n_frames(self) -> int:
        """Number of frames; see `frame_count`."""
        return frame_count(len(self.x), self.n_fft, self.hop_length)

    def with_magnitude(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames `first` to `end` (exclusive) and their magnitude: complex64, float32 (end - first, 1 + n_fft // 2)."""
        if len(blocks(self.n_frames)) > 1:
            return self._computed(first, end)
        spectrum, magnitude = self._whole
        return spectrum[first:end], magnitude[first:end]

    @cached_property
    def _whole(self) -> tuple[np.ndarray, np.ndarray]:
        """All frames of a signal that is one block: they are asked for more than once."""
        return self._computed(0, self.n_frames)

    def _computed(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        spectrum = np.empty((end - first, 1 + self.n_fft // 2), dtype=np.complex64)
        for part, frames in self.frames(first, end):
            # In float64: rounding in a float32 transform shows in the valleys of the spectral contrast.
            windowed = frames * hann(self.n_fft)
            spectrum[part.start - first : part.stop - first] = scipy.fft.rfft(windowed, overwrite_x=True)
        return spectrum, np.abs(spectrum)

    def magnitudes(self) -> Iterator[np.ndarray]:
        """Yield the magnitude of all frames block by block: float32 (n_block, 1 + n_fft // 2)."""
        for first, end in blocks(self.n_frames):
            yield self.with_magnitude(first, end)[1]

    def frames(self, first: int, end: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield 64 frames at a time and their samples, zeros outside the signal: float32 (64, n_fft), read-only."""
        start = first * self.hop_length - self.n_fft // 2
        stop = (end - 1) * self.hop_length - self.n_fft // 2 + self.n_fft
        samples = sliding_window_view(_padded(self.x, start, stop), self.n_fft)[:: self.hop_length]
        for position in range(first, end, _FFT_FRAMES):
            part = slice(position, min(position + _FFT_FRAMES, end))
            yield part, samples[part.start - first : part.stop - first]


def blocks(n_frames: int) -> list[tuple[int, int]]:
    """First frame and end of each block.

    >>> blocks(1), blocks(1500), blocks(2100)
    ([(0, 1)], [(0, 1500)], [(0, 1024), (1024, 2100)])
    """
    starts = range(0, max(n_frames - BLOCK_FRAMES, 0) + 1, BLOCK_FRAMES)
    return [(start, n_frames if start == starts[-1] else start + BLOCK_FRAMES) for start in starts]


def _padded(x: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Samples `start` to `stop`, both of which may lie outside the signal, where it is 0."""
    inside = x[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    return np.pad(inside, (before, stop - start - before - len(inside)))


@lru_cache(maxsize=4)
def hann(n: int) -> np.ndarray:
    """Periodic Hann window, float64 (n,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
