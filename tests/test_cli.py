"""The command `fsat`: what it prints, where, and with which exit code."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from tiny_bundle import LABELS, ROOT, project, tone

from fsat import cli
from fsat.core import files
from fsat.tagger import bundle

__all__ = ["project"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the entry point as the shell does: (exit code, stdout, stderr)."""

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fsat", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="ascii"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output, errors = capsys.readouterr()
        code = ended.value.code
        if isinstance(code, str):  # what sys.exit prints by itself
            return 1, output, errors + code
        return int(code or 0), output, errors

    return call


LETTERS = ["a", "b, or so", "c"]


class Parrot:
    """Stands in for `tagger.Tagger`: knows every file but those named bad; the label is the name's first letter."""

    made: ClassVar[list[dict[str, object]]] = []
    marks_unknown: ClassVar[bool] = False

    def __init__(self, opened: object, **options: object) -> None:
        Parrot.made.append(options)

    def tag_files(
        self, paths: Iterator[str], *, segment_s: float | None, hop_s: float | None, progress: bool
    ) -> Iterator[object]:
        from fsat.tagger.tagger import Tagged
        from fsat.tagger.windows import Failed

        for path in paths:
            if "bad" in path:
                yield Failed(path, "truncated: 1 of 2 bytes of samples")
                continue
            best = "abc".index(Path(path).name[0])
            p = np.where(np.arange(3) == best, 0.7, 0.15)
            for start in (0.0, 2.0) if segment_s else (0.0,):
                mark = (0.25 * best, best == 2) if Parrot.marks_unknown else (None, None)
                yield Tagged(path, start, start + 2.0, LETTERS, p, np.full(4, best, dtype=np.float32), *mark)


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> type[Parrot]:
    from fsat.tagger import tagger as tagging

    monkeypatch.setattr(Parrot, "made", [])  # which also undoes what a test sets
    monkeypatch.setattr(Parrot, "marks_unknown", False)
    monkeypatch.setattr(tagging, "Tagger", Parrot)
    preprocessing = SimpleNamespace(mel=SimpleNamespace(sample_rate=22_050))
    opened = SimpleNamespace(
        manifest=SimpleNamespace(labels=LETTERS, activation="softmax", preprocessing=preprocessing)
    )
    monkeypatch.setattr(bundle, "read", lambda folder: opened)
    return Parrot


def test_importing_the_command_imports_nothing_slow() -> None:
    code = "import sys, fsat.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "tensorflow", "pandas", "numpy", "rich.table", "pydantic"} & set(modules)


@pytest.mark.usefixtures("parrot")
def test_csv_and_json_have_a_row_a_file(run: Run) -> None:
    """And what must be quoted is."""
    code, output, errors = run("tag", "a.wav", "x/b.wav", "--top", 2)
    assert code == 0 and errors == ""
    assert output == (
        "path,label1,probability1,label2,probability2\n"
        'a.wav,a,0.7,"b, or so",0.15\n'
        'x/b.wav,"b, or so",0.7,a,0.15\n'
    )  # fmt: skip
    _, output, _ = run("tag", "b.wav", "--format", "json", "--top", 1)
    assert json.loads(output) == [{"path": "b.wav", "tags": [{"label": "b, or so", "probability": 0.7}]}]
    _, output, _ = run("tag", "b.wav", "--format", "json", "--segments", 2)
    assert [(row["start_s"], row["end_s"]) for row in json.loads(output)] == [(0, 2), (2, 4)]


def test_clips_that_are_none_of_the_labels_are_marked(run: Run, parrot: type[Parrot]) -> None:
    parrot.marks_unknown = True
    _, output, _ = run("tag", "a.wav", "c.wav", "--top", 1, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [(row["unknown"], row["unknown_score"]) for row in rows] == [("false", "0.0"), ("true", "0.5")]
    _, output, _ = run("tag", "c.wav", "--format", "json")
    [found] = json.loads(output)
    assert (found["unknown"], found["unknown_score"]) == (True, 0.5)
    _, output, _ = run("tag", "a.wav", "c.wav", "--top", 1, "--format", "table")
    assert [line.split()[-1] for line in output.splitlines() if ".wav" in line] == ["70%", "yes"]
    _, output, _ = run("tag", "c.wav", "--segments", 2, "--events", "--format", "csv")
    assert output.splitlines()[0] == "path,start_s,end_s,label,probability"  # an event is about its label


@pytest.mark.usefixtures("parrot")
def test_the_table_shows_names_as_they_are_on_one_line(run: Run) -> None:
    _, output, _ = run("tag", "a[bold]x.wav", "--format", "table", "--segments", 2)
    assert all(text in output for text in ("a[bold]x.wav", "a 70%", "b, or so 15%", "2.00 s", "4.00 s"))
    assert "\x1b" not in output  # no colours in a pipe
    code, output, errors = run("tag", "bad\n\x1b[2J\u202e.wav", "a\nx.wav", "--format", "table")
    assert code == 1 and "a\\nx.wav" in output
    assert errors.splitlines()[0] == "fsat: bad\\n\\x1b[2J\\u202e.wav: truncated: 1 of 2 bytes of samples"
    _, output, _ = run("tag", "a\nx.wav", "--format", "csv")
    assert next(csv.DictReader(io.StringIO(output)))["path"] == "a\nx.wav"


@pytest.mark.usefixtures("parrot")
@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_file_that_fails_is_told_on_stderr_and_the_others_are_tagged(form: str, run: Run) -> None:
    code, output, errors = run("tag", "a.wav", "bad.wav", "c.wav", "--format", form)
    assert code == 1
    assert "a.wav" in output and "c.wav" in output and "bad.wav" not in output
    assert errors == ("fsat: bad.wav: truncated: 1 of 2 bytes of samples\nfsat: 1 of 3 files could not be tagged\n")


@pytest.mark.usefixtures("parrot")
def test_names_come_from_folders_and_standard_input(run: Run, tmp_path: Path) -> None:
    for name in ("b.ogg", "inner/a.WAV", "notes.txt", ".a.wav"):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / name).touch()
    names = b"a1.wav\n\nb two.wav\r\nc\xc3\xa9.wav\nc\xff.wav"
    _, output, _ = run("tag", tmp_path / "sounds", "-", "a9.wav", stdin=names)
    paths = [row["path"] for row in csv.DictReader(io.StringIO(output))]
    sounds = [str(tmp_path / "sounds" / name) for name in ("b.ogg", "inner/a.WAV")]
    assert paths == [*sounds, "a1.wav", "b two.wav", "cé.wav", "c?.wav", "a9.wav"]
    code, output, errors = run("tag", "-", stdin=b"\0" * 100_000)
    assert code == 1 and output == "" and len(errors.splitlines()) == 1
    assert "standard input has a line of more than 4096 characters" in errors


@pytest.mark.usefixtures("parrot")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to tag"),
        (("{empty}",), "no sound files in this folder"),
        (("a.wav", "--embeddings", "out.csv"), "out.csv must end in .npz or .parquet"),
        (("a.wav", "--events"), "--events needs --segments"),
        (("a.wav", "--events", "--segments", "2", "--threshold", "0"), "--threshold must be above 0"),
        (("a.wav", "--events", "--segments", "2", "--embeddings", "x.npz"), "not of --events"),
        (("a.wav", "--resume"), "--resume goes on with a CSV: it needs --output"),
        (("a.wav", "b.wav", "--format", "raven"), "--format raven is about one recording"),
        (("a.wav", "--output", "{empty}"), "cannot be written (Is a directory)"),
    ],
)
def test_what_cannot_be_meant_is_a_message_without_traceback(
    arguments: tuple[str, ...], message: str, run: Run, tmp_path: Path
) -> None:
    code, output, errors = run("tag", *(argument.format(empty=tmp_path) for argument in arguments))
    assert code == 1 and output == ""
    assert errors.startswith("fsat: ") and message in errors


def test_options_reach_the_tagger(run: Run, parrot: type[Parrot], tmp_path: Path) -> None:
    run("tag", "a.wav", "--folds", 1, "--lengths", 2, "--tries", 3, "--stage", "stage1")
    assert parrot.made == [{"stage": "stage1", "n_folds": 1, "lengths": 2, "tries": 3, "embeddings": False}]
    run("tag", "a.wav", "--embeddings", tmp_path / "out.npz")
    assert parrot.made[1] == {"stage": None, "n_folds": None, "lengths": None, "tries": None, "embeddings": True}


@pytest.mark.usefixtures("parrot")
def test_embeddings_are_a_table_of_numbers(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    code, output, _ = run("tag", "a.wav", "bad.wav", "c.wav", "--embeddings", out)
    table = files.read_parquet(out)
    assert table.columns.tolist() == ["path", "start_s", "end_s", "e0000", "e0001", "e0002", "e0003"]
    assert table["path"].tolist() == ["a.wav", "c.wav"] and table["e0003"].tolist() == [0, 2]
    assert code == 1 and len(output.splitlines()) == 3
    run("tag", "a.wav", "bad.wav", "c.wav", "--embeddings", tmp_path / "out.npz")
    arrays = files.read_npz(tmp_path / "out.npz")
    assert arrays["name"].tolist() == ["a.wav", "c.wav"]
    np.testing.assert_array_equal(arrays["embedding"], table.filter(like="e0").to_numpy())


# Long recordings


@pytest.mark.usefixtures("parrot")
def test_events_join_windows(run: Run) -> None:
    _, output, _ = run("tag", "a.wav", "bad.wav", "c.wav", "--segments", 2, "--events", "--threshold", 0.6)
    assert output == "path,start_s,end_s,label,probability\na.wav,0.0,4.0,a,0.7\nc.wav,0.0,4.0,c,0.7\n"
    _, text, _ = run("tag", "a.wav", "--segments", 2, "--events", "--format", "json")
    assert json.loads(text) == [{"path": "a.wav", "start_s": 0.0, "end_s": 4.0, "label": "a", "probability": 0.7}]
    _, table, _ = run("tag", "a.wav", "--segments", 2, "--events", "--format", "table")
    assert "a 70%" in table and "4.00 s" in table


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize("options", [(), ("--segments", 2), ("--segments", 2, "--events")])
def test_resume_loses_no_file_and_has_none_twice(
    options: tuple[object, ...], marks: bool, run: Run, parrot: type[Parrot], tmp_path: Path
) -> None:
    """Wherever a kill cuts the file off."""
    parrot.marks_unknown = marks
    names = ["a1.wav", "b\n2.wav", 'c"3.wav', "a1.wav", "a1.wav", "bad.wav", "b4.wav"]
    arguments = ("tag", *names, "--format", "csv", *options, "--output")
    whole = tmp_path / "whole.csv"
    run(*arguments, whole)
    expected = whole.read_bytes()
    assert len(list(csv.reader(io.StringIO(expected.decode())))) >= 6
    for cut in range(0, len(expected) + 1, 3):
        half = tmp_path / "half.csv"
        half.write_bytes(expected[:cut])
        code, output, errors = run(*arguments, half, "--resume")
        assert half.read_bytes() == expected, cut
        assert code == 1 and output == "" and errors.startswith("fsat: bad.wav: ")


@pytest.mark.usefixtures("parrot")
def test_resume_of_another_table_is_refused_and_leaves_it(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run("tag", "a.wav", "--output", out) == (0, "", "")
    before = out.read_bytes()
    assert before.splitlines()[1] == b'a.wav,a,0.7,"b, or so",0.15,c,0.15'
    code, _, errors = run("tag", "a.wav", "--output", out, "--resume", "--top", 1)
    assert code == 1 and "has other columns" in errors and out.read_bytes() == before
    run("tag", "b.wav", "--output", tmp_path / "new.csv", "--resume")
    assert (tmp_path / "new.csv").read_text().count("\n") == 2


@pytest.mark.slow
def test_an_endless_pipe_of_names_is_tagged_as_it_comes(project: Path) -> None:
    options = ["--stage", "stage1", "--tries", "1", "--segments", "0.5", "--model", str(project / "data" / "bundle")]
    pipe = subprocess.Popen(
        [sys.executable, "-m", "fsat.cli", "tag", "-", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert pipe.stdin is not None and pipe.stdout is not None
    clip = str(project / "sounds" / "test" / "short.wav")
    pipe.stdin.write(f"{clip}\n" * 100)  # more windows than one batch; the pipe stays open
    pipe.stdin.flush()
    assert [pipe.stdout.readline().startswith(words) for words in ("path,start_s", clip)] == [True, True]
    pipe.kill()
    pipe.communicate()


@pytest.mark.slow
def test_tags_outside_the_repository_with_the_package_alone(project: Path, tmp_path: Path) -> None:
    """A real bundle, in another folder, by a process that finds nothing but the package."""
    import soundfile

    shutil.copytree(ROOT / "fsat", tmp_path / "site" / "fsat", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "work").mkdir()
    soundfile.write(tmp_path / "work" / "clip.ogg", tone(900, 0.4), 44_100)
    (tmp_path / "work" / "text.wav").write_text("no sound")
    model = str(project / "data" / "bundle")
    arguments = ["tag", "clip.ogg", "text.wav", "--model", model, "--folds", "1", "--tries", "1"]
    done = subprocess.run(
        # -P: the working folder is not searched; the copy comes before an editable install.
        [sys.executable, "-P", "-m", "fsat.cli", *arguments],
        cwd=tmp_path / "work",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [row] = csv.DictReader(io.StringIO(done.stdout))
    assert row["path"] == "clip.ogg" and {row[f"label{rank}"] for rank in (1, 2, 3)} == set(LABELS)
    assert sum(float(row[f"probability{rank}"]) for rank in (1, 2, 3)) == pytest.approx(1, abs=1e-5)
    assert "\nfsat: text.wav: not audio that can be decoded" in "\n" + done.stderr
    assert "cuda" not in done.stderr.lower() and "oneDNN" not in done.stderr
