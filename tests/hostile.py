"""A pickle that does something when it is unpickled."""

import pickle
from pathlib import Path
from typing import Any


class Hostile:
    """Unpickling this creates a file."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trap,))


def hostile_pickle(trap: Path) -> bytes:
    """Bytes of a pickle that creates the file `trap` when unpickled, shown to work."""
    data = pickle.dumps(Hostile(trap))
    pickle.loads(data)  # noqa: S301
    trap.unlink()
    return data
