"""What a stage does beside its work."""

import sys
from pathlib import Path

import pytest

from fsat.core import stage


def test_a_wall_time_that_cannot_be_written_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/mel.py"])
    log = Path("logs/times.csv")
    stage.run(lambda: None)
    assert log.read_text().count(",mel,") == 1
    log.unlink()
    log.symlink_to("/dev/full")
    stage.run(lambda: None)
    log.unlink()
    log.parent.rmdir()
    log.parent.touch()
    stage.run(lambda: None)
    full, no_folder = capsys.readouterr().err.splitlines()
    assert full.startswith("note: logs/times.csv: the wall time cannot be written (No space left")
    assert no_folder.startswith("note: logs/times.csv: the wall time cannot be written (")
