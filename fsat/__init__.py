"""fsat: a reproducible audio-tagging pipeline. See docs/ARCHITECTURE.md for the package layout."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsat.tagger.results import Tagged
    from fsat.tagger.tagger import Tagger

__all__ = ["Tagged", "Tagger"]


def __getattr__(name: str) -> Any:
    """Import `Tagger` and `Tagged` when they are asked for, so that ``import fsat`` loads nothing."""
    if name in __all__:
        from fsat.tagger import tagger

        return getattr(tagger, name)
    raise AttributeError(f"module 'fsat' has no attribute {name!r}")
