"""The logistic regression of a bundle that stage 2 is fused with."""

import numpy as np

from fsat.core.numeric import log_probabilities, one_blas_thread
from fsat.inputs import whole_clips
from fsat.inputs.examples import Clips
from fsat.scoring import ensemble
from fsat.tagger import arrays, sessions
from fsat.tagger.bundle import TRUNK, Bundle, Fusion


class LateFusion:
    """The bundle's logistic regression, opened for inference.

    `settings` are those of the bundle's manifest, `threads` as of `Tagger`. `FsatError` if the bundle's files are
    damaged or do not fit together.
    """

    def __init__(self, bundle: Bundle, settings: Fusion, *, threads: int | None) -> None:
        """Check and open the files."""
        self._settings = settings
        n_features = settings.n_embedding + bundle.manifest.networks["stage2"].n_components
        self._weights, self._bias = arrays.load_baseline(bundle, n_features)
        self._embed = None
        if settings.n_embedding:
            session = sessions.open_trunk(bundle, settings.n_embedding, threads=threads)
            self._embed = sessions.embedder(session, name=str(bundle.folder / TRUNK))

    def fuse(self, probabilities: np.ndarray, clips: Clips) -> np.ndarray:
        """Probabilities (n, C) of the networks, fused with those of the regression; `clips` have components."""
        if clips.components is None:
            raise ValueError("late fusion needs components")
        parts = [clips.components]
        if self._embed is not None:
            n_embedding = self._settings.n_embedding
            parts.insert(0, whole_clips.outputs(self._embed, clips.store, n_outputs=n_embedding, name=""))
        with one_blas_thread():
            regression = ensemble.linear(np.concatenate(parts, axis=1), self._weights, self._bias)
        weight = self._settings.baseline_weight
        total = log_probabilities(probabilities) + weight * log_probabilities(regression)
        return ensemble.geometric_mean([total / (1 + weight)])
