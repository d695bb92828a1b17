"""What a stage was run with: inputs of each kind changed while it runs, contents that stay, false lock entries."""

import importlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fsat.core import dvc_files, files, guard, loaded_code
from fsat.core.errors import FsatError

COMMAND = "python -m stages.learn 0"
MODULE = ("stages.learn", ["0"])
ROOT = Path(__file__).parents[2]
CORE, SCRIPT = "fsat/core", "stages/mel.py"  # a folder of modules, and one
PARAMS = {"dataset": {"path": "sounds", "corrections": "labels.csv"}, "mel": {"n_mels": 64}, "rate": 0.1}
OUT = "data/models/learn/fold0"
GRAPH = {
    "learn": {
        "matrix": {"fold": "${folds.ids}"},
        "cmd": "python -m stages.learn ${item.fold}",
        "deps": ["${dataset.path}", "${dataset.corrections}", "data/mel", "data/other", CORE, SCRIPT],
        "params": ["mel", "rate", {"versions.yaml": ["numpy"]}],
        "outs": ["data/models/learn/fold${item.fold}"],
    }
}


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def parameters(**changed: Any) -> None:
    """Write `params.yaml` with other values."""
    write("params.yaml", yaml.safe_dump(PARAMS | changed))


def entry(outs: dict[str, str], **values: Any) -> dict[str, Any]:
    """An entry of dvc.lock as DVC would write it now."""
    deps = ["sounds", "labels.csv", "data/mel", "data/other", CORE, SCRIPT]
    return {
        "cmd": COMMAND,
        "deps": [{"path": path, "hash": "md5", "md5": dvc_files.md5(path)} for path in deps],
        "params": {"params.yaml": {"mel": {"n_mels": 64}, "rate": 0.1} | values, "versions.yaml": {"numpy": "2.0"}},
        "outs": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs.items()],
    }


def lock(path: str, **stages: dict[str, Any]) -> None:
    write(path, yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))


def known(kind: str, path: str) -> dict[str, Any]:
    """An entry that names what is there now, as an output or a dependency."""
    return {"cmd": "x", kind: [{"path": path, "hash": "md5", "md5": dvc_files.md5(path)}]}


def write_lock(**stages: dict[str, Any]) -> None:
    """Put entries into dvc.lock; that of the stage goes if it is not among them."""
    kept = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    kept.pop("learn@0", None)
    lock("dvc.lock", **kept | stages)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of one stage whose inputs are in the lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(guard, "running", [])
    write("dvc.yaml", yaml.safe_dump({"stages": GRAPH}, sort_keys=False))
    parameters()
    write("versions.yaml", "numpy: '2.0'\n")
    write(".dvcignore", "# a comment\n.DS_Store\n._*\n")
    shutil.copytree(ROOT / CORE, CORE, ignore=shutil.ignore_patterns("__pycache__"))
    write(SCRIPT, (ROOT / SCRIPT).read_text(encoding="utf-8"))
    inputs = ("sounds/a.wav", "sounds/b/c.wav", "labels.csv", "data/mel/frames.npy", "data/other/fold0/x")
    for name in (*inputs, f"{OUT}/w"):
        write(name, name)
    outputs = {"mel": known("outs", "data/mel"), "other@0": known("outs", "data/other/fold0")}
    lock("dvc.lock", index=known("deps", "sounds"), **outputs)
    for path in ("data/mel", "data/other/fold0"):  # the lists that DVC keeps of folders
        value = dvc_files.md5(path)
        rows = [{"relpath": name, "md5": dvc_files.md5(f"{path}/{name}")} for name in dvc_files.files_of(path)]
        files.write_json(f".dvc/cache/files/md5/{value[:2]}/{value[2:]}", rows)


def started() -> guard.Watch:
    stage = guard.find(*MODULE)
    assert stage is not None and stage.name == "learn@0" and stage.outs == [OUT]
    return guard.start(stage)


def replaced(path: str, text: str) -> None:
    """As editors and DVC do it: another file under the same name."""
    write(f"{path}.new", text)
    Path(f"{path}.new").rename(path)


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "parameter": (lambda: parameters(rate=9), "params.yaml: rate was 0.1, is 9"),
    "key added": (lambda: parameters(mel={"n_mels": 64, "x": 1}), "mel.x was None, is 1"),
    "parameter gone": (lambda: write("params.yaml", "{}"), "rate was 0.1, is None"),
    "library": (lambda: write("versions.yaml", "numpy: '3.0'\n"), "versions.yaml: numpy was '2.0', is '3.0'"),
    "clip": (lambda: replaced("sounds/b/c.wav", "other clip"), "sounds/b/c.wav"),
    "clip added": (lambda: write("sounds/d.wav", ""), "sounds/d.wav"),
    "clip gone": (lambda: Path("sounds/a.wav").unlink(), "sounds/a.wav"),
    "corrections": (lambda: write("labels.csv", "other"), "labels.csv"),
    "features": (lambda: replaced("data/mel/frames.npy", "other"), "data/mel/frames.npy"),
    "weights": (lambda: replaced("data/other/fold0/x", "y"), "data/other/fold0/x"),
    "folder gone": (lambda: shutil.rmtree("data/mel"), "data/mel/frames.npy"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_changes_while_a_stage_runs_is_named(kind: str) -> None:
    change, named = CHANGES[kind]
    watch = started()
    change()
    with pytest.raises(FsatError, match="changed while this stage ran") as error:
        guard.finish(watch)
    assert named in str(error.value)
    assert not list(guard.NOTES.glob("*"))


def test_a_module_that_is_edited_while_a_stage_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = started()
    assert watch.note.code == {CORE: dvc_files.md5(CORE), SCRIPT: dvc_files.md5(SCRIPT)}  # as DVC writes them
    edited = loaded_code.LOADED | {"fsat/core/files.py": "0", SCRIPT: "1", "fsat/cli.py": "2"}
    del edited["fsat/core/seeds.py"]
    monkeypatch.setattr(loaded_code, "digests", lambda: edited)
    with pytest.raises(FsatError, match=r"fsat/core/files\.py, fsat/core/seeds\.py\n +stages/mel\.py") as error:
        guard.finish(watch)
    assert "cli.py" not in str(error.value)  # not of this stage


def test_contents_decide_and_not_times() -> None:
    """A touch, a save without change, an edit taken back, files of a file manager, a parameter of another stage."""
    watch = started()
    for name in ("sounds/a.wav", "data/mel/frames.npy", "data/other/fold0/x", "labels.csv", "params.yaml"):
        os.utime(name, (1, 1))
    replaced("sounds/b/c.wav", "other")
    replaced("sounds/b/c.wav", "sounds/b/c.wav")
    write("sounds/.DS_Store", "x")
    write("sounds/._a.wav", "x")
    write("sounds/.git/HEAD", "x")
    write(f"{CORE}/notes.txt", "x")
    parameters(tta=3)
    guard.finish(watch)
    assert (guard.NOTES / "learn@0.json").is_file()


def test_parameters_that_somebody_is_saving_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = started()
    write("params.yaml", "rate: [")
    monkeypatch.setattr(time, "sleep", lambda _: parameters())
    guard.finish(watch)
    write("params.yaml", "rate: [")
    monkeypatch.setattr(guard, "_WAIT_S", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(FsatError, match=r"params\.yaml: is not YAML"):
        guard.finish(watch)


def test_a_training_whose_open_file_was_written_into_is_not_taken_up() -> None:
    """Frames are mapped into memory: what it learned from is not known. A file put in its place does not matter."""
    kept = Path("state/training/learn-fold0-ab12")
    for change, stays in ((replaced, True), (write, False)):
        files.write_text(kept / "model.weights.h5", "w")
        watch = started()
        change("data/mel/frames.npy", "other")
        with pytest.raises(FsatError, match=r"frames\.npy") as error:
            guard.finish(watch)
        assert kept.is_dir() is stays
        assert ("taken up" in str(error.value)) is stays
        replaced("data/mel/frames.npy", "data/mel/frames.npy")


# After the stage -----------------------------------------------------------------------------------------------------


def finished() -> str:
    """Run the stage; returns the md5 of what it wrote."""
    watch = started()
    write(f"{OUT}/w", "new weights")
    guard.finish(watch)
    return dvc_files.md5(OUT)


def test_a_fold_that_was_moved_aside_is_no_part_of_what_was_read() -> None:
    """The lock still names it."""
    write("data/other/fold1/x", "x")
    write_lock(**{"other@1": known("outs", "data/other/fold1")})
    shutil.rmtree("data/other/fold1")
    out = finished()
    os.utime("data/other/fold0/x", (1, 1))
    write_lock(**{"learn@0": entry({OUT: out})})
    guard.refuse_false_entries()


def test_a_true_entry_clears_the_note_and_the_kept_training() -> None:
    out = finished()
    for name in ("state/training/learn-fold0-ab/w", "state/training/learn-fold1-ab/w"):
        write(name, "new weights")
    guard.refuse_false_entries()  # DVC has written nothing yet
    write_lock(**{"learn@0": entry({OUT: out})})
    assert not guard.is_recorded("learn@0", Path("state/training/learn-fold0-ab"))  # not in the cache: `--no-commit`
    files.write_json(f".dvc/cache/files/md5/{out[:2]}/{out[2:]}", [])
    assert guard.is_recorded("learn@0", Path("state/training/learn-fold0-ab"))
    guard.refuse_false_entries()
    assert not list(guard.NOTES.iterdir())
    assert [path.name for path in guard.TRAININGS.iterdir()] == ["learn-fold1-ab"]


GAPS: dict[str, tuple[dict[str, Any], str, str]] = {  # values in the entry, file that is written into, what is named
    "parameter": ({"rate": 9}, "", "rate was 0.1, not 9"),
    "features": ({}, "data/mel/frames.npy", "data/mel was another"),
    "folder of folders": ({}, "data/other/fold0/x", "data/other was another"),
    "corrections": ({}, "labels.csv", "labels.csv was another"),
    "clip": ({}, "sounds/a.wav", "sounds was another"),
}


@pytest.mark.parametrize("kind", GAPS)
def test_an_edit_between_the_end_of_a_stage_and_dvc_is_found(kind: str) -> None:
    out = finished()
    values, path, named = GAPS[kind]
    if path:
        write(path, "other")
    false = entry({OUT: out}, **values)
    write_lock(**{"learn@0": false})
    true_run, false_run = Path(".dvc/cache/runs/aa/bb/cc"), Path(".dvc/cache/runs/aa/bb/dd")
    write(str(true_run), yaml.safe_dump(false | {"params": {}}, sort_keys=False))
    write(str(false_run), yaml.safe_dump(false, sort_keys=False))
    guard.refuse_false_entries(besides="learn@0")
    with pytest.raises(FsatError, match="dvc repro --force --single-item learn@0") as error:
        guard.refuse_false_entries()
    assert named in str(error.value)
    assert true_run.is_file() and not false_run.is_file()
    with pytest.raises(FsatError, match="learn@0"):  # until it has run again
        guard.refuse_false_entries()


def test_what_was_restored_or_checked_out_since_is_not_called_false() -> None:
    finished()
    write(f"{OUT}/w", "weights of another run")
    write_lock(**{"learn@0": entry({OUT: dvc_files.md5(OUT)}, rate=5)})
    guard.refuse_false_entries()
    assert not list(guard.NOTES.iterdir())


def test_an_entry_from_before_the_run_is_not_called_false() -> None:
    """DVC is still at work, or was killed."""
    write_lock(**{"learn@0": entry({OUT: dvc_files.md5(OUT)}, rate=5)})
    finished()
    guard.refuse_false_entries()
    assert list(guard.NOTES.iterdir())


def test_an_entry_that_git_or_the_run_cache_brought_is_not_called_false(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal outputs, made from other code or parameters elsewhere or before."""
    out = finished()
    other = entry({OUT: out}, rate=5)
    write_lock(**{"learn@0": other})
    with monkeypatch.context() as pulled:
        pulled.setattr(dvc_files, "head", lambda: "a commit that was pulled")
        pulled.setattr(dvc_files, "is_committed", lambda lock, stage, text: "rate: 5" in text)
        guard.refuse_false_entries()
    assert not list(guard.NOTES.iterdir())
    write_lock()
    finished()
    write_lock(**{"learn@0": other})
    record = Path(".dvc/cache/runs/aa/bb/cc")
    write(str(record), yaml.safe_dump(other, sort_keys=False))
    os.utime(record, (1, 1))
    guard.refuse_false_entries()
    assert record.is_file() and not list(guard.NOTES.iterdir())


def test_a_stage_of_the_sources_is_named_as_dvc_does() -> None:
    Path("sources").mkdir()
    Path("dvc.yaml").rename("sources/dvc.yaml")
    out = finished()
    Path("dvc.lock").rename("sources/dvc.lock")
    lock("sources/dvc.lock", **{"learn@0": entry({OUT: out}, rate=9)})
    guard.refuse_false_entries(besides="learn@0")
    with pytest.raises(FsatError, match=r"dvc repro --force --single-item sources/dvc\.yaml:learn@0"):
        guard.refuse_false_entries()


@pytest.mark.parametrize("name", ["./sounds", "my sounds #1", "2018"])
def test_a_dataset_of_any_name_is_watched(name: str) -> None:
    if not Path(name).exists():
        Path("sounds").rename(name)
    parameters(dataset={"path": name, "corrections": "labels.csv"})
    lock("dvc.lock", index=known("deps", name))
    watch = started()
    os.utime(f"{name}/a.wav", (1, 1))
    guard.finish(watch)
    watch = started()
    write(f"{name}/a.wav", "other")
    with pytest.raises(FsatError, match=r"a\.wav"):
        guard.finish(watch)


def test_notes_that_cannot_be_used_fail_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("a", "["), ("b", "{}"), ("c", "[1]"), ("d", "null")):
        write(f"state/notes/{name}.json", text)
    guard.refuse_false_entries()
    shutil.rmtree(guard.NOTES)
    write("state/notes", "a file")
    guard.refuse_false_entries()
    guard.finish(started())
    assert "an edit until DVC has looked would not be found" in capsys.readouterr().err


def test_a_module_that_is_edited_before_it_is_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loaded_code.LOADED, "fsat/app/cards.py", "0")
    monkeypatch.delitem(sys.modules, "fsat.app.cards", raising=False)
    with pytest.raises(loaded_code.EditedError, match=r"fsat/app/cards\.py was edited while"):
        importlib.import_module("fsat.app.cards")


def test_no_stage_no_note() -> None:
    assert guard.find("stages.other", []) is None
    assert guard.find("stages.learn", []) is None
    Path("dvc.yaml").unlink()
    assert guard.find(*MODULE) is None
