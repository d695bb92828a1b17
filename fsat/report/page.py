"""One run as one page: `build` turns the tables of a run into a self-contained HTML file.

The page needs no network and holds no times: the same run gives the same bytes. Text that comes from a dataset (names,
labels, licences) is data: Jinja escapes it, the JSON block is escaped by ``tojson``, and the page's content security
policy names the one script that may run by its hash.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from fsat.report import charts, clips, figures, png, scores
from fsat.report.run import SPLITS, Run
from fsat.scoring import outcomes, verification
from fsat.scoring.names import NAMES, SUBMISSION, short
from fsat.scoring.names import listed as listed_models

_LISTED_PROBLEMS = 50


@dataclass(frozen=True)
class Report:
    """The page, and a PNG file of the learning curves."""

    html: str
    learning_curves: bytes


def build(run: Run, *, listed: int) -> Report:
    """Render the report of a run; audio of the listed clips is read from ``run.dataset``.

    `listed` is how many clips the list of mistakes and that of doubtful labels hold at most. `FsatError` if tables do
    not belong together or audio cannot be read.
    """
    classes = outcomes.class_names(run.predictions)
    everything = pd.concat([run.predictions, run.regressions], ignore_index=True)
    found = {
        (split, model): outcomes.outcome(everything, run.index, split=split, model=model)
        for split in SPLITS
        for model in NAMES
        if (everything["model"] == model).any()
    }
    submitted = {split: found[split, SUBMISSION] for split in SPLITS}
    splits = [split for split in SPLITS if len(submitted[split].clips)]
    labels = classes + sorted({label for split in splits for label in submitted[split].clips["actual"]} - {*classes})
    shown_split = splits[-1]  # the test clips where they have labels
    wrong = outcomes.mistakes(submitted[shown_split].clips, limit=listed)
    heldout = submitted["heldout"].clips
    corrected = _corrected(run)
    doubted = outcomes.suspicious(heldout[~heldout["fname"].isin(corrected)], limit=listed)
    noise = verification.noise(verification.gather(run.predictions, run.index))
    counted = noise[noise["counted"] > 0]
    cards = {
        "mistakes": list(clips.cards(run, submitted[shown_split], wrong, shown_split, classes)),
        "suspicious": list(clips.cards(run, submitted["heldout"], doubted, "heldout", classes)),
    }
    media = clips.with_media(run, [card["key"] for name in ("mistakes", "suspicious") for card in cards[name]])
    names, compared = scores.shown_models(run), scores.compared(run)
    groups = scores.groups(run, names, splits)
    differences = scores.differences(run, found, splits, names)
    of_labels = {split: {model: found[split, model].clips for model in compared} for split in splits}
    counts = {split: outcomes.confusion(labels, submitted[split].clips) for split in splits}
    context = {
        "run": run,
        "splits": {split: SPLITS[split] for split in splits},
        # The test clips first.
        "shown_splits": {split: SPLITS[split] for split in reversed(splits)},
        "shown_split": shown_split,
        "names": {model: short(model).capitalize() for model in NAMES},
        "submitted_models": listed_models(run.choice["test"]),
        "kinds": scores.kinds(run),
        "compared": compared,
        "groups": groups,
        "headline": scores.headline(submitted[shown_split].clips, groups[0]["rows"][0], len(classes)),
        "scale": scores.scale(groups),
        "differences": differences,
        "costs": scores.costs(run, splits),
        "verdicts": scores.verdicts(differences, baseline=run.baseline, trained=bool(run.networks)),
        "folds": scores.fold_rows(found, compared),
        "curves": figures.learning_curves(run),
        "matrices": {split: charts.matrix(counts[split], labels) for split in splits},
        "confusions": {split: scores.frequent_confusions(counts[split], labels) for split in splits},
        "classes": {split: scores.class_rows(labels, clips) for split, clips in of_labels.items()},
        "reliability": figures.reliability(run.reliability),
        "thresholds": figures.thresholds(run.thresholds),
        "cards": cards,
        "n_corrected": len(corrected),
        "label_scores": verification.scores(run.predictions, run.index, noise),
        "noise": counted.sort_values(["noise", "label"], ascending=[False, True]).to_dict("records"),
        "n_silent": sum(card["key"] not in media for name in cards for card in cards[name]),
        "player_seconds": clips.PLAYER_SECONDS,
        "variance": figures.variance(run.variance),
        "durations": figures.durations(run.index),
        "problems": _problems(run.index),
        "parameters": _parameters(run),
        "data": {
            "labels": labels,
            "classes": len(classes),
            "clips": {split: clips.rows(run, submitted[split], split, labels) for split in splits},
            "curves": figures.curve_values(run),
            "media": media,
        },
    }
    return Report(_render(context), png.learning_curves(run))


def _render(context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsat.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    environment.filters |= {"number": _number, "percent": _percent, "signed": _signed}
    environment.filters |= {"length_s": _length, "soft": _soft}
    folder = resources("fsat.report") / "templates"
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in ("report.js", "choices.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html.j2").render(
        **context,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704
        script_hash=digest,
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"  # noqa: RUF001 - a dash, as tables have it


def _percent(value: float | None) -> str:
    """Whole percent, but never 0 or 100 for what is neither."""
    if value is None:
        return "–"  # noqa: RUF001
    if 0 < value < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def _length(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def _soft(label: str) -> Markup:
    """A label that may be broken after an underscore."""
    return Markup("_<wbr>").join(label.split("_"))


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")  # noqa: RUF001 - a minus sign


def _corrected(run: Run) -> set[str]:
    """Training clips that have a correction."""
    verified = run.folds["fname"].map(run.index[run.index["split"] == "train"].set_index("fname")["verified"])
    touched = (
        (run.folds["corrected"] != run.folds["label"])
        | (run.folds["dropped"] == 1)
        | ((run.folds["verified"] == 1) & (pd.to_numeric(verified, errors="coerce") != 1))
    )
    return set(run.folds.loc[touched, "fname"])


def _problems(index: pd.DataFrame) -> dict[str, Any]:
    bad = index[index["problem"].notna() & (index["problem"] != "")]
    rows = bad[["split", "fname", "problem"]].head(_LISTED_PROBLEMS).to_dict("records")
    return {"rows": rows, "more": len(bad) - len(rows)}


def _leaves(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parameters(run: Run) -> list[dict[str, Any]]:
    """Sections of `params.yaml` with their keys, values and meanings."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for key, value in _leaves(run.parameters):
        section = key.partition(".")[0] if "." in key else "general"
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
        shown = shown.lower() if isinstance(value, bool) else shown
        sections.setdefault(section, []).append((key, shown, run.meanings.get(key, "")))
    return [{"name": name, "rows": rows} for name, rows in sections.items()]
