"""Annotations of recordings: each says from when to when a label holds, and is a clip. No audio file is opened here.

- **One CSV.** ``annotations.csv`` with the columns ``recording`` (path below the dataset), ``start``, ``end`` (seconds)
  and ``label``; further ones as in the other layouts, and ``split``.
- **Raven.** Selection tables beside ``<stem>.wav``: ``<stem>.selections.txt``, ``<stem>.Table.1.selections.txt``, or
  ``<stem>.txt`` with the column ``Begin Time (s)``. A table with the column ``Begin File`` is about the recordings that
  its rows name, wherever it lies.
- **Audacity.** Label tracks, ``<stem>.txt`` beside ``<stem>.wav``.
"""

import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import eq
from pathlib import Path, PurePosixPath

import numpy as np

from fsat.clips import tables
from fsat.clips.clip_files import composed, files_below, inside, is_audio
from fsat.clips.problems import Problems
from fsat.core.errors import listed, shown

TABLE = "annotations.csv"
# What nobody labelled: windows that `dataset.background` draws. No event has this label.
BACKGROUND = "background"
LABEL_COLUMNS = ("label", "annotation", "species")
SHORTEST_S, LONGEST_S = 0.05, 60.0
OUTSIDE_S = 0.1  # that an annotation may go beyond its recording: rounding of editors
_SELECTIONS, _TRACK = ".selections.txt", ".txt"
_TRACK_LINE = re.compile(r"\s*[-+.,\deE]+\t[-+.,\deE]+(\t|$)")
_RAVEN_HEAD = re.compile(r"(^|\t)begin time \(s\)(\t|$)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Annotation:
    """A label from `start` to `end` of a recording, in whole milliseconds given in seconds."""

    recording: str  # path below the dataset's folder
    start: float
    end: float
    label: str
    where: str  # table and line
    more: Mapping[str, str]  # further columns of a CSV

    @property
    def fname(self) -> str:
        """Name of the clip."""
        return clip_name(self.recording, self.start, self.end)


@dataclass
class Found:
    """Recordings of a folder, and its tables of annotations."""

    folder: Path
    sounds: list[str]
    tables: list[str]
    described: set[str] = field(default_factory=set)  # recordings that a table is about

    def __post_init__(self) -> None:
        """Look up each recording's names once."""
        self._by: dict[str, dict[str, list[str]]] = {"path": {}, "name": {}, "stem": {}, "beside": {}}
        for sound in self.sounds:
            path = PurePosixPath(composed(sound))
            keys = {"path": str(path), "name": path.name, "stem": path.stem, "beside": str(path.with_suffix(""))}
            for kind, key in keys.items():
                self._by[kind].setdefault(key, []).append(sound)

    def at(self, path: str) -> str | None:
        """The recording with this path below the folder."""
        return next(iter(self._by["path"].get(composed(posixpath.normpath(path)), [])), None)

    def beside(self, table: str) -> list[str]:
        """Recordings whose path, without suffix, begins that of a table, up to a dot: those with the longest path."""
        stem = composed(table)
        while (dot := stem.rfind(".")) > stem.rfind("/"):
            stem = stem[:dot]
            if stem in self._by["beside"]:
                return self._by["beside"][stem]
        return []

    def named(self, given: str, table: str) -> list[str]:
        """Recordings that a program may call by this path or name: several if it does not say which."""
        path, folder = PurePosixPath(composed(given.replace("\\", "/"))), PurePosixPath(composed(table)).parent
        # By stem: written of another copy of the recording, such as one before it was compressed.
        found = self._by["name"].get(path.name) or self._by["stem"].get(path.stem, [])

        def rank(sound: str) -> tuple[int, bool]:
            """How many of the last parts of the paths are equal, and whether the table lies beside the recording."""
            own = PurePosixPath(composed(sound))
            return sum(takewhile(bool, map(eq, own.parts[::-1], path.parts[::-1]))), own.parent == folder

        best = max(map(rank, found), default=None)
        return [sound for sound in found if rank(sound) == best]


def clip_name(recording: str, start: float, end: float) -> str:
    """How the index and every table after it call a stretch of a recording."""
    return f"{recording}@{start:.3f}-{end:.3f}"


def find(folder: Path) -> Found | None:
    """Tables of annotations in a dataset folder; None if it has none, whatever else it is."""
    names = sorted(files_below(folder))
    sounds = [name for name in names if is_audio(name)]
    if (folder / TABLE).exists():
        return Found(folder, names, [TABLE])
    stems = {posixpath.splitext(sound)[0] for sound in sounds}
    selections = [name for name in names if _is_selections(folder, name)]
    texts = [name for name in names if name.lower().endswith(_TRACK) and name[: -len(_TRACK)] in stems]
    texts = [name for name in texts if name not in selections]
    if not selections and not any(_is_track(folder, name) for name in texts):
        return None
    found = Found(folder, sounds, selections)
    annotated = {sound for name in selections for sound in found.beside(name)}
    # A text beside a recording with a Raven table is a track only if it looks like one.
    found.tables += [name for name in texts if _is_track(folder, name) or not annotated.issuperset(found.beside(name))]
    return found


def read(found: Found, problems: Problems, notes: list[str], *, label_column: str = "") -> list[Annotation]:
    """Read and check all annotations of a folder, each stretch once, by recording and start.

    `label_column` is the column of labels in Raven's tables; empty: the first of `LABEL_COLUMNS` that is there. What is
    wrong goes to `problems`, what a run can live with to `notes`.
    """
    rows: list[Annotation] = []
    for table in found.tables:
        if table == TABLE:
            rows += _of_csv(found, problems)
        elif _is_selections(found.folder, table):
            rows += _of_raven(found, table, label_column.lower(), problems)
        else:
            rows += _of_audacity(found, table, problems)
    rows = _distinct(rows, problems, notes)
    left = [sound for sound in found.sounds if is_audio(sound) and sound not in found.described]
    if left:
        notes.append(f"{len(left)} recordings without annotations are not used: {listed(left)}")
    if found.tables == [TABLE] and (unread := [name for name in found.sounds if _is_label_file(found.folder, name)]):
        notes.append(f"{len(unread)} label files are not read, because {TABLE} is there: {listed(unread)}")
    for what, chosen in (
        (f"shorter than {1000 * SHORTEST_S:g} ms", [row for row in rows if row.end - row.start < SHORTEST_S]),
        (f"longer than {LONGEST_S:g} s", [row for row in rows if row.end - row.start > LONGEST_S]),
        ("at the same time as one of another label, while a clip has one label", _overlapping(rows)),
    ):
        if chosen:
            notes.append(f"{len(chosen)} annotations are {what}: {listed(row.fname for row in chosen)}")
    return rows


# --- three kinds of tables -------------------------------------------------------------------------------------------


def _of_csv(found: Found, problems: Problems) -> Iterator[Annotation]:
    for row in tables.read(found.folder, TABLE, ["recording", "start", "end", "label"], problems):
        given, where = row["recording"], row["line"]
        sound = found.at(given)
        if sound is None:
            problems.add("no such recording", "Name it by its path below the dataset's folder.", f"{where}: {given}")
            continue
        found.described.add(sound)
        yield from _checked(sound, row["start"], row["end"], row["label"], where, problems, row)


def _of_raven(found: Found, table: str, label_column: str, problems: Problems) -> Iterator[Annotation]:
    lines = _lines(found, table, problems)
    if not lines:
        return
    heads = [head.strip().lower() for head in lines[0][1].split("\t")]
    columns = [name for name in ([label_column] if label_column else LABEL_COLUMNS) if name in heads]
    missing = [name for name in ("begin time (s)", "end time (s)") if name not in heads]
    if missing or not columns:
        what = " and ".join([*missing, *([] if columns else [label_column or "Label, Annotation or Species"])])
        remedy = "Save it from Raven as a selection table; dataset.label_column names the column of labels."
        problems.add(f"column {what} missing", remedy, f"{table} (found: {', '.join(heads)[:200]})")
        return
    rows = [
        (where, dict.fromkeys(heads, "") | dict(zip(heads, map(str.strip, line.split("\t")), strict=False)))
        for where, line in lines[1:]
    ]
    names = {row.get("begin path") or row.get("begin file", "") for _, row in rows}
    # A recording that was renamed is still that of the table beside it.
    own = found.beside(table) if len(names) <= 1 else []
    found.described.update(own if len(own) == 1 and not rows else [])
    given = set[tuple[str, ...]]()
    for where, row in rows:
        name = row.get("begin path") or row.get("begin file", "")
        sounds = (name and found.named(name, table)) or own
        if not _one_recording(sounds, f"{where}: {name}" if name else table, problems):
            continue
        found.described.update(sounds)
        begin, end, label = row["begin time (s)"], row["end time (s)"], _unquoted(row[columns[0]])
        if name and row.get("file offset (s)"):
            # Begin Time runs on from file to file.
            begin, end = row["file offset (s)"], _moved(end, begin, row["file offset (s)"])
        # Views and channels repeat the row of a selection.
        key = (*sounds, row.get("selection", where), begin, end, label)
        if key not in given:
            yield from _checked(sounds[0], begin, end, label, where, problems, {})
        given.add(key)


def _of_audacity(found: Found, table: str, problems: Problems) -> Iterator[Annotation]:
    lines = _lines(found, table, problems)
    beside = found.beside(table)
    if lines is None or not _one_recording(beside, table, problems):
        return
    found.described.update(beside)
    for where, line in lines:
        start, end, label = [*line.split("\t"), "", ""][:3]
        if not line.startswith("\\"):  # frequencies of the label before
            yield from _checked(beside[0], start, end, label.strip(), where, problems, {})


def _lines(found: Found, table: str, problems: Problems) -> list[tuple[str, str]] | None:
    """The lines of a table that are not blank, with where they are."""
    text = tables.read_text(found.folder, table, problems)
    if text is None:
        return None
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    return [(f"{table} line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def _one_recording(sounds: Sequence[str], where: str, problems: Problems) -> bool:
    if not sounds:
        problems.add("no such recording", "Put the table beside the recording, named like it.", where)
    elif len(sounds) > 1:
        problems.add("several recordings have this name", "Keep one, or rename them.", f"{where} ({listed(sounds)})")
    return len(sounds) == 1


def _checked(
    sound: str, start: str, end: str, label: str, where: str, problems: Problems, more: Mapping[str, str]
) -> Iterator[Annotation]:
    """One row, if it can be used."""
    first, last = _number(start), _number(end)
    item = f"{where}: {shown(start)[:40]} to {shown(end)[:40]}"
    if first is None or last is None:
        problems.add("start or end is not a number", "Write seconds, with a decimal point.", item)
    elif round(last, 3) <= round(first, 3):
        problems.add("end is not after start", "Mend it; a point has no sound.", item)
    elif first < -OUTSIDE_S:
        problems.add("annotation outside its recording", "Mend it.", f"{item}, in {sound}")
    elif not label:
        problems.add("annotation without a label", "Give it one, or remove it.", item)
    else:
        yield Annotation(sound, round(max(first, 0.0), 3), round(last, 3), label, where, more)


def _distinct(rows: Sequence[Annotation], problems: Problems, notes: list[str]) -> list[Annotation]:
    """Each stretch once, by recording and start."""
    kept: dict[str, Annotation] = {}
    repeated = []
    for row in rows:
        first = kept.setdefault(row.fname, row)
        if first.label != row.label:
            item = f"{row.where}: {row.label} (also {first.where}: {first.label})"
            problems.add("two labels for one stretch", "A clip has one label: keep one of them.", item)
        elif first is not row:
            repeated.append(row.where)
    if repeated:
        notes.append(f"{len(repeated)} annotations say again what another says: {listed(repeated)}")
    return sorted(kept.values(), key=lambda row: (row.recording, row.start, row.end))


def _overlapping(rows: Sequence[Annotation]) -> list[Annotation]:
    """Annotations during which another one, with another label, begins or goes on; rows by recording and start."""
    found: dict[int, Annotation] = {}
    going: list[tuple[int, Annotation]] = []
    for number, row in enumerate(rows):
        going = [(n, one) for n, one in going if one.recording == row.recording and one.end > row.start]
        for n, one in going:
            if one.label != row.label:
                found |= {n: one, number: row}
        going.append((number, row))
    return [found[number] for number in sorted(found)]


# --- background ------------------------------------------------------------------------------------------------------


def free_stretches(
    taken: Sequence[tuple[float, float]], seconds: float, *, length: float, n: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Draw `n` stretches of a recording that overlap neither `taken` nor each other; fewer if there is no more room.

    Every place in what is free, in whole milliseconds, is as probable as any other. In seconds, by start.
    """
    width, position = max(1, round(1000 * length)), 0
    free = []
    for start, end in [*sorted(taken), (seconds, seconds)]:
        free.append((position, math.floor(1000 * min(start, seconds))))
        position = max(position, math.ceil(1000 * end))
    drawn = []
    for _ in range(n):
        free = [(first, last) for first, last in free if last - first >= width]
        places = np.cumsum([0, *(last - first - width + 1 for first, last in free)])
        if not places[-1]:
            break
        place = int(rng.integers(places[-1]))
        number = int(np.searchsorted(places, place, side="right")) - 1
        first, last = free.pop(number)
        start = first + place - int(places[number])
        free += [(first, start), (start + width, last)]
        drawn.append((start / 1000, (start + width) / 1000))
    return sorted(drawn)


# --- words and numbers -----------------------------------------------------------------------------------------------


def safe(text: str) -> str:
    """A label as a table may hold it that a spreadsheet opens: no formula. Raven's tables are read without the quote.

    >>> safe("=1+1"), safe("Rain")
    ("'=1+1", 'Rain')
    """
    return f"'{text}" if is_formula(text) else text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet takes a cell for a formula."""
    return text.startswith(_FORMULA)


def _unquoted(text: str) -> str:
    return text[1:] if text.startswith(tuple(f"'{sign}" for sign in _FORMULA)) else text


def _is_label_file(folder: Path, name: str) -> bool:
    return _is_selections(folder, name) or (name.lower().endswith(_TRACK) and _is_track(folder, name))


def _is_selections(folder: Path, name: str) -> bool:
    """Whether a file is called, or is a text that begins, like a selection table of Raven."""
    lower = name.lower()
    return lower.endswith(_SELECTIONS) or (lower.endswith(_TRACK) and bool(_RAVEN_HEAD.search(_head(folder, name))))


def _is_track(folder: Path, name: str) -> bool:
    """Whether a text begins like a label track of Audacity."""
    return _TRACK_LINE.match(_head(folder, name)) is not None


def _head(folder: Path, name: str) -> str:
    """The first line of a text that is not blank and no frequencies; empty if it cannot be read."""
    path = folder / name
    try:
        if not inside(folder, path) or not path.is_file():
            return ""
        with path.open("rb") as stream:
            text = stream.read(4096).decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError:
        return ""
    return next((line for line in _LINE_END.split(text) if line.strip() and not line.startswith("\\")), "")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _moved(end: str, begin: str, offset: str) -> str:
    """`end` where the same stretch begins at `offset`, not at `begin`; empty if one of them is no number."""
    values = [_number(text) for text in (end, begin, offset)]
    return "" if None in values else repr(values[0] - values[1] + values[2])  # type: ignore[operator]
