"""Each check of `fsat doctor`, on machines that are told to it."""

from pathlib import Path

import pytest

from fsat import doctor
from fsat.core import guard, params, processor
from fsat.core.errors import FsatError
from fsat.doctor import GIB, Check

ROOT = Path(__file__).parents[1]


def test_python() -> None:
    for version, status in (((3, 10, 9), "missing"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "missing")):
        assert doctor.python(version).status == status


def test_libraries(tmp_path: Path) -> None:
    import numpy as np

    pinned = tmp_path / "versions.yaml"
    assert doctor.versions(pinned).status == "warn"
    for text, status, words in (
        (f"numpy: {np.__version__}\n", "ok", ""),
        ("numpy: 1.0.0\n", "warn", f"numpy {np.__version__} (pinned: 1.0.0)"),
        ("numpy: 1.0.0\nno-such-package-here: 1\n", "missing", "not installed: no-such-package-here"),
    ):
        pinned.write_text(text)
        found = doctor.versions(pinned)
        assert found.status == status and words in found.text


def test_memory() -> None:
    assert [doctor.memory(gib).status for gib in (None, 1.0, 16.0)] == ["warn", "warn", "ok"]
    assert (doctor.total_memory() or 1) > 0.1


def test_disk_counts_what_is_still_to_be_written(tmp_path: Path) -> None:
    full = "data/fsdkaggle2018"
    for gib, copies, status in ((10, False, "missing"), (20, False, "ok"), (20, True, "missing")):
        assert doctor.disk(gib * GIB, tmp_path, full, copies=copies).status == status
    (tmp_path / full).mkdir(parents=True)
    assert doctor.disk(10 * GIB, tmp_path, full, copies=False).status == "ok"
    assert doctor.disk(GIB, tmp_path, "sounds", copies=True).status == "ok"


@pytest.mark.parametrize(
    ("configured", "supported", "is_root", "status", "shared", "words"),
    [
        ("reflink,copy", "hardlink, symlink", False, "ok", False, "takes its space twice"),
        ("reflink,copy", "reflink, hardlink, symlink", True, "ok", True, "shared with the cache by reflink"),
        ("hardlink", "hardlink, symlink", False, "ok", True, "shared with the cache by hardlink"),
        ("hardlink,copy", "hardlink, symlink", True, "warn", True, "without a word"),
        ("reflink,copy", "", False, "ok", False, "shows after a run"),
    ],
)
def test_cache_type(configured: str, supported: str, is_root: bool, status: str, shared: bool, words: str) -> None:
    check, links = doctor.cache_type("3.67.1", configured, supported, is_root=is_root)
    assert (check.status, links) == (status, shared)
    assert words in check.text


def test_dvc_is_looked_for_in_this_folder(tmp_path: Path) -> None:
    check, _ = doctor.dvc(tmp_path)
    assert check.status == "missing" and "go to the project's folder" in check.text
    check, _ = doctor.dvc(ROOT)
    assert check.status in ("ok", "warn") and "cache.type" in check.text


def test_tensorflow() -> None:
    seen = "noise\nfsat-found 2.21.0 {}\n"
    assert doctor.tensorflow(0, seen.format(1), "", gpus=[]) == Check("TensorFlow", "ok", "2.21.0, sees 1 GPU")
    assert doctor.tensorflow(0, seen.format(0), "", gpus=[]).status == "ok"
    unseen = doctor.tensorflow(0, seen.format(0), "", gpus=["GPU 0: NVIDIA H200"])
    assert unseen.status == "warn" and "there is GPU 0: NVIDIA H200" in unseen.text and "[cuda]" in unseen.text
    broken = doctor.tensorflow(1, "", "Traceback\nModuleNotFoundError: No module named 'tensorflow'\n", gpus=[])
    assert broken.status == "missing" and "No module named 'tensorflow'" in broken.text


def test_parameters(tmp_path: Path) -> None:
    settings, check = doctor.parameters(ROOT)
    assert check.status == "ok" and settings is not None
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("n_mels: 64", "n_mels: 0"), encoding="utf-8")
    settings, check = doctor.parameters(tmp_path)
    assert settings is None and check.status == "missing" and "mel.n_mels: must be at least 1" in check.text


def test_dataset(tmp_path: Path) -> None:
    assert doctor.dataset(tmp_path, "data/demo").status == "ok"
    assert doctor.dataset(tmp_path, "sounds").status == "missing"
    for name in ("sounds/Bark/1.wav", "sounds/Gong/1.wav", "table/audio_train/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"RIFF")
    found = doctor.dataset(tmp_path, "sounds")
    assert found.status == "ok" and "2 training clips, 0 test clips" in found.text
    (tmp_path / "table" / "train.csv").write_text("fname,label\na.wav,Bark\nb.wav,Gong\n")
    absent = doctor.dataset(tmp_path, "table")
    assert absent.status == "missing" and "1 problems" in absent.text


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "sounds" / "Bark").mkdir(parents=True)
    for name, target in (("gone.wav", "nowhere.wav"), ("loop", "loop")):
        (tmp_path / "sounds" / "Bark" / name).symlink_to(target)
    found = doctor.dataset(tmp_path, "sounds")
    assert found.status == "missing" and "Bark/gone.wav, Bark/loop. Put their files back" in found.text


def test_a_folder_without_git(tmp_path: Path) -> None:
    found = doctor.repository(tmp_path)
    assert found is not None and found.status == "missing" and "git init && git add . && git commit" in found.text
    (tmp_path / ".git").touch()  # of a worktree
    (tmp_path / "inner").mkdir()
    assert doctor.repository(tmp_path) is None and doctor.repository(tmp_path / "inner") is None


def test_initial_weights(tmp_path: Path) -> None:
    for name, how in (("random", "makes"), ("imagenet", "downloads"), ("audioset", "downloads")):
        made = doctor.initial_weights(tmp_path, f"data/pretrained/{name}.weights.h5")
        assert made.status == "ok" and f"`dvc repro` {how} it" in made.text
    assert doctor.initial_weights(tmp_path, "mine.weights.h5").status == "missing"
    (tmp_path / "mine.weights.h5").touch()
    assert doctor.initial_weights(tmp_path, "mine.weights.h5").status == "ok"


def test_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*processor.NUMPY, *processor.LIMITS, *processor.ONEDNN, *processor.PORTABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processor, "flags", lambda: processor._V3 | {"avx512f"})
    p = params.read(ROOT / "params.yaml")
    lock = "stages:\n  stage1@0:\n    params:\n      params.yaml:\n        train.portable: {}\n"
    for locked, words in (("true", "AVX2 (train.portable true)"), ("false", "`dvc repro` trains anew")):
        (tmp_path / "dvc.lock").write_text(lock.format(locked))
        found = doctor.computes_with(tmp_path, p)
        assert found.status == "ok" and "AVX-512. dvc.lock is its own" in found.text and found.text.endswith(words)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    assert "sets OPENBLAS_CORETYPE=Zen: unset it" in doctor.computes_with(tmp_path, p).text
    monkeypatch.setattr(processor, "flags", set)
    assert "no x86-64 with AVX2. dvc.lock is not its own" in doctor.computes_with(tmp_path, None).text


def test_the_whole_examination_goes_on_after_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "dvc", lambda root: (Check("DVC", "ok", ""), False))  # asking it takes seconds
    names = [check.name for check in doctor.examine(tmp_path, start_tensorflow=False)]
    assert names == ["Python", "libraries", "CPU cores", "memory", "parameters", "processor", "git", "DVC"]
    found = {check.name: check for check in doctor.examine(ROOT, start_tensorflow=False)}
    assert {"dataset", "weights", "disk"} < set(found)


def test_files_that_dvc_was_killed_in_the_middle_of_writing(tmp_path: Path) -> None:
    lock, rwlock = tmp_path / "dvc.lock", tmp_path / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(parents=True)
    for n_cut, rwlock_text, lock_text in (
        (0, "{}", "schema: '2.0'\nstages:\n  index:\n    cmd: python\n"),
        (2, "", ""),
        (2, '{"read": {', "schema: '2.0'\nstages:\n  index:\n    cmd: pyth"),
    ):
        rwlock.write_text(rwlock_text)
        lock.write_text(lock_text)
        checks = list(doctor.truncated_dvc_files(tmp_path))
        assert [check.status for check in checks] == ["missing"] * n_cut
    assert "`rm .dvc/tmp/rwlock`" in checks[0].text and "`rm dvc.lock`" in checks[1].text


def test_a_false_entry_of_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(doctor.false_entries(tmp_path))

    def refuse() -> None:
        raise FsatError(f"false entry in {Path.cwd()}")

    monkeypatch.setattr(guard, "refuse_false_entries", refuse)
    assert [check.text for check in doctor.false_entries(tmp_path)] == [f"false entry in {tmp_path}"]
