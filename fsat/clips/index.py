"""Dataset folder -> table of clips, list of everything that is wrong with it, and facts about it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fsat.clips import annotations, audio, layouts
from fsat.clips.problems import Problems
from fsat.core import parallel, seeds
from fsat.core.errors import listed, shown
from fsat.core.files import SYNTHETIC_MARK

INDEX_COLUMNS = [
    *("split", "fname", "path", "label", "usage", "verified", "freesound_id", "license"),
    *("sample_rate", "channels", "seconds", "problem"),
]
_SHOWN = 20
# Memory of a worker process grows with the length of the clip it works on: this much suffices for a clip this long.
LONG_CLIP_S, LONG_CLIP_BYTES = 1_200, 600_000_000


@dataclass(frozen=True)
class Index:
    """What `scan` found.

    `table` has a row a clip, training clips first, each split by fname; columns `INDEX_COLUMNS`, then `fold` and
    `group` where the dataset has them, and `start` and `end` (seconds) where clips are stretches of recordings.
    """

    table: pd.DataFrame
    notes: list[str]  # what a person should know and a run can live with
    facts: dict[str, Any]  # for metrics/data.json


def scan(
    folder: str | Path,
    *,
    bad_clips: str = "fail",
    exclude_licenses: Sequence[str] = (),
    label_column: str = "",
    background: int = 0,
    seed: int = 0,
) -> Index:
    """Find and probe all clips of a dataset folder (`fsat.clips.layouts` says how it may look), and nothing outside it.

    `bad_clips`, "fail" or "skip", is for training clips whose file or label cannot be used; test clips always stay,
    with a `problem`. Training clips with one of `exclude_licenses` (upper and lower case alike) are left out.
    `label_column`: see `layouts.read`. `background` windows a recording, as long as the median annotation, are drawn
    with `seed` from what no annotation covers; their label is `annotations.BACKGROUND`.

    `FsatError` lists all problems of the dataset at once.
    """
    listing = layouts.read(folder, label_column=label_column)
    table, problems, notes = listing.table, listing.problems, listing.notes
    table, n_excluded = _without_licenses(table, exclude_licenses, notes)
    more = listing.recordings if background else []
    table, notes_on_sound, sounds = _probe(table, Path(folder).absolute(), more)  # for workers in another folder
    if listing.recordings:
        table = _of_recordings(table, sounds, problems)
    if more and not problems:
        whole = listing.table  # also what a licence leaves out is no background
        taken = whole.assign(start=whole["start"].astype(float), end=whole["end"].astype(float))
        windows = _background(table, taken, {path: sounds[path] for path in more}, background, seed, notes)
        table = pd.concat([table, windows], ignore_index=True)
        table = table.sort_values(["split", "fname"], ascending=[False, True], kind="stable", ignore_index=True)

    bad = table[(table["split"] == "train") & (table["problem"] != "")]
    bad_items = (bad["path"] + ": " + bad["problem"]).drop_duplicates().tolist()  # one for a recording's clips
    if bad_clips == "skip":
        table = table.drop(bad.index).reset_index(drop=True)
        if bad_items:
            notes.append(f"{len(bad)} bad training clips are skipped: {listed(bad_items, limit=_SHOWN)}")
    else:
        for item in bad_items:
            remedy = "Mend or remove it, or set dataset.bad_clips to skip."
            problems.add("training clip that cannot be used", remedy, item)
    table["bytes"] = _digests(table, Path(folder))
    train, test = table[table["split"] == "train"], table[table["split"] == "test"]
    sizes = train.loc[train["label"] != "", "label"].value_counts().sort_index()
    if len(train) == 0 and not problems:
        problems.add("no training clips", "A dataset needs clips of at least two labels.", str(folder))
    elif len(sizes) == 1 and not problems:
        problems.add("one label only", "Nothing can be learned from it: at least two are needed.", str(sizes.index[0]))
    for clips in _repeats(train, "bytes"):
        if clips["label"].nunique() > 1:
            what = "training clips with the same bytes and different labels"
            items = clips["path"] + " (" + clips["label"] + ")"
            if bad_clips == "skip":
                notes.append(f"{what}, which dataset.bad_clips: skip lets pass: {listed(items)}")
            else:
                problems.add(what, "Keep one of them.", listed(items))
    problems.raise_if_any(folder)

    notes += _notes_on_labels(sizes, test)
    unreadable = test[test["problem"] != ""]
    if len(unreadable):
        items = unreadable["path"] + ": " + unreadable["problem"]
        notes.append(f"{len(items)} test clips cannot be read; they keep their row: {listed(items, limit=_SHOWN)}")
    notes += notes_on_sound + _notes_on_length(table)
    notes += _notes_on_repeats(train)
    pairs = _duplicates(train, test)
    notes += [f"test clip {pair.test} is also in train: {pair.train} ({pair.why})" for pair in pairs[:_SHOWN]]
    if len(pairs) > _SHOWN:
        notes.append(f"... and {len(pairs) - _SHOWN} more such pairs of test and training clips")

    kinds = {kind: len({pair.test for pair in pairs if pair.kind == kind}) for kind in _MARKS}
    facts = {
        "train": {
            **_facts(train), "classes": len(sizes),
            "clips_per_class": {"min": int(sizes.min()), "max": int(sizes.max())},
            "bad": len(bad), "excluded": n_excluded,
        },
        "test": {**_facts(test), "labelled": int((test["label"] != "").sum()), "bad": len(unreadable)},
        "test_also_in_train": {"clips": len({pair.test for pair in pairs}), **kinds},
        "synthetic": (Path(folder) / SYNTHETIC_MARK).is_file(),
        "licenses": {"train": _licenses(train), "test": _licenses(test)},
    }  # fmt: skip
    optional = [column for column in ("fold", "group") if (train[column] != "").any()]
    optional += ["start", "end"] if listing.recordings else []
    return Index(table[INDEX_COLUMNS + optional], [shown(note) for note in notes], facts)


class _Duplicate(NamedTuple):
    """A test clip and a training clip that are, or may be, the same recording; kind: one of `_MARKS`."""

    test: str
    train: str
    kind: str
    why: str


# What tells that two clips are, or may be, one recording.
_MARKS = {"fname": "same name", "freesound_id": "same freesound_id {}", "bytes": "same bytes"}


def _duplicates(train: pd.DataFrame, test: pd.DataFrame) -> list[_Duplicate]:
    """Test clips that are in the training set too: a score on such clips says less than it seems to.

    In the order of the test clips; for each kind the first training clip that matches.
    """
    found = []
    for kind, why in _MARKS.items():
        first = {key: fname for key, fname in zip(train[kind][::-1], train["fname"][::-1], strict=True) if key}
        pairs = zip(test[kind], test["fname"], strict=True)
        found += [_Duplicate(fname, first[key], kind, why.format(key)) for key, fname in pairs if key in first]
    return sorted(found, key=lambda pair: pair.test)


def _digests(table: pd.DataFrame, folder: Path) -> "pd.Series[str]":
    """sha256 of the good clips whose size occurs twice; the others are not read and have ""."""
    good = table.loc[table["problem"] == "", "path"]
    files = good.drop_duplicates()
    sizes = files.map(lambda path: (folder / path).stat().st_size)
    found = {path: _sha256(folder / path) for path in files[sizes.duplicated(keep=False)]}
    digests = good.map(lambda path: found.get(path, ""))
    if table["start"].dtype == float:  # copies of a recording, the same stretch of each
        span = table["start"].astype(str) + "-" + table["end"].astype(str)
        digests = digests.where(digests == "", digests + "@" + span)
    return digests.reindex(table.index, fill_value="")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _repeats(train: pd.DataFrame, column: str) -> list[pd.DataFrame]:
    """Groups of training clips that have the same value."""
    return [clips for _, clips in train[train[column] != ""].groupby(column, sort=False) if len(clips) > 1]


def _notes_on_repeats(train: pd.DataFrame) -> list[str]:
    """Training clips of one recording that may be, or are, in different folds: the score would be flattered."""
    notes = []
    for column in ("bytes", "freesound_id"):
        # Clips with one group share a fold; so do those that the dataset itself puts into one.
        apart = [
            clips
            for clips in _repeats(train, column)
            if not any((clips[home] != "").all() and clips[home].nunique() == 1 for home in ("group", "fold"))
        ]
        if apart:
            count = sum(len(clips) - 1 for clips in apart)
            names = [" = ".join(clips["fname"].head(3)) for clips in apart]
            notes.append(
                f"{count} training clips have the {column} of another, so that a fold may be scored on what it was "
                f"trained on: {listed(names)}. Give them the same value in a column `group`, or remove them."
            )
    return notes


def _notes_on_length(table: pd.DataFrame) -> list[str]:
    """Clips for which a worker needs more memory than is promised."""
    long = table[table["seconds"].fillna(0) > LONG_CLIP_S]
    if long.empty:
        return []
    longest = float(long["seconds"].max())
    note = (
        f"{len(long)} clips are longer than {LONG_CLIP_S // 60} minutes, the length for which "
        f"{LONG_CLIP_BYTES / 1e6:.0f} MB a worker process suffice; the longest needs about "
        f"{longest / LONG_CLIP_S * LONG_CLIP_BYTES / 1e6:.0f} MB. Cut them, or set FSAT_JOBS to fewer processes: "
        f"{listed(long['fname'])}"
    )
    return [note]


def _without_licenses(table: pd.DataFrame, licenses: Sequence[str], notes: list[str]) -> tuple[pd.DataFrame, int]:
    is_train = table["split"] == "train"
    present = table.loc[is_train, "license"].str.lower()
    for name in licenses:
        if not (present == name.lower()).any():
            known = ", ".join(sorted(set(table.loc[is_train, "license"]) - {""})) or "none"
            notes.append(f"exclude_licenses: no training clip has the licence {name!r} (licences here: {known})")
    excluded = is_train & table["license"].str.lower().isin([name.lower() for name in licenses])
    if excluded.any():
        notes.append(f"{excluded.sum()} training clips are left out for their licence")
    return table[~excluded].reset_index(drop=True), int(excluded.sum())


_NOTES = {
    audio.SILENT: "are silent",
    audio.CANCELLING: "have channels that cancel each other in their mean, 40 dB or more below them, which is all that "
    "is learned from: keep one channel",
}


def _probe(
    table: pd.DataFrame, folder: Path, more: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str], dict[str, audio.ClipInfo]]:
    """Add sample_rate, channels and seconds of the file, and the problem of each bad clip.

    Also notes on what the good ones are, and what was found of each file: of those of the table and of `more`.
    """
    present = table.index[table["problem"] == ""]
    paths = list(dict.fromkeys([*table.loc[present, "path"], *more]))
    is_cut = (table["start"] != "").any() or len(more) > 0
    probe = partial(audio.probe, max_seconds=np.inf if is_cut else audio.MAX_SECONDS)
    sounds = dict(zip(paths, parallel.map_clips(probe, [folder / path for path in paths], desc="index"), strict=True))
    clips = [sounds[path] for path in table.loc[present, "path"]]
    table = table.copy()
    table.loc[present, "problem"] = [clip.problem for clip in clips]
    for column, dtype in (("sample_rate", "Int64"), ("channels", "Int64"), ("seconds", "Float64")):
        values = [None if clip.problem else round(getattr(clip, column), 6) for clip in clips]
        table[column] = pd.Series(values, index=present, dtype=dtype).reindex(table.index)
    notes = []
    for note, what in _NOTES.items():
        if items := [path for path, sound in sounds.items() if sound.note == note]:
            notes.append(f"{len(items)} clips {what}: {listed(items, limit=_SHOWN)}")
    return table, notes, sounds


def _of_recordings(table: pd.DataFrame, sounds: Mapping[str, audio.ClipInfo], problems: Problems) -> pd.DataFrame:
    """Start and end as numbers, and the length of each clip; what lies outside its recording goes to `problems`."""
    table = table.assign(start=table["start"].astype(float), end=table["end"].astype(float))
    length = table["seconds"]
    outside = (table["end"] > length + annotations.OUTSIDE_S) | (table["start"] >= length)
    for row in table[outside.fillna(False)].itertuples():
        item = f"{row.fname}: the recording ends at {sounds[str(row.path)].seconds:.3f}"
        problems.add("annotation outside its recording", "Mend it, or remove it.", item)
    table["seconds"] = (table["end"].clip(upper=length).astype("Float64") - table["start"]).round(6)
    for name in table.loc[(table["seconds"] > audio.MAX_SECONDS).fillna(False), "fname"]:
        problems.add(f"annotation longer than {audio.MAX_SECONDS} s", "Cut it into shorter ones.", name)
    return table


def _background(
    table: pd.DataFrame,
    annotated: pd.DataFrame,
    sounds: Mapping[str, audio.ClipInfo],
    n: int,
    seed: int,
    notes: list[str],
) -> pd.DataFrame:
    """Rows of windows that nothing `annotated` covers: `n` of each recording that is used, or what it has room for."""
    median = float((table["end"] - table["start"]).median())
    used, spans = dict(list(table.groupby("path"))), dict(list(annotated.groupby("path")))
    rows, narrow = [], []
    for path, sound in sounds.items():
        if sound.problem or (path in spans and path not in used):
            continue
        own = used.get(path, table.iloc[:0])
        taken = list(spans[path][["start", "end"]].itertuples(index=False)) if path in spans else []
        rng = seeds.generator(seed, "background", path)
        windows = annotations.free_stretches(taken, sound.seconds, length=median, n=n, rng=rng)
        narrow += [path] if len(windows) < n else []
        split = own["split"].iloc[0] if len(own) else layouts.split_of(path)
        home: dict[str, Any] = {"group": path} if split == "train" else {}
        if len(own):
            home = {column: own[column].iloc[0] for column in ("fold", "group", "license", "freesound_id")}
        facts = {"sample_rate": sound.sample_rate, "channels": sound.channels}
        for start, end in windows:
            fname = annotations.clip_name(path, start, end)
            span = {"start": start, "end": end, "seconds": round(end - start, 6)}
            names = {"split": split, "fname": fname, "path": path, "label": annotations.BACKGROUND}
            rows.append({**names, **home, **facts, **span})
    if narrow:
        what = f"recordings have room for fewer than {n} windows of {median:.3f} s without an annotation"
        notes.append(f"{len(narrow)} {what}: {listed(narrow)}")
    columns = {name: [row.get(name, "") for row in rows] for name in map(str, table)}
    return pd.DataFrame(columns).astype(table.dtypes.to_dict())


def _notes_on_labels(sizes: "pd.Series[int]", test: pd.DataFrame) -> list[str]:
    notes = []
    lone = [str(label) for label, size in sizes.items() if size == 1]
    if lone:
        notes.append(f"{len(lone)} labels have one training clip only: {listed(lone)}")
    unknown = sorted(set(test["label"]) - set(sizes.index) - {""})
    if unknown:
        count = int(test["label"].isin(unknown).sum())
        missed = "test clips have labels that no training clip has, which count as missed"
        notes.append(f"{count} {missed}: {listed(unknown)}")
    return notes


def _facts(clips: pd.DataFrame) -> dict[str, Any]:
    verified = int((clips["verified"] == "1").sum())
    return {"clips": len(clips), "hours": round(float(clips["seconds"].sum()) / 3600, 4), "verified": verified}


def _licenses(clips: pd.DataFrame) -> dict[str, int]:
    counts = clips["license"].replace("", "unknown").value_counts().sort_index()
    return {shown(str(name)): int(count) for name, count in counts.items()}
