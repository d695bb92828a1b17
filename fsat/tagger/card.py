"""The model card of a bundle: what it is, what it learned from, how good it is and what it is not for."""

from collections.abc import Mapping
from typing import Any

from fsat.scoring.names import NAMES, SUBMISSION, listed, short
from fsat.tagger.bundle import STATISTICS, Manifest

_PARTS = {
    ("test", "all"): "test clips ({})",
    ("test", "public"): "test clips, Public ({})",
    ("test", "private"): "test clips, Private ({})",
    ("heldout", "all"): "cross-validation ({} held-out clips)",
}

_SYNTHETIC = """\
> **Synthetic data.** This model was trained and scored on the demo dataset, whose clips are synthesised. It shows that
> the pipeline works. It does not know real sounds, and its scores say nothing about them."""

_USE = """\
```
fsat tag --model <this folder> clip.wav
fsat tag --model <this folder> recordings/ --format csv
```

Only the package `fsat` is needed. `bundle.json` is the readable list of everything in here, with a checksum for every
file."""

_INTENDED = """\
Finding and sorting clips by the sound events they hold, {how_many}, as suggestions that a person looks
over."""
_HOW_MANY = {"softmax": "one main sound a clip", "sigmoid": "one or several a clip"}

_LIMITS = """\
- {sums}
- A long recording is tagged as a whole; use `--segments` to tag it in windows.
- Sounds recorded in other ways than the training clips (distance, noise, codecs) may be tagged worse than the scores
  suggest.
- Not for decisions about people or about safety, such as an alarm."""


def model_card(manifest: Manifest) -> str:
    """Markdown that says what a bundle is, what it learned from, how good it is and what it is not for."""
    parts = [
        f"# Audio tagging model: {len(manifest.labels)} labels, trained on {manifest.dataset.name}",
        _networks_section(manifest),
        *([_SYNTHETIC] if manifest.dataset.synthetic else []),
        *("## Use", _USE),
        *("## Data", _data_section(manifest)),
        *("## Scores", _published_score(manifest) if manifest.published else _scores_section(manifest)),
        *("## Intended use", _INTENDED.format(how_many=_HOW_MANY[manifest.activation])),
        *("## Limits", _LIMITS.format(sums=_sums(manifest))),
        *("## Labels", ", ".join(f"`{label}`" for label in manifest.labels)),
    ]
    return "\n\n".join(parts) + "\n"


def _networks_section(manifest: Manifest) -> str:
    lines = []
    for stage, network in manifest.networks.items():
        k = network.n_components
        what = "log-mel spectrogram" + (f" and {k} principal components of spectral statistics" if k else "")
        lines.append(f"- {stage.replace('stage', 'Stage ')}: {what}, {network.parameters:,} parameters.")
    for name in manifest.regressions:
        what = (
            f"{manifest.features[name]} {'principal components of spectral' if name == STATISTICS else 'features of a'}"
        )
        what += " statistics" if name == STATISTICS else " pre-trained network that was not trained further"
        lines.append(f"- {short(name).capitalize()}: logistic regression on {what}.")
    if len(manifest.models) > 1:
        lines.append(f"- Submission: geometric mean of {listed(manifest.models)}, equally weighted.")
    p, n_folds = manifest.passes, len(manifest.folds)
    lines.append(
        "- A clip is seen once, whole, by each model."
        if p is None
        else f"- A clip's prediction is the geometric mean over all passes: {_plural(n_folds, 'fold')} x "
        f"{_plural(p.lengths, 'length')} from {p.bounds[0]} to {p.bounds[1]} frames (equal ones count once) x "
        f"{p.tries} random spans."
    )
    made = "no network was trained"
    if manifest.networks:
        architecture = next(reversed(manifest.networks.values())).architecture
        backbone, width = architecture.get("backbone"), architecture.get("width")
        trunk = f", {backbone} of width {width:g}" if backbone and isinstance(width, float | int) else ""
        made = f"{_plural(n_folds, 'network')} of each stage{trunk}"
    return f"Made for `fsat`: {made}.\n\n" + "\n".join(lines)


def _sums(manifest: Manifest) -> str:
    """What the probabilities of a clip are, and how a clip with none of the sounds is told."""
    calibration, unknown = manifest.calibration, manifest.unknown
    uncalibrated = "" if calibration else " and are not calibrated"
    if manifest.activation == "sigmoid":
        return (
            f"The probabilities of a clip are independent of each other{uncalibrated}: several labels may be near 1, "
            "or none, and they do not sum to 1."
        )
    text = "A clip with none of these sounds gets some of the labels below as well."
    if unknown is not None:
        text += (
            " It is marked as `unknown` if its embedding's cosine distance to the nearest training clip"
            f"{', for a network the mean over its folds,' if manifest.networks else ''} is above a threshold "
            f"({_by_model(unknown.threshold)}) that keeps {unknown.keep:.0%} of the "
            "held-out clips: so some clips of these labels are marked, and some other sounds are not."
        )
    text += f" The probabilities of a clip sum to 1{uncalibrated}."
    if calibration is not None:
        text += (
            f" They are calibrated by a temperature ({_by_model(calibration.temperature)}) that was fitted on held-out "
            "clips, each seen by one fold's models; those of the bundle may be less sure than they could be."
        )
    return text


def _by_model(values: Mapping[Any, float]) -> str:
    return ", ".join(f"{value:g} in {short(model)}" for model, value in values.items())


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _data_section(manifest: Manifest) -> str:
    dataset, lines = manifest.dataset, []
    if manifest.published:
        about = "by others. This folder was made of their files, whose licences hold for it:"
        heads = ("| what | by | licence | page | sha256 of the file |", "|---|---|---|---|---|")
        lines += [f"Trained on {dataset.name} {about}", "", *heads]
        for source in manifest.published:
            cells = (source.what, source.credit, source.license, source.page)
            lines.append(f"| {' | '.join(map(_cell, cells))} | `{source.sha256}` |")
    for split, name in (("train", "training"), ("test", "test")):
        facts = dataset.facts.get(split, {})
        if facts.get("clips"):
            lines.append(f"- {facts['clips']} {name} clips, {facts['hours']:.2f} hours")
    duplicates = dataset.facts.get("test_also_in_train", {}).get("clips", 0)
    if duplicates:
        what = _plural(duplicates, "test clip")
        lines.append(f"- {what} may be in the training set too (same name, source or bytes)")
    if dataset.fingerprint is not None:
        lines.append(f"- Fingerprint (sha256 of the list of clips): `{dataset.fingerprint}`")
    licenses = dataset.facts.get("licenses", {}).get("train", {})
    if licenses:
        rows = [f"| {_cell(name)} | {count} |" for name, count in licenses.items()]
        lines += ["", "| licence | training clips |", "|---|---|", *rows]
        lines += ["", "Whether and how these licences bind a model made from the clips is for its user to judge."]
    return "\n".join(lines)


def _published_score(manifest: Manifest) -> str:
    """What the authors of a published network say of it."""
    reported = manifest.scores.get("reported")
    text = f"Its authors report a {reported}. " if isinstance(reported, str) else ""
    return f"{text}Not scored by the pipeline."


def _scores_section(manifest: Manifest) -> str:
    """Table of MAP@3 with intervals, from rows of `metrics/models.csv`; a part without a score has no column."""
    found = {(row["split"], row["part"], row["model"]): row for row in manifest.scores.get("models", [])}
    parts = {part: clips for part, clips in _PARTS.items() if (*part, SUBMISSION) in found}
    heads = [clips.format(found[*part, SUBMISSION]["n"]) for part, clips in parts.items()]
    rows = []
    for model, name in NAMES.items():
        scored = [found.get((*part, model)) for part in parts]
        if any(scored):
            cost = found.get(("heldout", "all", model), {}).get("cost")
            cells = [*map(_score, scored), "-" if cost is None else f"{cost:+.4f}"]
            rows.append(f"| {_cell(name)} | {' | '.join(cells)} |")
    head = f"| MAP@3 [95 % interval] | {' | '.join(heads)} | cost of leaving it out, held-out clips |"
    table = "\n".join([head, f"|---{'|---' * (len(heads) + 1)}|", *rows])
    about = (
        "Submission: what this bundle gives by default, the geometric mean of its models. Stages: the networks alone. "
        "Regressions: logistic regressions on fixed features. All are scored on the same clips."
    )
    caveat = (
        "The cross-validation scores are those of single folds' models on clips they did not train on."
        if manifest.select == "last" or not manifest.networks
        else "The networks' cross-validation scores flatter: each fold's weights were chosen by their loss on the same "
        "held-out clips that the score is taken on (`train.select: last` avoids that)."
    )
    return "\n\n".join([table, about, *_losses(found, manifest.scores.get("baseline")), caveat])


def _losses(found: Mapping[tuple[str, str, str], Mapping[str, Any]], baseline: str | None) -> list[str]:
    """A sentence for each model and group of clips in which it does not beat the baseline."""
    sentences = []
    for split, clips in (("test", "test clips"), ("heldout", "held-out clips")):
        target = found.get((split, "all", baseline or ""))
        for model, name in (("stage1", "Stage 1"), (SUBMISSION, "The submission")):
            row = found.get((split, "all", model))
            if row and target and row["map3"] <= target["map3"]:
                figures = f"{row['map3']:.4f} against {target['map3']:.4f}"
                what = f"the regression on the {clips}** ({short(target['model'])})"
                sentences.append(f"**{name} does not beat {what}: {figures}.")
    return sentences


def _score(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None else f"{row['map3']:.4f} [{row['low']:.3f}, {row['high']:.3f}]"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
