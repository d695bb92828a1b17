"""The one exception a user is meant to read, and how its message lists names."""

from collections.abc import Iterable


class FsatError(Exception):
    """An error that the user can fix; shown without a traceback.

    The message names the file or key, what is wrong with it and what to do next.
    """


def shown(text: str) -> str:
    """Text as it can be printed: bytes of a file name that are no UTF-8 are shown as ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def escaped(text: object) -> str:
    """Text as a terminal can show it: what moves a cursor, line ends excepted, as Python spells it."""
    return "\n".join(map(one_line, str(text).split("\n")))


def one_line(text: str) -> str:
    """Text on one line, without what moves a terminal's cursor or ends a field: such characters as Python spells them.

    >>> print(one_line("a\\nb"))
    a\\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown(text))


def listed(items: Iterable[object], *, limit: int = 5) -> str:
    """``a, b, c and 7 more``."""
    names = [shown(str(item)) for item in items]
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
