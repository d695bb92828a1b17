"""Digests of the project's code as this process has loaded it. Imported before all other modules, and imports none."""

import hashlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).resolve().parents[2]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def digests() -> dict[str, str]:
    """md5 of each module of `fsat` and `stages` on disk, by its path from the project's root."""
    return {
        path.relative_to(_ROOT).as_posix(): _md5(path)
        for package in ("fsat", "stages")
        for path in sorted((_ROOT / package).rglob("*.py"))
        if path.is_file()  # no link to nowhere, such as Emacs has for a file that is open
    }


LOADED = digests()


class EditedError(ImportError):
    """A module is not what it was when the process began."""


class _Unchanged(MetaPathFinder):
    """Refuses a module that was edited since the process began: many are imported seconds later, after Keras."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Leave the module to the other finders, or raise `EditedError`."""
        name = f"{fullname.replace('.', '/')}.py"
        if name in LOADED and _md5(_ROOT / name) != LOADED[name]:
            raise EditedError(f"{name} was edited while this process was starting. Run the command again.")


sys.meta_path.insert(0, _Unchanged())
