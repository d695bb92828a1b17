"""Importing TensorFlow without the notes it prints about its own build."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Notes on oneDNN and absent CUDA drivers, which no setting of TensorFlow 2.21 turns off.
_NOTES = re.compile(rb"^(I0000 |WARNING: All log messages before absl::InitializeLog|E0000 .*cuInit)")


@contextmanager
def without_startup_notes() -> Iterator[None]:
    """Hold back what the process writes to standard error inside; all but the notes is written at the end."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not _NOTES.match(line):
                    os.write(2, line)
