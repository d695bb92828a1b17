"""Digests of the project's code as this process has loaded it. Imported before all other modules, and imports none."""

import hashlib
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def digests() -> dict[str, str]:
    """md5 of each module of `fsat` and `stages` on disk, by its path from the project's root."""
    return {
        path.relative_to(_ROOT).as_posix(): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for package in ("fsat", "stages")
        for path in sorted((_ROOT / package).rglob("*.py"))
    }


# When this module was imported, and so at most milliseconds before the others are.
LOADED = digests()
