"""A bundle is released and fetched by DVC's own means: the artifact of dvc.yaml, a tag in GTO's format, a remote."""

import shutil
from pathlib import Path

import pytest
import yaml
from tiny_bundle import ROOT, project

from fsat.tagger.tagger import Tagger
from project import call

__all__ = ["project"]


@pytest.fixture(scope="module")
def repository(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the project's artifacts and a bundle that was pushed to a local remote and is gone here."""
    folder = tmp_path_factory.mktemp("repository")
    for command in ("git init -q", "git config user.email a@b.c", "git config user.name n", "dvc init -q"):
        call(folder, *command.split())
    artifacts = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["artifacts"]
    stages = {"bundle": {"cmd": "true", "outs": ["data/bundle"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"artifacts": artifacts, "stages": stages}))
    shutil.copy(ROOT / ".gitignore", folder)
    shutil.copytree(project / "data" / "bundle", folder / "data" / "bundle")
    call(folder, "dvc", "commit", "--quiet", "--force", "bundle")
    call(folder, "dvc", "remote", "add", "--quiet", "--default", "store", str(tmp_path_factory.mktemp("store")))
    call(folder, "dvc", "push", "--quiet")
    call(folder, "git", "add", "--all")
    call(folder, "git", "commit", "--quiet", "--message", "run")
    shutil.rmtree(folder / "data")
    shutil.rmtree(folder / ".dvc" / "cache")
    return folder


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_released_bundle_is_fetched_by_version_and_tags(
    by_hand: bool, repository: Path, project: Path, tmp_path: Path
) -> None:
    version = "v0.0.2" if by_hand else "v0.0.1"
    if by_hand:
        call(repository, "git", "tag", "--annotate", f"tagger@{version}", "--message", "x")
    else:
        call(repository, "gto", "register", "tagger", "--version", version)
    call(tmp_path, "dvc", "artifacts", "get", str(repository), "tagger", "--rev", version, "--out", "fetched")
    clip = project / "sounds" / "test" / "short.wav"
    fetched = Tagger(tmp_path / "fetched")(clip).probabilities
    assert fetched.tobytes() == Tagger(project / "data" / "bundle")(clip).probabilities.tobytes()
