"""Parameters -> `data/filters/`: the mel filters of `mel` and those of `spectral`, each in a file of its own."""

import librosa
import numpy as np

from fsat.core import params
from fsat.core.stage import run
from fsat.features import mel_bank


def main() -> None:
    """Make and write both."""
    p = params.read()
    spectral = mel_bank.for_spectral(p.audio.sample_rate, p.spectral.n_fft)
    for name, purpose in (("mel", mel_bank.for_mel(p.mel)), ("spectral", spectral)):
        mel_bank.write(f"data/filters/{name}.npz", bank_for(purpose), purpose)


def bank_for(purpose: mel_bank.Purpose) -> np.ndarray:
    """Mel filters, float32 (1 + n_fft // 2, n_mels): librosa's, or Kaldi's, which librosa does not have."""
    if purpose.style == "kaldi":
        return mel_bank.kaldi(purpose)
    bank = librosa.filters.mel(sr=purpose.sample_rate, n_fft=purpose.n_fft, n_mels=purpose.n_mels)
    return np.ascontiguousarray(bank.T)


if __name__ == "__main__":
    run(main)
