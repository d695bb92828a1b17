"""Four layouts of a dataset folder, read into one table. No audio file is opened here.

- **Published zips.** Training clips in ``FSDKaggle2018.audio_train/``, listed in
  ``FSDKaggle2018.meta/train_post_competition.csv``; test clips in ``FSDKaggle2018.audio_test/``, listed in
  ``FSDKaggle2018.meta/test_post_competition_scoring_clips.csv``.
- **Kaggle.** Training clips in ``audio_train/``, listed in ``train.csv``; test clips in ``audio_test/``, listed in
  ``test.csv``, else (names alone) in ``sample_submission.csv``, else whatever the folder holds.
- **One folder a class.** Training clips are ``<class>/<clip>``; test clips are ``test/<class>/<clip>``, or
  ``test/<clip>`` without a label. A table ``clips.csv`` beside the folders may add the optional columns below.
- **Recordings and annotations.** Recordings in any depth, and tables that say from when to when a label holds
  (`fsat.clips.annotations`). Each annotation is a clip: a test clip in the folder ``test/``, or by a column ``split``.

In layouts with tables the folder of clips may be a symbolic link that the dataset's owner made; a clip that is a link
must stay in that folder or the dataset.

The test set is optional in each. A file ``SYNTHETIC.txt`` says that the clips are synthesised. Tables need the
columns ``fname`` and, in training, ``label``. ``fold``, ``group``, ``freesound_id``, ``license``, ``manually_verified``
and ``usage`` are optional, further ones are ignored. In the last layout a clip's fname is its path below the dataset
folder.
"""

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fsat.clips import annotations, tables
from fsat.clips.clip_files import composed, file_problem, files_below, inside, is_audio, is_foreign, leaves_folder
from fsat.clips.problems import Problems
from fsat.core.errors import FsatError, listed, shown
from fsat.core.files import SYNTHETIC_MARK

COLUMNS = [
    *("split", "fname", "path", "label", "usage", "verified", "freesound_id", "license"),
    *("fold", "group", "start", "end", "problem"),
]
# Columns of data/predictions.parquet, which has one more column a label.
RESERVED_LABELS = {"model", "split", "fold", "fname"}
_USAGES = {usage.lower(): usage for usage in ("Public", "Private", "Ignored")}
# Characters that show nothing, though they are no format characters: joiner, selectors, Hangul and Braille fillers.
_BLANK = {*"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0", *map(chr, range(0xFE00, 0xFE10))}
_VERIFIED = {"1": "1", "0": "0", "true": "1", "false": "0", "": ""}


@dataclass(frozen=True)
class Layout:
    """Where a dataset with tables keeps its things, relative to its folder."""

    train_audio: str
    train_table: str
    test_audio: str
    test_tables: tuple[str, ...]


PUBLISHED = Layout(
    "FSDKaggle2018.audio_train",
    "FSDKaggle2018.meta/train_post_competition.csv",
    "FSDKaggle2018.audio_test",
    ("FSDKaggle2018.meta/test_post_competition_scoring_clips.csv", "FSDKaggle2018.meta/test_post_competition.csv"),
)
KAGGLE = Layout("audio_train", "train.csv", "audio_test", ("test.csv", "sample_submission.csv"))
# Beside class folders: more about their clips.
DETAILS_TABLE = "clips.csv"


@dataclass
class Listing:
    """Clips named by a dataset folder, and what was noticed about them.

    `table` has a row a clip, columns `COLUMNS`, all of them str ("" where nothing is known); its `problem` is set for a
    clip whose file or label is missing. `problems` are what no run can go on with, `notes` what a run can live with.
    `recordings` are those that have a table of annotations, which may be empty; none in the other layouts.
    """

    table: pd.DataFrame
    problems: Problems
    notes: list[str]
    recordings: list[str] = field(default_factory=list)


def read(folder: str | Path, *, label_column: str = "") -> Listing:
    """Read the tables or class folders of a dataset; `FsatError` if it has none of the four layouts.

    `label_column` is the column of labels in selection tables of Raven; empty: Label, Annotation or Species.
    """
    folder = Path(folder)
    try:
        names = [entry.name for entry in _entries(folder)]
    except FileNotFoundError as error:
        raise FsatError(
            f"dataset folder {folder} does not exist. Put the clips there, or set dataset.path in params.yaml to the "
            "folder that holds them. A dataset of sources/dvc.yaml is made by plain `dvc repro`."
        ) from error
    except OSError as error:
        raise FsatError(f"dataset folder {folder} cannot be read: {error.strerror}.") from error
    problems, notes = Problems(), list[str]()
    found: annotations.Found | None = None
    if any((folder / name).exists() for name in (PUBLISHED.train_audio, PUBLISHED.train_table)):
        rows = _read_tables(folder, PUBLISHED, problems, notes)
    elif any((folder / name).exists() for name in (KAGGLE.train_audio, KAGGLE.train_table)):
        rows = _read_tables(folder, KAGGLE, problems, notes)
    elif found := annotations.find(folder):
        rows = _read_annotations(folder, found, label_column, problems, notes)
    elif any((folder / name).is_dir() for name in names):
        rows = _read_class_folders(folder, names, problems, notes)
    else:
        here = ", ".join(shown(name) for name in names[:10]) or "nothing"
        raise FsatError(
            f"dataset folder {folder} has no layout known here (found: {here}). It needs one of: "
            "FSDKaggle2018.audio_train/ and FSDKaggle2018.meta/ (the published zips, unpacked); "
            "audio_train/ and train.csv with the columns fname and label; one folder of clips for each label; "
            f"or recordings and {annotations.TABLE}, selection tables of Raven or label tracks of Audacity."
        )
    rows = [row for row in rows if row and _has_good_names(row, problems)]
    _check_labels(rows, problems, notes)
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object).fillna("").astype(str)
    table = table.sort_values(["split", "fname"], ascending=[False, True], kind="stable", ignore_index=True)
    recordings = [path for path in sorted(found.described if found else []) if inside(folder, folder / path)]
    return Listing(table, problems, notes, recordings)


def refuse_inside(folder: str | Path, parent: str | Path, *, allowed: Sequence[str | Path]) -> None:
    """`FsatError` if a dataset folder lies inside `parent`, the pipeline's own folder, and is not one of `allowed`."""
    # Absolute by name, links not followed: DVC goes by the name, too.
    here, home, *known = (Path(os.path.abspath(path)) for path in (folder, parent, *allowed))  # noqa: PTH100
    if not here.is_relative_to(home) or here in known:
        return
    raise FsatError(
        f"dataset.path {folder} lies inside {parent}/, which belongs to the pipeline: DVC removes what it did not make "
        f"there, and git ignores it. Only {', '.join(map(str, allowed))} may be used, which sources/dvc.yaml makes. "
        f"Move your own clips out, e.g. `mv {folder} sounds`, set dataset.path to that folder, and `dvc add` it if you "
        "want DVC to keep it."
    )


# --- layouts with tables ---------------------------------------------------------------------------------------------

_Row = dict[str, str]


def _read_tables(folder: Path, layout: Layout, problems: Problems, notes: list[str]) -> list[_Row]:
    rows: list[_Row] = []
    if not (folder / layout.train_table).exists():
        problems.add("table missing", "It lists the training clips: columns fname and label.", layout.train_table)
    else:
        train = tables.read(folder, layout.train_table, ["fname", "label"], problems)
        rows += _locate(folder, layout.train_audio, "train", layout.train_table, train, problems, notes)
    test_table = next((name for name in layout.test_tables if (folder / name).exists()), None)
    if test_table is not None:
        test = tables.read(folder, test_table, ["fname"], problems)
        if test_table == "sample_submission.csv":
            test = [{"fname": row["fname"], "line": row["line"]} for row in test]  # its labels are placeholders
        rows += _locate(folder, layout.test_audio, "test", test_table, test, problems, notes)
    elif (folder / layout.test_audio).is_dir():
        found = [{"fname": name} for name in sorted(files_below(folder / layout.test_audio)) if is_audio(name)]
        rows += _locate(folder, layout.test_audio, "test", layout.test_audio, found, problems, notes)
    return rows


def _locate(
    folder: Path, audio: str, split: str, table: str, rows: list[_Row], problems: Problems, notes: list[str]
) -> list[_Row]:
    """Turn the rows of one table into rows of the listing, with the paths of their files."""
    home = folder / audio
    if not inside(folder, home):
        if not (home.is_dir() and home.is_symlink() and _made_by_owner(home)):
            problems.add(*tables.OUTSIDE, f"{audio}/")
            return []
        notes.append(
            f"{audio}/ is a symbolic link out of the dataset: its clips are read, but DVC does not see when they "
            "change. After a change: `dvc repro --force`"
        )
    if rows and not home.is_dir():
        remedy = "Put it there" + (", or remove the table to go on without a test set." if split == "test" else ".")
        problems.add("folder of clips missing", remedy, f"{audio}/ ({len(rows)} clips in {table})")
        return []
    on_disk = {composed(name): name for name in files_below(home)}
    located: list[_Row] = []
    for key, where, row in _each_file_once(rows, table, problems):
        fname = row["fname"]
        name = on_disk.pop(key, fname)
        path = home / name
        if leaves_folder(fname) or not (inside(folder, path) or inside(home, path)):
            problems.add(*tables.OUTSIDE, where)
            continue
        clip = {"split": split, "fname": fname, "path": f"{audio}/{name}", "problem": file_problem(path)}
        located.append({**clip, **_details(split, row, where, problems)})
    extra = sorted(name for name in on_disk.values() if is_audio(name))
    if extra:
        notes.append(f"{audio}/: {len(extra)} files are not in {table} and are not used: {listed(extra)}")
    return located


def _each_file_once(rows: list[_Row], table: str, problems: Problems) -> Iterator[tuple[str, str, _Row]]:
    """Rows of a table with the composed name of their file, and where they are, for messages."""
    lines: dict[str, str] = {}
    for row in rows:
        line, key = row.get("line", table), composed(posixpath.normpath(row["fname"]))
        where = f"{line}: {row['fname']}"
        if not row["fname"]:
            problems.add("row without fname", "Name the clip's file.", line)
        elif key in lines:
            problems.add("fname twice", "Keep one row for each clip.", f"{where} (also {lines[key]})")
        else:
            lines[key] = line
            yield key, where, row


def _made_by_owner(link: Path) -> bool:
    """Whether whoever owns a link owns the folder that it lies in, or runs this process."""
    return link.lstat().st_uid in {link.parent.stat().st_uid, os.geteuid()}


def _details(split: str, row: _Row, where: str, problems: Problems) -> _Row:
    """The optional columns of one row, checked."""
    details = {column: row.get(column, "") for column in ("label", "freesound_id", "license", "usage")}
    verified = row.get("manually_verified", row.get("verified", ""))
    if verified.lower() not in _VERIFIED:
        problems.add("manually_verified is neither 0 nor 1", "Write 0, 1 or nothing.", f"{where}: {verified[:80]!r}")
    details["verified"] = _VERIFIED.get(verified.lower(), "")
    if details["usage"] and details["usage"].lower() not in _USAGES:
        allowed = f"Write {', '.join(_USAGES.values())} or nothing."
        problems.add("unknown usage", allowed, f"{where}: {details['usage'][:80]!r}")
    details["usage"] = _USAGES.get(details["usage"].lower(), "")
    if split == "train":
        if "fold" in row and not re.fullmatch(r"[0-9]{1,4}(\.0)?", row["fold"]):
            remedy = "Number the folds 0, 1, 2, ... in every row, or remove the column."
            problems.add("fold is not a number", remedy, f"{where}: {row['fold'][:80]!r}")
        elif "fold" in row:
            details["fold"] = row["fold"].removesuffix(".0")
        if "group" in row and not row["group"]:
            problems.add("group is blank", "Give each clip a group, a lone one its own, or remove the column.", where)
        details["group"] = row.get("group", "")
    elif details["label"] == "None":
        details["label"] = ""  # Kaggle's word for clips that do not score
    return details


# --- one folder a class ----------------------------------------------------------------------------------------------


def _read_class_folders(folder: Path, names: list[str], problems: Problems, notes: list[str]) -> list[_Row]:
    rows: list[_Row] = []
    loose: list[str] = []
    for name in names:
        if not (folder / name).is_dir():
            loose.append(name)
        elif not inside(folder, folder / name):
            problems.add(*tables.OUTSIDE, f"{name}/")
        elif name == "test":
            for entry in _entries(folder / name):
                if is_audio(entry.name):
                    rows.append(_clip(folder, "test", entry, "", problems))
                elif entry.is_dir() and not inside(folder, entry.path):
                    problems.add(*tables.OUTSIDE, f"{name}/{entry.name}/")
                elif entry.is_dir():
                    rows += _class_folder(folder, "test", Path(entry.path), problems, notes)
        else:
            clips = _class_folder(folder, "train", folder / name, problems, notes)
            if not clips:
                remedy = "Put clips of that label right into it (deeper folders are not read), or remove it."
                problems.add("class folder without clips", remedy, f"{name}/")
            rows += clips
    if SYNTHETIC_MARK in loose:
        loose.remove(SYNTHETIC_MARK)
    if DETAILS_TABLE in loose:
        loose.remove(DETAILS_TABLE)
        _add_details(folder, rows, problems)
    if loose:
        notes.append(f"{len(loose)} files beside the class folders are not used: {listed(loose)}")
    return rows


def _add_details(folder: Path, rows: list[_Row], problems: Problems) -> None:
    """Fill in the optional columns of clips in class folders from `DETAILS_TABLE`, which names all for training."""
    clips = {composed(row["fname"]): row for row in rows if row}
    named = set[str]()
    for key, where, row in _each_file_once(tables.read(folder, DETAILS_TABLE, ["fname"], problems), "", problems):
        named.add(key)
        if key not in clips:
            problems.add("no such clip", "Name clips by folder and file, as in dog/1.wav, or remove the row.", where)
        else:
            clips[key] |= _details(clips[key]["split"], row, where, problems) | {"label": clips[key]["label"]}
    for key, row in clips.items() if named else ():
        if row["split"] == "train" and key not in named:
            what = f"training clip without a row in {DETAILS_TABLE}"
            problems.add(what, "Add one, or remove the table.", row["fname"])


def _class_folder(folder: Path, split: str, inner: Path, problems: Problems, notes: list[str]) -> list[_Row]:
    rows, other = list[_Row](), list[str]()
    for entry in _entries(inner):
        if is_audio(entry.name):
            rows.append(_clip(folder, split, entry, inner.name, problems))
        else:
            other.append(entry.name)
    if other and rows:
        relative = inner.relative_to(folder).as_posix()
        notes.append(f"{relative}/: {len(other)} entries are no audio files and are not used: {listed(other)}")
    return rows


def _clip(folder: Path, split: str, entry: "os.DirEntry[str]", label: str, problems: Problems) -> _Row:
    path = Path(entry.path)
    relative = path.relative_to(folder).as_posix()
    if not inside(folder, path):
        problems.add(*tables.OUTSIDE, relative)
        return {}
    problem = file_problem(path)
    return {"split": split, "fname": relative, "path": relative, "label": label, "problem": problem}


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    return sorted((e for e in os.scandir(folder) if not is_foreign(e.name)), key=lambda entry: entry.name)


# --- recordings and annotations --------------------------------------------------------------------------------------


def _read_annotations(
    folder: Path, found: annotations.Found, label_column: str, problems: Problems, notes: list[str]
) -> list[_Row]:
    rows = []
    for one in annotations.read(found, problems, notes, label_column=label_column):
        where, path = f"{one.where}: {one.recording}", folder / one.recording
        if not inside(folder, path):
            problems.add(*tables.OUTSIDE, where)
            continue
        split = one.more.get("split", "").lower() or split_of(one.recording)
        if split not in ("train", "test"):
            problems.add("split is neither train nor test", "Write one of them or nothing.", f"{where}: {split[:80]!r}")
            continue
        more = dict(one.more)
        if "fold" not in more:
            more["group"] = more.get("group") or one.recording
        span = {"start": f"{one.start:.3f}", "end": f"{one.end:.3f}", "problem": file_problem(path)}
        row = {"split": split, "fname": one.fname, "path": one.recording, **span}
        rows.append({**row, **_details(split, more, where, problems), "label": one.label})
    return rows


def split_of(recording: str) -> str:
    """Where a recording's clips belong, if no table says it."""
    return "test" if recording.startswith("test/") else "train"


# --- names and labels ------------------------------------------------------------------------------------------------


def _has_good_names(row: _Row, problems: Problems) -> bool:
    """Whether the names can be written: UTF-8 holds no undecodable bytes, CSV no bare carriage returns."""
    bad = next((name for name in (row["path"], row["fname"]) if not is_plain(name)), None)
    if bad is not None:
        problems.add("name is not UTF-8 or has control characters", "Rename the file.", ascii(bad))
    return bad is None


def is_plain(text: str) -> bool:
    """Whether a name is UTF-8 without control characters."""
    return shown(text) == text and not any(unicodedata.category(char) == "Cc" for char in text)


def _check_labels(rows: list[_Row], problems: Problems, notes: list[str]) -> None:
    """Check every label; spaces become underscores, because a submission separates labels by spaces."""
    spelled: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for row in rows:
        given = composed(row.get("label", ""))
        if row["split"] == "train" and given in ("", "None", "nan", "NaN"):
            row["label"] = ""
            row["problem"] = row["problem"] or (f"label is {given}" if given else "label is blank")
            continue
        label = "_".join(given.split())
        if spelled.setdefault(label, given) != given:
            remedy = "Spaces count as underscores: spell them alike."
            problems.add("labels that differ in spaces only", remedy, f"{spelled[label]!r} and {given!r}")
            spelled[label] = given
        if label != given:
            renamed[given] = label
        row["label"] = label
    alike: dict[str, list[str]] = {}
    for label in spelled:
        alike.setdefault(_visible(label), []).append(label)
    what = "labels that differ only in case or invisible characters are different labels"
    notes += [f"{what}: {' and '.join(map(repr, labels))}" for labels in alike.values() if len(labels) > 1]
    why = "a submission has spaces between labels"
    notes += [f"label {given!r} is written {label} ({why})" for given, label in renamed.items()]
    for label in spelled:
        if label in RESERVED_LABELS:
            problems.add("label is a word that the pipeline's tables use", "Rename it.", label)
        elif not is_plain(label):
            problems.add("label is not UTF-8 or has control characters", "Rename it.", ascii(label))


def _visible(label: str) -> str:
    """A label as it looks, case aside: no format characters, variation selectors or blank letters."""
    shape = unicodedata.normalize("NFKC", label).casefold()
    return "".join(c for c in shape if unicodedata.category(c) != "Cf" and c not in _BLANK and not c.isspace())
