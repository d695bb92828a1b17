"""What a killed process or a system leaves in a folder that DVC hashes is no part of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import project

KILLED = """
import os
from fsat.core import files
with files.atomic_folder("out/fold1") as folder, files.atomic_file("out/table.csv") as table:
    (folder / "weights").write_text("half")
    table.write_text("half")
    os._exit(9)
"""


def test_leftovers_of_killed_processes_and_systems_change_no_status(tmp_path: Path) -> None:
    (tmp_path / "out" / "fold0").mkdir(parents=True)
    (tmp_path / "out" / "fold0" / "weights").write_text("whole")
    project.call(tmp_path, "dvc", "init", "--quiet", "--no-scm")
    shutil.copy(project.ROOT / ".dvcignore", tmp_path)
    project.call(tmp_path, "dvc", "add", "--quiet", "out")
    environment = os.environ | {"PYTHONPATH": str(project.ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, check=False)
    assert killed.returncode == 9
    assert len(list((tmp_path / "out").iterdir())) == 3, "a folder and a file are left"
    assert "up to date" in project.call(tmp_path, "dvc", "status").stdout
    for name in (".DS_Store", "fold0/._weights", "Thumbs.db", "__MACOSX/fold0", "fold0/@eaDir/weights"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).touch()
    assert "up to date" in project.call(tmp_path, "dvc", "status").stdout
    (tmp_path / "out" / "fold0" / "weights").write_text("other")
    assert "out" in project.call(tmp_path, "dvc", "status").stdout
