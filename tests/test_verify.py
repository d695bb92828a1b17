"""`fsat verify` on a run with made-up predictions: what it prints, what it writes, what it leaves alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run
from typer.testing import CliRunner, Result

from fsat import cli
from fsat.cli import app
from fsat.clips import corrections
from fsat.clips.corrections import MACHINE, Correction
from fsat.core import files
from fsat.core.errors import FsatError
from fsat.scoring import verification

FILE = "corrections/demo.csv"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 96 clips, a third of them verified, whose predictions contradict some labels; the working folder."""
    run = tiny_run.make_run(tmp_path / "clips", n_per_label=24, noise=1.0)
    # Networks that tell the labels apart, and eleven labels that are wrong.
    wrong = run.index.index[(run.index["split"] == "train") & (run.index["verified"] == 0)][::6]
    others = {"Bark": "Gong", "Cello": "Gong", "Gong": "Bark", "Oboe": "Gong"}
    run.index.loc[wrong, "label"] = run.index.loc[wrong, "label"].map(others)
    run.folds["label"] = run.folds["corrected"] = run.index.loc[run.index["split"] == "train", "label"].to_numpy()
    tiny_run.write(run, tmp_path)
    corrections.write(tmp_path / FILE, [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", *arguments], catch_exceptions=False)


def rows() -> list[Correction]:
    return corrections.read(FILE)


def undecided() -> list[str]:
    """Held-out clips that nobody verified."""
    predictions, index = files.read_parquet("data/predictions.parquet"), files.read_csv("data/index.csv")
    verified = index.set_index("fname")["verified"]
    heldout = predictions.loc[predictions["split"] == "heldout", "fname"].unique()
    return [fname for fname in heldout if verified[fname] == 0]


def test_without_write_the_file_stays_and_the_table_counts_every_undecided_clip(folder: Path) -> None:
    before = Path(FILE).read_bytes()
    found = call()
    assert found.exit_code == 0 and "nothing is written: add --write" in found.stdout
    assert Path(FILE).read_bytes() == before
    total = next(line.split() for line in found.stdout.splitlines() if line.strip().startswith("all "))
    assert int(total[1]) == len(undecided()) == sum(map(int, total[2:]))
    assert all(label in found.stdout for label in tiny_run.PLAIN)


def test_what_is_written_is_a_corrections_file_that_fits_and_the_same_again(folder: Path) -> None:
    assert call("--write").exit_code == 0
    written = rows()
    index = files.read_csv("data/index.csv")
    assert {row.action for row in written} >= {"verify", "relabel"} and all(row.is_machine_made for row in written)
    corrections.check(written, index, path=FILE)
    first = Path(FILE).read_bytes()
    found = call("--write")
    assert Path(FILE).read_bytes() == first
    assert "has changed since data/folds.csv was made" in found.stdout
    verified = index.loc[index["verified"] == 1, "fname"]
    assert not {row.fname for row in written} & set(verified)


def test_rows_of_ones_own_stay_and_win(folder: Path) -> None:
    call("--write")
    some = next(row for row in rows() if row.action == "verify")
    own = [Correction(some.fname, "drop", by="eva", why="two sounds"), *(row for row in rows() if row != some)]
    corrections.write(FILE, own)
    call("--write")
    found = rows()
    assert [row for row in found if row.fname == some.fname] == [replace(own[0], line=found[0].line)]
    assert found[0].why == "two sounds"


@pytest.mark.parametrize("start", ["", "\ufeff", "\ufeffsep=;\r\n"])
def test_a_spreadsheet_keeps_its_form_and_its_mode(folder: Path, start: str) -> None:
    path = Path(FILE)
    path.write_bytes(f"{start}Action;FName;label;Why\r\nverify;{undecided()[0]};;heard, twice\r\n".encode())
    path.chmod(0o640)
    call("--write")
    lines = path.read_bytes().decode().removeprefix(start).split("\r\n")
    assert path.read_bytes().decode().startswith(f"{start}Action") and path.stat().st_mode & 0o777 == 0o640
    assert lines[:2] == ["Action;FName;label;Why;by", f"verify;{undecided()[0]};;heard, twice;"]
    assert len(lines) > 10 and not any("\n" in line for line in lines)
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(FsatError, match="is read-only; nothing is written"):
        call("--write")
    assert path.read_bytes() == before


@pytest.mark.parametrize("moment", ["read", "gather", "merge", "check"])
def test_a_row_that_is_saved_meanwhile_is_not_lost(folder: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = f"fname,action,label,by,why\n{undecided()[3]},drop,,eva,two sounds\n"
    module = verification if moment == "gather" else corrections
    plain = getattr(module, moment)

    def edited(*arguments: object, **more: object) -> object:
        found = plain(*arguments, **more)
        Path(FILE).write_text(saved)
        return found

    monkeypatch.setattr(module, moment, edited)
    with pytest.raises(FsatError, match=f"{FILE}: was edited meanwhile; nothing is written. Run the command again"):
        call("--write")
    assert Path(FILE).read_text() == saved and [path.name for path in Path(FILE).parent.iterdir()] == ["demo.csv"]


def test_clips_that_were_not_held_out_keep_the_row_they_have(folder: Path) -> None:
    folds = files.read_csv("data/folds.csv")
    other = folds.loc[folds["fold"] == 1].iloc[1]  # folds 0 and 2 were trained
    index = files.read_csv("data/index.csv").set_index("fname")
    assert index.loc[other["fname"], "verified"] == 0
    corrections.write(FILE, [Correction(other["fname"], "drop", by=MACHINE)])
    call("--write")
    assert rows()[0].fname == other["fname"] and len(rows()) > 5


def test_a_round_that_cannot_be_says_what_to_do_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["fsat", "verify", "--write"])

    def refused() -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return str(caught.value)

    files.write_csv("data/index.csv", files.read_csv("data/index.csv").assign(verified=0.0))
    for name in ("AGREE", "DOUBT", "REPLACE"):
        monkeypatch.setattr(verification, name, 100.0)
    assert "fewer than two folds" in refused()  # a label would be left without clips
    assert rows() == []
    Path("data/predictions.parquet").unlink()
    assert "dvc repro" in refused()
    Path(FILE).unlink()
    assert "header alone" in refused()


def test_a_label_that_corrections_brought_in_stays_new(folder: Path) -> None:
    """Somebody named a new label; networks that know it may find more clips of it."""
    first, _, _, found, *_, last = undecided()
    own = [Correction(fname, "relabel", "Siren", by="eva", new=True) for fname in (first, last)]
    corrections.write(FILE, own)
    predictions = files.read_parquet("data/predictions.parquet")
    sure = predictions["fname"].isin([first, last, found])
    for label in tiny_run.PLAIN:
        predictions[label] = predictions[label].where(~sure, 0.0)
    files.write_parquet("data/predictions.parquet", predictions.assign(Siren=sure.astype(float)))
    assert call("--write").exit_code == 0
    row = next(row for row in rows() if row.fname == found)
    assert (row.action, row.label, row.new) == ("relabel", "Siren", True)
