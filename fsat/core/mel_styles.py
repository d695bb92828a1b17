"""The two front ends that `mel.style` names: the numbers of a log-mel spectrogram that belong together.

The bands of both begin at 0 Hz. A module of its own, so that who only needs the limits of the values does not depend on
the code that computes them.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MelStyle:
    """Numbers of one front end."""

    pre_emphasis: float  # share of the sample before that is taken off each sample
    window_ms: int | None  # length of the Hann window; None: all samples of a Fourier transform
    window: Literal["periodic", "symmetric"]
    pad_mode: Literal["constant", "reflect"]  # beyond the ends of a clip: zeros, or the clip mirrored
    f_max_hz: int | None  # upper end of the highest band; None: half the sample rate
    log: Literal["decibel", "natural"]  # decibels down to 80 below a clip's peak, or ln(power + 1e-5)
    limits: tuple[float, float]  # values that a network reads as 0 and 1

    def window_samples(self, sample_rate: int, n_fft: int) -> int:
        """Length of the Hann window."""
        return n_fft if self.window_ms is None else sample_rate * self.window_ms // 1000


MEL_STYLES = {
    # Slaney's bands of equal area; the limits are those of FSDKaggle2018's training clips.
    "librosa": MelStyle(
        pre_emphasis=0.0, window_ms=None, window="periodic", pad_mode="constant", f_max_hz=None, log="decibel",
        limits=(-90.5, 39.21),
    ),
    # HTK's bands of equal height; the numbers with which EfficientAT was trained on AudioSet.
    "kaldi": MelStyle(
        pre_emphasis=0.97, window_ms=25, window="symmetric", pad_mode="reflect", f_max_hz=15_000, log="natural",
        limits=(-4.5, 0.5),
    ),
}  # fmt: skip
