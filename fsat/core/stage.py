"""Common code of the stage scripts: readable errors, wall times, a warning about other library versions."""

import errno
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fsat.core import files, guard, loaded_code, processor
from fsat.core.errors import FsatError, escaped

TIMES = Path("logs/times.csv")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run(main: Callable[..., None], *, prepare: Callable[[], None] | None = None) -> None:
    """Call ``main(*command line arguments)`` of a stage script.

    A problem the user can mend ends the process with its message and exit code 1, without a traceback; so does a
    parameter, module or input that changes while the stage runs. `prepare` is called before these are noted. The wall
    time goes to `logs/times.csv`, which git and DVC ignore: outputs contain no times.
    """
    name = "@".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    started = time.monotonic()
    try:
        _say_other_versions(Path("versions.yaml"))
        for note in processor.notes():
            print(f"note: {note}", file=sys.stderr)
        stage = guard.find(f"stages.{Path(sys.argv[0]).stem}", sys.argv[1:])
        guard.refuse_false_entries(besides=stage.name if stage else "")
        if prepare:
            prepare()
        watch = guard.start(stage) if stage else None
        main(*sys.argv[1:])
        if watch:
            guard.finish(watch)
    except (FsatError, loaded_code.EditedError) as error:
        sys.exit(f"\n{name}: {escaped(error)}\n")
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        sys.exit(
            f"\n{name}: no space left to write {error.filename or 'its output'} ({error.strerror}). "
            "Nothing unfinished was kept. Free some disk space and run `dvc repro` again.\n"
        )
    _log(name, time.monotonic() - started)


def _log(name: str, seconds: float) -> None:
    """Append a wall time to `TIMES`; one line on stderr where that cannot be, as the stage has done its work."""
    try:
        TIMES.parent.mkdir(exist_ok=True)
        with TIMES.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')},{name},{seconds:.2f}\n")
    except OSError as error:
        print(f"note: {TIMES}: the wall time cannot be written ({error.strerror})", file=sys.stderr)


def _say_other_versions(pinned: Path) -> None:
    """Print one line if installed libraries differ from `versions.yaml`: results may then differ in their bytes."""
    if not pinned.is_file():
        return
    other = []
    for package, expected in files.read_yaml(pinned).items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            installed = "not installed"
        if installed != str(expected):
            other.append(f"{package} {installed} (versions.yaml: {expected})")
    if other:
        print(f"note: other library versions than pinned, bytes may differ: {', '.join(other)}", file=sys.stderr)
