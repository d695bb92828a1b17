"""The one exception a user is meant to read, and how its message lists names."""

from collections.abc import Iterable


class FsatError(Exception):
    """An error that the user can fix; shown without a traceback.

    The message names the file or key, what is wrong with it and what to do next.
    """


def shown(text: str) -> str:
    """Text as it can be printed: bytes of a file name that are no UTF-8 are shown as ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def listed(items: Iterable[object], *, limit: int = 5) -> str:
    """``a, b, c and 7 more``."""
    names = [shown(str(item)) for item in items]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
