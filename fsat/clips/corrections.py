"""Corrections of a dataset's training labels: a table that people and `fsat verify` write, checked and applied.

A row says what to do about one training clip: ``relabel`` gives it another label, ``drop`` keeps it out of training,
``verify`` says that its label is right. The dataset itself stays as it is; scores are always of its own labels.
"""

import csv
import difflib
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fsat.clips import tables
from fsat.clips.clip_files import composed
from fsat.clips.layouts import RESERVED_LABELS, is_plain
from fsat.clips.problems import Problems
from fsat.core import files
from fsat.core.errors import FsatError

COLUMNS = ["fname", "action", "label", "by", "why"]
ACTIONS = ("relabel", "drop", "verify")
# What `fsat verify` writes into the column `by`; all other rows are somebody's own.
MACHINE = "fsat verify"
# A label that the dataset does not have is written `new:Siren`.
NEW = "new:"


@dataclass(frozen=True)
class Correction:
    """One row of a corrections file; `line` is where it stands, `new` whether its label is said to be new."""

    fname: str
    action: str
    label: str = ""
    by: str = ""
    why: str = ""
    line: str = ""
    new: bool = False

    @property
    def is_machine_made(self) -> bool:
        """Whether `fsat verify` wrote the row."""
        return self.by == MACHINE


def read(path: str | Path) -> list[Correction]:
    """Rows of a corrections file, in its order; what they say about the dataset is checked by `check`.

    UTF-8 with or without a byte order mark, commas, semicolons or tabs, any line ends. The columns fname, action and
    label must be there, by and why may be.

    `FsatError` lists everything that is wrong with the file.
    """
    path, problems = Path(path), Problems()
    if not path.is_file():
        raise FsatError(
            f"dataset.corrections: {path} does not exist. A file without corrections is its header alone: "
            f"`mkdir -p {path.parent} && echo {','.join(COLUMNS)} > {path}`."
        )
    found = []
    for row in tables.read(path.parent, path.name, COLUMNS[:3], problems, may_be_empty=True):
        if any(value for name, value in row.items() if name not in {*COLUMNS, "line"}):
            remedy = f"The columns are {', '.join(COLUMNS)}."
            problems.add("value in a column that has no name or an unknown one", remedy, row["line"])
        action, label = row["action"].lower(), _spelled(row["label"])
        where = f"{row['line']}: {row['fname']}"
        if not row["fname"]:
            problems.add("row without fname", "Name the clip as data/index.csv does.", row["line"])
            continue
        if action not in ACTIONS:
            problems.add("unknown action", f"It is one of {', '.join(ACTIONS)}.", f"{where}: {action[:80]!r}")
            continue
        new = label.startswith(NEW)
        label = label.removeprefix(NEW).strip("_") if new else label
        by, why = row.get("by", ""), row.get("why", "")
        found.append(Correction(row["fname"], action, label, by, why, row["line"], new))
    problems.raise_if_any(path, what="corrections")
    return found


def check(corrections: Sequence[Correction], index: pd.DataFrame, *, path: str | Path) -> list[Correction]:
    """Hold corrections against a dataset, `data/index.csv`: one a clip, in their order, spelled as the dataset does.

    Where a clip has a row of somebody's own, rows of `fsat verify` about it do not count. `FsatError` names the file,
    `path`, and lists all rows about clips that are unknown or test clips, with unknown labels, that contradict each
    other or the dataset, or that change nothing.
    """
    train = index[index["split"] == "train"]
    names = _spellings(train["fname"])
    test = _spellings(index.loc[index["split"] == "test", "fname"])
    labels = {_spelled(label): label for label in train["label"].unique()}
    given = dict(zip(train["fname"], train["label"], strict=True))
    verified = dict(zip(train["fname"], pd.to_numeric(train["verified"], errors="coerce") == 1, strict=True))
    own = {composed(row.fname) for row in corrections if not row.is_machine_made}
    problems = Problems()
    first: dict[str, Correction] = {}
    for row in corrections:
        key, where = composed(row.fname), f"{row.line}: {row.fname}"
        if row.is_machine_made and key in own:
            continue
        if key not in names:
            if key in test:
                problems.add("test clip", "Only training clips can be corrected: remove the row.", where)
            else:
                close = difflib.get_close_matches(key, list(names), n=1, cutoff=0.8) if len(names) < 20_000 else []
                remedy = (
                    "data/index.csv has no such training clip. Is the file that of another dataset "
                    "(dataset.corrections), or is the clip left out for its licence or a defect?"
                )
                problems.add("unknown clip", remedy, where + (f" (did you mean {close[0]}?)" if close else ""))
            continue
        row = replace(row, fname=names[key], label=labels.get(row.label, row.label))
        if key in first:
            same = (first[key].action, first[key].label) == (row.action, row.label)
            what = "two rows that say the same" if same else "two rows that contradict"
            problems.add(what, "Keep one.", f"{where} (also {first[key].line})")
            continue
        first[key] = row
        _check_row(row, given[row.fname], verified[row.fname], labels, where, problems)
    problems.raise_if_any(path, what="corrections")
    return list(first.values())


def _check_row(
    row: Correction, given: str, verified: bool, labels: Mapping[str, str], where: str, problems: Problems
) -> None:
    """Whether one row fits its clip."""
    if row.action == "relabel":
        known = _spelled(row.label) in labels
        if not row.label:
            problems.add("relabel without a label", "Name the right label, or drop the clip.", where)
        elif row.label == given:
            problems.add("relabel that changes nothing", "Use verify to say that the label is right.", where)
        elif row.new and known:
            problems.add("label that is said to be new but is not", f"Leave out {NEW}", f"{where}: {row.label}")
        elif row.new and (row.label in {*RESERVED_LABELS, "None", "nan", "NaN"} or not is_plain(row.label)):
            what = "new label that is a word of the pipeline's, or not plain text"
            problems.add(what, "Choose another name.", f"{where}: {row.label}")
        elif not row.new and not known:
            close = difflib.get_close_matches(row.label, list(labels), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            remedy = f"Write {NEW}<label> if it is meant to be new."
            problems.add("unknown label", remedy, f"{where}: {row.label}{hint}")
    elif row.label and row.label != given:
        what = f"{row.action} with another label than the dataset's"
        problems.add(what, "Leave the label out, or use relabel.", f"{where}: {row.label}, not {given}")
    elif row.action == "verify" and verified:
        problems.add("verify that changes nothing", "The dataset itself says that the label is verified.", where)


def apply(
    train: pd.DataFrame, fold: np.ndarray, corrections: Iterable[Correction], *, unverified_weight: float
) -> pd.DataFrame:
    """The table of training labels, `data/folds.csv`: of the training clips of `data/index.csv`, checked corrections.

    A row a clip, all of them: fname, label (the dataset's), corrected (the label to learn), verified (1, 0 or missing
    where nothing is known; 1 also after verify or relabel), weight (0 for a dropped clip), dropped (1 or 0), fold.
    `fold`, int64 (n,), is drawn from the dataset's own labels: a correction moves no clip to another fold.
    `unverified_weight` is the weight in the loss of clips that neither the dataset nor a correction calls verified.
    `FsatError` if a label is left without clips to learn from, or has all of them in one fold.
    """
    rows = {row.fname: row for row in corrections}
    relabelled = {fname: row.label for fname, row in rows.items() if row.action == "relabel"}
    actions = train["fname"].map({fname: row.action for fname, row in rows.items()})
    dropped = actions.eq("drop")
    verified = pd.to_numeric(train["verified"], errors="coerce").astype("Int64").mask(actions.notna() & ~dropped, 1)
    weight = np.where(verified.eq(1).fillna(False).astype(bool), 1.0, float(unverified_weight))
    table = train[["fname", "label"]].assign(
        corrected=[relabelled.get(fname, label) for fname, label in zip(train["fname"], train["label"], strict=True)],
        verified=verified,
        weight=np.where(dropped, 0.0, weight),
        dropped=dropped.astype(int),
        fold=fold,
    )
    table = table.reset_index(drop=True)
    _check_labels_left(table)
    return table


def _check_labels_left(table: pd.DataFrame) -> None:
    """Each label needs clips in two folds: a network that holds one of them out then still has some to learn from."""
    left = table[table["weight"] > 0].groupby("corrected")["fold"].nunique()
    labels = sorted({*table["label"], *table["corrected"]})
    before = table.groupby("label")["fold"].nunique()
    short = [label for label in labels if left.get(label, 0) < min(2, before.get(label, 2))]
    if short:
        counts = table.loc[table["weight"] > 0, "corrected"].value_counts()
        lines = [f"{label} ({counts.get(label, 0)} clips)" for label in short]
        raise FsatError(
            "labels that would be left with clips in fewer than two folds, so that a network has none to learn from: "
            f"{', '.join(lines[:20])}. Folds are drawn from the dataset's own labels, and a new label needs clips in "
            "two of them: correct more clips, raise train.unverified_weight if it is 0, or change the dataset itself."
        )


def write(path: str | Path, corrections: Iterable[Correction]) -> None:
    """Write a corrections file."""
    rows = [[row.fname, row.action, NEW * row.new + row.label, row.by, row.why] for row in corrections]
    files.write_csv(path, pd.DataFrame(rows, columns=COLUMNS, dtype=str))


def replace_file(path: str | Path, corrections: Iterable[Correction], *, before: bytes) -> None:
    """Write a corrections file over `before`, what it held when it was read.

    Byte order mark, line ``sep=``, delimiter, order of columns, line ends and mode stay as they are. `FsatError` if the
    file has changed since, or is read-only.
    """
    path = Path(path)
    real = Path(os.path.realpath(path))  # a link stays a link
    mode = real.stat().st_mode if real.exists() else 0
    if not (mode & 0o222 and os.access(real, os.W_OK)):
        raise FsatError(f"{path}: is read-only; nothing is written. `chmod u+w {path}` if it is meant to change.")
    text = before.decode("utf-8", "replace")
    form = tables.form_of(text)
    reader = csv.reader(io.StringIO(text.removeprefix(form.start), newline=""), delimiter=form.delimiter)
    header = next((cells for cells in reader if any(map(str.strip, cells))), [])
    header = [cell for cell in map(str.strip, header) if cell.lower() in COLUMNS]
    header += [column for column in COLUMNS if column not in map(str.lower, header)]
    with files.atomic_file(real) as part:
        with part.open("w", encoding="utf-8", newline="") as stream:
            stream.write(form.start)
            writer = csv.writer(stream, delimiter=form.delimiter, lineterminator=form.line_end)
            writer.writerow(header)
            for row in corrections:
                cells = {name: str(getattr(row, name)) for name in COLUMNS} | {"label": NEW * row.new + row.label}
                writer.writerow([cells[name.lower()] for name in header])
        shutil.copymode(real, part)
        if real.read_bytes() != before:
            raise FsatError(f"{path}: was edited meanwhile; nothing is written. Run the command again.")


def merge(
    existing: Iterable[Correction], proposed: Iterable[Correction], *, decided: Iterable[str]
) -> list[Correction]:
    """Rows of an earlier file that stay, in their order, then the proposals.

    Somebody's own rows stay, and a proposal about the same clip does not count; rows of `fsat verify` go where the
    clip is one of `decided`, those that were decided about anew.
    """
    existing = list(existing)
    gone = {composed(fname) for fname in decided} | {composed(row.fname) for row in existing if not row.is_machine_made}
    kept = [row for row in existing if not (row.is_machine_made and composed(row.fname) in gone)]
    taken = {composed(row.fname) for row in kept}
    return kept + [row for row in proposed if composed(row.fname) not in taken]


def _spelled(label: str) -> str:
    """A label as `data/index.csv` spells it: composed, spaces as underscores."""
    return "_".join(composed(label).split())


def _spellings(names: "pd.Series[str]") -> dict[str, str]:
    """Each name by its composed form: macOS decomposes accents, spreadsheets do not."""
    return {composed(name): name for name in names.dropna().unique()}
