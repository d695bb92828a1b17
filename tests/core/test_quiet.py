"""Only TensorFlow's notes on itself are held back."""

import os

import pytest

from fsat.core.quiet import without_startup_notes

NOTE = b"I0000 00:00:1700000000.000000    1 port.cc:153] oneDNN custom operations are on.\n"


def test_notes_are_dropped_and_all_else_comes_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    with without_startup_notes():
        os.write(2, NOTE)
        os.write(2, b"something else\n")
    assert capfd.readouterr().err == "something else\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_the_cause_of_a_failed_import_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), without_startup_notes():
        os.write(2, NOTE + b"cause\n")
        raise ImportError
    assert capfd.readouterr().err == "cause\n"
