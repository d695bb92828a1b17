"""Messages say what is wrong, and a terminal obeys nothing in them."""

from pathlib import Path

import pytest

from fsat.core import stage
from fsat.core.errors import FsatError, escaped


def test_what_moves_a_cursor_is_spelt_out() -> None:
    assert escaped("a\nb\x1b[2J\r\t\u202e\x9b é 你 c\udcff") == "a\nb\\x1b[2J\\r\\t\\u202e\\x9b é 你 c?"


def test_a_stage_prints_its_error_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def main(*_: str) -> None:
        raise FsatError("clips:\n    \x1b]0;title\x07.wav")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["index.py"])
    with pytest.raises(SystemExit) as ended:
        stage.run(main)
    assert ended.value.code == "\nindex: clips:\n    \\x1b]0;title\\x07.wav\n"
