"""Single clips in the report: what is said about each, its spectrogram and its sound."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fsat.clips import recordings
from fsat.report import media
from fsat.report.run import Run
from fsat.scoring.outcomes import Outcome
from fsat.scoring.ranking import top_k

MEDIA_BYTES = 12_000_000  # of all listed clips; the rest of the page takes a few megabytes on the largest runs
PLAYER_SECONDS = 10.0


def cards(run: Run, found: Outcome, chosen: pd.DataFrame, split: str, classes: list[str]) -> Iterator[dict[str, Any]]:
    """What the page says about each chosen clip; `chosen` is a part of the rows of ``found.clips``."""
    folder, facts = _facts(run, split)
    trimmed = run.trim[run.trim["split"] == folder].set_index("fname")
    best = top_k(found.probabilities)
    records: Any = chosen.to_dict("records")
    for row, clip in zip(chosen.index, records, strict=True):
        fname = clip["fname"]
        fact = facts.loc[fname]
        yield {
            **clip,
            "key": f"{folder}/{fname}",
            "top": [(classes[column], float(found.probabilities[row, column])) for column in best[row]],
            "seconds": float(trimmed.loc[fname, "end"] - trimmed.loc[fname, "start"]) / run.sample_rate,
            "license": "" if pd.isna(fact["license"]) else fact["license"],
            "problem": "" if pd.isna(fact["problem"]) else fact["problem"],
            "freesound_id": _freesound_id(run, fact["freesound_id"]),
        }


def _facts(run: Run, split: str) -> tuple[str, pd.DataFrame]:
    """The dataset's name of a split, and what is known of its clips, by fname."""
    folder = "train" if split == "heldout" else "test"
    return folder, run.index[run.index["split"] == folder].set_index("fname")


def _freesound_id(run: Run, value: Any) -> str:
    """Number under which freesound.org has the clip; empty where it does not (the demo's numbers are made up)."""
    number = pd.to_numeric(value, errors="coerce")
    return "" if run.is_demo or pd.isna(number) else str(int(number))


def with_media(run: Run, keys: list[str]) -> dict[str, dict[str, Any]]:
    """Spectrogram and sound by ``split/fname``, each clip once, until the page is as large as it may be."""
    trim = run.trim.assign(key=run.trim["split"] + "/" + run.trim["fname"])
    trim = trim[trim["key"].isin(keys)]
    intervals = {clip.key: clip for clip in trim.itertuples()}
    work = partial(media.player, sample_rate=run.sample_rate, seconds=PLAYER_SECONDS)
    found: dict[str, dict[str, Any]] = {}
    players: dict[str, str] = {}
    size = 0
    for key in dict.fromkeys(keys):
        clip: Any = intervals[key]
        if clip.start == clip.end:
            continue
        store = run.mel[clip.split]
        row = store.rows([clip.fname])[0]
        frames = store.frames[store.starts[row] : store.starts[row] + store.lengths[row]]
        if key not in players:  # all clips of a recording at once
            own = trim[trim["path"] == clip.path]
            [sound] = recordings.sounds(own, run.dataset)
            sounds = recordings.each(sound, work=work, sample_rate=run.sample_rate)
            players |= zip(own["key"], sounds, strict=True)
        seconds = round((clip.end - clip.start) / run.sample_rate, 3)
        item = {"png": media.spectrogram(frames), "mp3": players[key], "s": seconds}
        size += len(item["png"]) + len(item["mp3"])
        if size > MEDIA_BYTES:
            break
        found[key] = item
    return found


def rows(run: Run, found: Outcome, split: str, labels: list[str]) -> list[list[Any]]:
    """Rows for the page's script: fname, fold, given label, verified, freesound id, then label and permille, thrice."""
    _, facts = _facts(run, split)
    number = {label: position for position, label in enumerate(labels)}
    best = top_k(found.probabilities)
    permille = np.rint(1000 * np.take_along_axis(found.probabilities, best, axis=1)).astype(int)
    freesound = facts.loc[found.clips["fname"], "freesound_id"].tolist()
    clips: Any = found.clips.itertuples()
    return [
        [
            clip.fname,
            clip.fold,
            number[clip.actual],
            -1 if clip.verified is None else int(clip.verified),
            _freesound_id(run, freesound_id),
            *np.stack([best[row], permille[row]], axis=1).ravel().tolist(),
        ]
        for row, (clip, freesound_id) in enumerate(zip(clips, freesound, strict=True))
    ]
