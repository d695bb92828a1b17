"""A bundle's logistic regressions, and the views of whole clips that they read."""

from collections.abc import Iterator, Sequence

import numpy as np

from fsat.core.numeric import one_blas_thread
from fsat.inputs import whole_clips
from fsat.inputs.examples import Clips
from fsat.scoring import ensemble
from fsat.tagger import arrays, sessions
from fsat.tagger.bundle import STATISTICS, TRUNK, Bundle, Read


class Trunk:
    """The bundle's trunk, opened for inference: the views `names` of whole clips; without any it opens nothing.

    `threads` as of `Tagger`. `FsatError` if the file is damaged or does not fit the bundle.
    """

    def __init__(self, bundle: Bundle, names: Sequence[str], *, threads: int | None) -> None:
        """Check and open the file."""
        self._lengths = {name: bundle.manifest.views[name] for name in names}
        if names:
            session = sessions.open_trunk(bundle, threads=threads)
            self._predict = sessions.viewer(session, views=names, name=str(bundle.folder / TRUNK))

    def views(self, clips: Clips, *, batch_bins: int, name: str) -> dict[str, np.ndarray]:
        """Each view of each clip, float32 (n, k); `batch_bins` and `name` as of `whole_clips.outputs`."""
        if not self._lengths:
            return {}
        lengths = list(self._lengths.values())
        sizes: dict[str, int] = {"n_outputs": sum(lengths), "batch_bins": batch_bins}
        joint = whole_clips.outputs(self._predict, clips.store, None, name=name, **sizes)
        return dict(zip(self._lengths, np.split(joint, np.cumsum(lengths)[:-1], axis=1), strict=True))


class Regressions:
    """The regressions `names` of a bundle; `FsatError` if their file is damaged or does not fit the bundle."""

    def __init__(self, bundle: Bundle, names: Sequence[Read]) -> None:
        """Check and open the file."""
        self._fitted = arrays.load_regressions(bundle, names)

    def probabilities(self, clips: Clips, views: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each regression's name and its probabilities (n, C) of clips, which have the components it reads."""
        for name, fitted in self._fitted.items():
            features = clips.components if name == STATISTICS else views[name]
            if features is None:
                raise ValueError("a regression on statistics needs components")
            with one_blas_thread():
                yield name, ensemble.linear(features, *fitted)
