"""Files of a dataset: which are clips, whether one can be opened, whether a path stays in the dataset's folder."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

# Files with other suffixes are no clips. Formats that cannot be read are in the list so that they are reported.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
    *(".snd", ".au", ".caf", ".w64", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".aac", ".wma", ".wmv", ".webm"),
    *(".weba", ".mkv", ".mka", ".avi", ".mp2", ".amr", ".ape", ".wv"),
)


# Folders that systems and network disks leave beside and among clips.
_FOREIGN = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}


def is_foreign(name: str) -> bool:
    """Whether a file or folder is hidden or one that a system made: no clip, no class folder."""
    return name.startswith(".") or name.lower() in _FOREIGN


def composed(text: str) -> str:
    """A name with composed accents: macOS decomposes them in file names, tables do not."""
    return unicodedata.normalize("NFC", text)


def inside(folder: str | Path, path: str | Path) -> bool:
    """Whether a path, symbolic links followed, stays in the folder.

    Links into a DVC cache (``cache.type: symlink``) count as inside: they are how DVC itself lays out a dataset.
    """
    real, home = os.path.realpath(path), os.path.realpath(folder)
    in_cache = re.search(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$", real) is not None
    return real == home or real.startswith(home + os.sep) or in_cache


def leaves_folder(fname: str) -> bool:
    """Whether a name, read as a POSIX or as a Windows path, is absolute or contains ``..`` or a NUL character."""
    windows = PureWindowsPath(fname)  # takes both / and \ as separators
    return ".." in windows.parts or bool(windows.root) or bool(re.match(r"[A-Za-z]:[\\/]", fname)) or "\0" in fname


def file_problem(path: Path) -> str:
    """Why a path cannot be read as a file; empty if it can. Pipes and devices are refused: opening one can block."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # also a name that is too long
        return "file is missing"
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    return "" if stat.S_ISREG(mode) else "is not a regular file"


def is_audio(name: str) -> bool:
    """Whether a file name has one of the `AUDIO_SUFFIXES`; case does not matter."""
    return Path(name).suffix.lower() in AUDIO_SUFFIXES


def files_below(folder: Path) -> Iterator[str]:
    """Names of the files below a folder, relative to it; foreign files and folders are left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_foreign(name)]
        for name in names:
            if not is_foreign(name):
                yield (Path(parent) / name).relative_to(folder).as_posix()
