"""The logistic regression of a bundle that stage 2 is fused with."""

import numpy as np

from fsat.inputs import whole_clips
from fsat.inputs.examples import Examples
from fsat.scoring import ensemble, fusion
from fsat.tagger import arrays, sessions
from fsat.tagger.bundle import TRUNK, Bundle, Fusion
from fsat.tagger.windows import one_blas_thread


class LateFusion:
    """Ready to be asked.

    Parameters
    ----------
    bundle : Bundle
    settings : Fusion
        That of the bundle's manifest.
    threads : int or None
        Threads of ONNX Runtime; None: one a core.

    Raises
    ------
    FsatError
        If the bundle's files are damaged or do not fit together.
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

    def fuse(self, probabilities: np.ndarray, examples: Examples) -> np.ndarray:
        """Probabilities (n, C) of the networks, fused with those of the regression; `examples` have components."""
        if examples.components is None:
            raise ValueError("late fusion needs components")
        parts = [examples.components]
        if self._embed is not None:
            n_embedding = self._settings.n_embedding
            parts.insert(0, whole_clips.embed(self._embed, examples.store, n_outputs=n_embedding, name=""))
        with one_blas_thread():
            baseline = ensemble.linear(np.concatenate(parts, axis=1), self._weights, self._bias)
        return fusion.fuse_probabilities(probabilities, baseline, weight=self._settings.baseline_weight)
