"""The command `fsat app` in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project import ROOT


@contextmanager
def running(
    code: str, bundle: Path, uploads: Path, *words: str, end: signal.Signals, **environment: str
) -> Iterator[int]:
    """Run the app, by `code` that calls `main`, and yield its port; ended by a signal, it leaves nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "app", "--model", str(bundle), "--port", str(port), *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(uploads)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"fsat app: http://127.0.0.1:{port} (Ctrl+C ends it)\n", process.communicate()
    try:
        yield port
    finally:
        process.send_signal(end)
        output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("", "", 0)
    assert list(uploads.iterdir()) == []  # uploads are gone
