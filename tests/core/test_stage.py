"""What a stage does beside its work."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fsat.core import stage


def folder_is_a_file() -> None:
    Path("logs").touch()


def file_is_a_folder() -> None:
    Path("logs/times.csv").mkdir(parents=True)


def disk_is_full() -> None:
    Path("logs").mkdir()
    Path("logs/times.csv").symlink_to("/dev/full")


@pytest.mark.parametrize("spoil", [folder_is_a_file, file_is_a_folder, disk_is_full])
def test_a_wall_time_that_cannot_be_written_is_a_note(
    spoil: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/mel.py"])
    stage.run(lambda: None)
    assert Path("logs/times.csv").read_text().count(",mel,") == 1
    Path("logs/times.csv").unlink()
    Path("logs").rmdir()
    spoil()
    stage.run(lambda: None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: logs/times.csv: the wall time cannot be written (")
