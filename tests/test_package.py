"""The package as others get it: the wheel is whole, and every file names the same version."""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import yaml

import project


def test_the_wheel_holds_every_module_and_template(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    listed = project.call(project.ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout
    names = [name for name in listed.splitlines() if (project.ROOT / name).is_file()]
    package = {name for name in names if name.startswith("fsat/")}
    for name in [*package, "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    project.call(tmp_path, *pip, *offline, "--target", str(target), str(source))
    installed = {path.relative_to(target).as_posix() for path in (target / "fsat").rglob("*") if path.is_file()}
    assert installed == package
    assert any(name.startswith("fsat/report/templates/") for name in installed)


def test_every_file_names_the_same_version() -> None:
    version = tomllib.loads((project.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert yaml.safe_load((project.ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    changelog = (project.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, flags=re.MULTILINE)[0] == version
