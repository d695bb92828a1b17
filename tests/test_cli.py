"""The command `fsat`: what it prints, where, and with which exit code."""

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, ClassVar

import numpy as np
import pytest
import soundfile
from tiny_bundle import ROOT, project

from fsat import cli
from fsat.clips import index
from fsat.core import files
from fsat.core.errors import FsatError
from fsat.tagger import bundle, destination
from fsat.tagger.output import PROVENANCE_HEADS

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


def first_cells(table: str) -> list[str]:
    """Of the rows of a CSV, by its lines."""
    return [line.split(",")[0] for line in table.splitlines()[1:]]


LETTERS = ["a", "b, or so", "c"]


class Parrot:
    """Stands in for `tagger.Tagger`: knows every file but those named bad; the label is the name's first letter."""

    made: ClassVar[list[dict[str, object]]] = []
    marks_unknown: ClassVar[bool] = False

    described: ClassVar[dict[str, object]] = {"bundle": "1234"}

    def __init__(self, opened: object, **options: object) -> None:
        Parrot.made.append(options)

    def tag_with_ends(
        self, paths: Iterator[str], *, segment_s: float | None, hop_s: float | None, progress: bool
    ) -> Iterator[object]:
        from fsat.tagger.results import Ended, Failed, Tagged

        assert not progress, "no terminal shows it"
        for path in paths:
            if "kill" in path:
                raise KeyboardInterrupt
            if "bad" in path and not segment_s:
                yield Failed(path, "truncated: 1 of 2 bytes of samples")
                continue
            best = "abc".index(Path(path).name[0])
            p = np.where(np.arange(3) == best, 0.7, 0.15)
            for start in (0.0, 2.0) if segment_s else (0.0,):
                mark = (0.25 * best, best == 2) if Parrot.marks_unknown else (None, None)
                yield Tagged(path, start, start + 2.0, LETTERS, p, np.full(4, best, dtype=np.float32), *mark)
                if "bad" in path:
                    break
            yield Failed(path, "truncated: 1 of 2 bytes of samples") if "bad" in path else Ended(path)


def parrots_bundle() -> SimpleNamespace:
    preprocessing = SimpleNamespace(mel=SimpleNamespace(sample_rate=22_050))
    told = {"labels": LETTERS, "activation": "softmax", "events": None, "dataset": SimpleNamespace(name="-pond")}
    return SimpleNamespace(manifest=SimpleNamespace(preprocessing=preprocessing, **told))


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> type[Parrot]:
    from fsat.tagger import tagger as tagging

    monkeypatch.setattr(Parrot, "made", [])  # which also undoes what a test sets
    monkeypatch.setattr(Parrot, "marks_unknown", False)
    monkeypatch.setattr(tagging, "Tagger", Parrot)
    opened = parrots_bundle()
    monkeypatch.setattr(bundle, "read", lambda folder: opened)
    return Parrot


def test_importing_the_command_imports_nothing_slow() -> None:
    code = "import sys, fsat.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "tensorflow", "pandas", "numpy", "rich.table", "pydantic"} & set(modules)


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


def test_the_table_shows_names_as_they_are_on_one_line(run: Run) -> None:
    _, output, _ = run("tag", "a[bold]x.wav", "--format", "table", "--segments", 2)
    assert all(text in output for text in ("a[bold]x.wav", "a 70%", "b, or so 15%", "2.00 s", "4.00 s"))
    assert "\x1b" not in output  # no colours in a pipe
    code, output, errors = run("tag", "bad\n\x1b[2J\u202e.wav", "a\nx.wav", "--format", "table")
    assert code == 1 and "a\\nx.wav" in output
    assert errors.splitlines()[0] == "fsat: bad\\n\\x1b[2J\\u202e.wav: truncated: 1 of 2 bytes of samples"
    _, output, _ = run("tag", "a\nx.wav", "--format", "csv")
    assert next(csv.DictReader(io.StringIO(output)))["path"] == "a\nx.wav"


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_file_that_fails_is_told_on_stderr_and_the_others_are_tagged(form: str, run: Run) -> None:
    code, output, errors = run("tag", "a.wav", "bad.wav", "c.wav", "--format", form)
    assert code == 1
    assert "a.wav" in output and "c.wav" in output and "bad.wav" not in output
    assert errors == ("fsat: bad.wav: truncated: 1 of 2 bytes of samples\nfsat: 1 of 3 files could not be tagged\n")


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to tag"),
        (("{empty}",), "no sound files in this folder"),
        (("a.wav", "--embeddings", "out.csv"), "out.csv must end in .npz or .parquet"),
        (("a.wav", "--events", "--segments", "2", "--threshold", "0"), "--threshold must be above 0"),
        (("a.wav", "--events", "--segments", "2", "--embeddings", "x.npz"), "not of --events"),
        (("a.wav", "--resume"), "--resume goes on with a CSV: it needs --output"),
        (("a.wav", "b.wav", "--format", "audacity"), "--format audacity has a label file a recording: name a folder"),
        (("a.wav", "--output", "{empty}"), "is a folder. Name a file"),
        (("a.wav", "--output", "{empty}/no/tags.csv"), "is in a folder that does not exist"),
        (("a.wav", "--output", "/dev/full"), "--output: /dev/full cannot be written (No space left"),
        (("a.wav", "--embeddings", "/proc/x.npz"), "--embeddings: /proc/x.npz cannot be written (No such"),
        (("a.wav", "--output", "{empty}/b.wav"), "is a sound, or has the suffix of one. --output takes one name"),
        (("a.wav", "b", "--output", "./b"), "b is also a file to tag"),
        (("a.wav", "--output", "{empty}/x.npz", "--embeddings", "{empty}/x.npz"), "x.npz. They need two names"),
        (("b", "--output", "/dev/null", "--resume"), "/dev/null is no file"),
    ],
)
def test_what_cannot_be_meant_is_a_message_without_traceback(
    arguments: tuple[str, ...], message: str, run: Run, tmp_path: Path
) -> None:
    code, output, errors = run("tag", *(argument.format(empty=tmp_path) for argument in arguments))
    assert code == 1 and output == ""
    assert errors.startswith("fsat: ") and message in errors


def test_the_list_on_standard_input_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a.wav\n")
    monkeypatch.setattr(os, "fstat", lambda _: names.stat())
    with pytest.raises(FsatError, match="is also the list of names on standard input"):
        destination.refuse_sounds(names, ["-"])


def test_options_reach_the_tagger(run: Run, parrot: type[Parrot], tmp_path: Path) -> None:
    run("tag", "a.wav", "--folds", 1, "--lengths", 2, "--tries", 3, "--stage", "stage1")
    assert parrot.made == [{"stage": "stage1", "n_folds": 1, "lengths": 2, "tries": 3, "embeddings": False}]
    run("tag", "a.wav", "--embeddings", tmp_path / "out.npz")
    assert parrot.made[1] == {"stage": None, "n_folds": None, "lengths": None, "tries": None, "embeddings": True}


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


def test_events_join_windows(run: Run) -> None:
    _, output, _ = run("tag", "a.wav", "bad.wav", "c.wav", "--segments", 2, "--events", "--threshold", 0.6)
    assert [line.split(",0.7")[0] for line in output.splitlines()] == [
        *("path,start_s,end_s,label,probability", "a.wav,0.0,4.0,a", 'bad.wav,0.0,2.0,"b, or so"', "c.wav,0.0,4.0,c")
    ]
    _, text, _ = run("tag", "a.wav", "--segments", 2, "--events", "--format", "json")
    assert json.loads(text) == [{"path": "a.wav", "start_s": 0.0, "end_s": 4.0, "label": "a", "probability": 0.7}]
    _, table, _ = run("tag", "a.wav", "--segments", 2, "--events", "--format", "table")
    assert "a 70%" in table and "4.00 s" in table


def test_events_by_the_thresholds_of_the_bundle(run: Run) -> None:
    chosen = {"source": "recordings", "segment_s": 2.0, "hop_s": 2.0, "threshold": {"a": 0.8, LETTERS[1]: 0.6}}
    bundle.read("").manifest.events = SimpleNamespace(**chosen)  # type: ignore[assignment]
    options = ("tag", "a.wav", "b.wav", "--segments", 2, "--events")
    _, output, errors = run(*options)
    assert first_cells(output) == ["b.wav"] and errors == ""
    _, output, errors = run(*options, "--threshold", 0.5)
    assert first_cells(output) == ["a.wav", "b.wav"] and errors == ""
    _, _, errors = run("tag", "a.wav", "--events")
    assert errors.startswith("fsat: the labels' thresholds are for windows of 2 s every 2 s")


def test_tables_say_what_made_them(run: Run) -> None:
    options = ("tag", "a.wav", "--segments", 2, "--events", "--provenance", "--format")
    _, output, _ = run(*options, "csv")
    assert output.splitlines()[1] == "a.wav,0.0,4.0,a,0.7,'-pond,1234,0.5"
    [row] = json.loads(run(*options, "json")[1])
    assert {name: row[name] for name in PROVENANCE_HEADS} == {"bundle": "-pond", "version": "1234", "threshold": 0.5}
    head, line = run(*options, "raven", "--threshold", 0.6)[1].splitlines()
    assert head.endswith("\tBundle\tVersion\tThreshold") and line.endswith("\t'-pond\t1234\t0.6")
    code, _, errors = run(*options, "audacity")
    assert code == 1 and "--provenance is for --format csv, json or raven. Got audacity" in errors


EVENTS = ("--segments", 2, "--events", "--threshold", 0.6, "--format")


@pytest.mark.parametrize("form", ["raven", "audacity", "one table"])
def test_written_events_are_annotations(form: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many recordings, without an edit; labels that a spreadsheet would compute come back as they were."""
    monkeypatch.setenv("FSAT_JOBS", "1")
    monkeypatch.setattr(sys.modules[__name__], "LETTERS", ["=a", *LETTERS[1:]])
    names = ["a.wav", "north/b.wav", "south/b.wav", "south/c.v1.wav"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.random.default_rng(number).uniform(-0.1, 0.1, 80_000), 8_000)
    out = tmp_path / "all.selections.txt" if form == "one table" else tmp_path
    command = ("tag", tmp_path, *EVENTS, "raven" if form == "one table" else form, "--output", out)
    assert run(*command) == (0, "", "")
    table = index.scan(tmp_path).table
    assert sorted(table["fname"]) == sorted(f"{name}@0.000-4.000" for name in names)
    labels = dict(zip(table["path"], table["label"], strict=True))
    assert labels == {"a.wav": "=a", "north/b.wav": "b,_or_so", "south/b.wav": "b,_or_so", "south/c.v1.wav": "c"}
    if form != "one table":
        code, _, errors = run(*command)
        assert code == 1 and "a.wav, is there already. Remove it, or name another folder." in errors
    else:
        lines = [line.split("\t") for line in out.read_text().splitlines()]
        assert [row[3] for row in lines[1:]] == ["0.000000", "4.000000", "8.000000", "12.000000"]
        assert lines[1][7] == "'=a" and lines[4][9] == "c.v1.wav"


def test_one_recording_and_damaged_ones_as_label_files(run: Run, tmp_path: Path) -> None:
    _, text, _ = run("tag", "x/a.wav", *EVENTS, "raven")
    head, row = text.splitlines()
    assert head.endswith("Probability\tBegin File") and row.endswith("\ta\t0.7\ta.wav")
    code, _, errors = run("tag", "bad.wav", "a.wav", "b/c.wav", *EVENTS, "audacity", "--output", tmp_path)
    assert code == 1 and errors.startswith("fsat: bad.wav: truncated")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"bad.txt": f"0.000000\t2.000000\t{LETTERS[1]}\n", "a.txt": "0.000000\t4.000000\ta\n"} | {
        "c.txt": "0.000000\t4.000000\tc\n"
    }
    code, _, errors = run("tag", "x/a.wav", "y/a.wav", *EVENTS, "audacity", "--output", tmp_path)
    assert code == 1 and "a.txt, for the labels of x/a.wav, is there already" in errors


def test_no_name_in_a_csv_is_a_formula(run: Run) -> None:
    _, text, _ = run("tag", "--top", 1, "--", "=/a.wav", "@/b.wav", "b=.wav")
    assert first_cells(text) == ["./=/a.wav", "./@/b.wav", "b=.wav"]


NAMES = ["a1.wav", "b\n2.wav", 'c"3.wav', "a1.wav", "a1.wav", "bad.wav", "b\r4.wav"]


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize("options", [(), ("--segments", 2), ("--segments", 2, "--events")])
def test_resume_loses_no_file_and_has_none_twice(
    options: tuple[object, ...], marks: bool, run: Run, parrot: type[Parrot], tmp_path: Path
) -> None:
    """Wherever a kill comes. What a damaged file has comes last, and it is tried again."""
    parrot.marks_unknown = marks

    def tag(out: Path, *names: str) -> tuple[int, str, str]:
        return run("tag", *names, "--resume", *options, "--output", out)

    tag(tmp_path / "whole.csv", *NAMES)
    expected = (tmp_path / "whole.csv").read_bytes()
    paths = [row["path"] for row in csv.DictReader(io.StringIO(expected.decode(), newline=""))]
    assert list(dict.fromkeys(paths)) == [*NAMES[:3], NAMES[6], *(["bad.wav"] if options else [])]
    half, part, journal = (tmp_path / name for name in ("half.csv", ".half.csv.rows.part", ".half.csv.journal"))
    for at in range(len(NAMES) + 1):
        assert tag(half, *NAMES[:at], "kill.wav", *NAMES[at:])[0] == 130 and not half.exists()
        part.write_bytes(part.read_bytes() + b'a9.wav,"')
        code, output, errors = tag(half, *NAMES)
        assert half.read_bytes() == expected and not part.exists()
        assert code == 1 and output == "" and errors.startswith("fsat: bad.wav: ")
        assert tag(half, *NAMES)[0] == 1 and half.read_bytes() == expected, "a table that is whole"
        half.unlink()
    assert tag(half, *NAMES, "kill.wav")[0] == 130
    rows, notes = part.read_bytes(), journal.read_bytes()
    for cut in range(notes.index(b"\n") + 1, len(notes), 7):
        part.write_bytes(rows)
        journal.write_bytes(notes[:cut])
        tag(half, *NAMES)
        assert half.read_bytes() == expected, cut
        half.unlink()


@pytest.mark.parametrize("n_written", range(9))
def test_resume_after_a_full_disk(n_written: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may take half of what is written last."""
    append, calls = destination._append, iter(range(9))

    def on_a_full_disk(stream: BinaryIO, data: bytes) -> int:
        if next(calls) == n_written:
            append(stream, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(stream, data)

    words = ("tag", "a.wav", "b.wav", "c.wav", "--top", 1, "--output", tmp_path / "out.csv")
    with monkeypatch.context() as full:
        full.setattr(destination, "_append", on_a_full_disk)
        code, _, errors = run(*words)
    assert code == 1 and errors.endswith("out.csv cannot be written (No space left on device).")
    assert run(*words, "--resume") == (0, "", "")
    rows = 'a.wav,a,0.7\nb.wav,"b, or so",0.7\nc.wav,c,0.7\n'
    assert (tmp_path / "out.csv").read_text() == "path,label1,probability1\n" + rows


def test_resume_takes_more_files_and_leaves_every_other_table_as_it_is(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run("tag", "a.wav", "--output", out) == (0, "", "")
    assert run("tag", "a.wav", "b.wav", "--output", out, "--resume") == (0, "", "")
    before = out.read_bytes()
    assert before.splitlines()[1:] == [b'a.wav,a,0.7,"b, or so",0.15,c,0.15', b'b.wav,"b, or so",0.7,a,0.15,c,0.15']
    windows = ("--segments", 2, "--events", "--threshold", 0.5)
    for options, why in ((("--top", 1), "other options \\(columns"), (windows, "segments none, now 2.0")):
        code, _, errors = run("tag", "c.wav", "--output", out, "--resume", *options)
        assert code == 1 and re.search(f"--resume: .*out.csv was made with {why}|{why}", errors)
        assert out.read_bytes() == before
    out.write_bytes(before + b"mine\n")
    for text in (before + b"mine\n", b"", b'a "quote\n', b"no end"):
        out.write_bytes(text)
        code, _, errors = run("tag", "c.wav", "--output", out, "--resume")
        assert code == 1 and "has changed since it was written" in errors and out.read_bytes() == text
        (tmp_path / "other.csv").write_bytes(text)
        code, _, errors = run("tag", "c.wav", "--output", tmp_path / "other.csv", "--resume")
        assert code == 1 and "has no journal" in errors and (tmp_path / "other.csv").read_bytes() == text


def test_one_process_at_a_time_writes_a_table(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with destination.opened(out, form="csv", heads=["path"], made_by={}, resume=False):
        code, _, errors = run("tag", "a.wav", "--output", out)
    assert code == 1 and "another `fsat tag` is writing" in errors and out.read_text() == "path\n"


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_file_is_written_beside_its_name_and_no_link_is_followed(form: str, run: Run, tmp_path: Path) -> None:
    out, other = tmp_path / "out.txt", tmp_path / "other"
    out.write_text("before")
    other.write_text("mine")
    for name in (".out.txt.part", ".out.txt.rows.part", ".x.npz.part"):
        (tmp_path / name).symlink_to(other)
    assert run("tag", "a.wav", "kill.wav", "--format", form, "--output", out)[0] == 130
    assert out.read_text() == "before"
    arguments = ("--format", form, "--output", out, "--embeddings", tmp_path / "x.npz")
    assert run("tag", "a.wav", *arguments) == (0, "", "")
    assert "a.wav" in out.read_text() and other.read_text() == "mine" and len(files.read_npz(tmp_path / "x.npz")) == 4
    (tmp_path / ".out2.csv.journal").symlink_to(other)
    assert run("tag", "a.wav", "--output", tmp_path / "out2.csv")[0] == 1 and other.read_text() == "mine"


def test_a_sound_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    """Whatever its name; `tag -o c1.wav c2.wav` is a slip."""
    sound = tmp_path / "sound"
    soundfile.write(sound, np.zeros(100), 8_000, format="WAV")
    before = sound.read_bytes()
    for words in (("a.wav", "--output", sound), (sound, "a.wav", "--output", sound, "--format", "json")):
        code, _, errors = run("tag", *words)
        assert code == 1 and "--output takes one name" in errors and sound.read_bytes() == before


def test_a_pipe_may_be_the_output(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_text)
        assert run("tag", "a.wav", "--top", 1, "--output", tmp_path / "pipe") == (0, "", "")
        assert read.result() == "path,label1,probability1\na.wav,a,0.7\n"
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_lists_of_other_encodings(run: Run) -> None:
    _, output, _ = run("tag", "-", stdin="\ufeffa1.wav\nb2.wav\n".encode())
    assert first_cells(output) == ["a1.wav", "b2.wav"]
    for stdin in ("a1.wav\n".encode("utf-16"), "a1.wav\n".encode("utf-16-le"), b"a1.wav\0b2.wav\0"):
        code, output, errors = run("tag", "-", stdin=stdin)
        assert code == 1 and output == "" and "iconv -f UTF-16" in errors and len(errors.splitlines()) == 1


PARROT = """
import test_cli
from fsat import cli
from fsat.tagger import bundle, tagger
tagger.Tagger = test_cli.Parrot
bundle.read = lambda folder: test_cli.parrots_bundle()
cli.main()
"""


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "fsat: standard output cannot be written (No space left on device).\n"),
        (">&-", "fsat: standard output is closed: name a file with --output.\n"),
        ("| true", ""),
        ("2>&- >&- <&- --output out.csv; cat out.csv >&2", "path,label1,probability1\na\u4f60.wav,a,0.7\n"),
        ("| cat >&2", "path,label1,probability1\na\u4f60.wav,a,0.7\n"),
    ],
)
def test_streams_that_are_full_closed_or_ascii(redirection: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "parrot.py").write_text(PARROT)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "PYTHONIOENCODING": "ascii"}
    line = f"{sys.executable} parrot.py tag --format csv --top 1 a\u4f60.wav {redirection}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.stderr.decode() == message and done.stdout == b""


def test_messages_do_not_move_the_cursor(run: Run, tmp_path: Path) -> None:
    code, _, errors = run("tag", "a.wav", "--output", tmp_path / "\x1b[2Jx" / "tags.csv")
    assert code == 1 and "\x1b" not in errors and "/\\x1b[2Jx/tags.csv is in a folder that does not exist" in errors


@pytest.mark.slow
def test_an_endless_pipe_of_names_is_tagged_as_it_comes(project: Path) -> None:
    options = ["--stage", "stage1", "--tries", "1", "--segments", "0.5", "--model", str(project / "data" / "bundle")]
    command = [sys.executable, "-m", "fsat.cli", "tag", "-", *options]
    pipe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert pipe.stdin is not None and pipe.stdout is not None
    clip = str(project / "sounds" / "test" / "short.wav")
    pipe.stdin.write(f"{clip}\n" * 100)  # more windows than one batch; the pipe stays open
    pipe.stdin.flush()
    assert [pipe.stdout.readline().startswith(words) for words in ("path,start_s", clip)] == [True, True]
    pipe.kill()
    pipe.communicate()
