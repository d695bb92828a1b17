"""Predictions of all models -> `metrics/`: the headline `map3.json`; tables per model, class, fold, of confusions."""

from typing import Any

import pandas as pd

from fsat.clips.annotations import BACKGROUND
from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import event_scores, names, summary, verification
from fsat.tagger.events import Threshold, file_events
from fsat.tagger.tagger import Tagged


def main() -> None:
    """Score every model on held-out clips and, where labels exist, on the test clips."""
    p = params.read()
    predictions = files.read_parquet("data/predictions.parquet")
    index = files.read_csv("data/index.csv")
    every = pd.concat([predictions, files.read_parquet("data/baseline.parquet")], ignore_index=True)
    baseline = files.read_json("metrics/baseline.json")["best"]
    found = summary.summarise(every, index, choice=files.read_json("data/models.json"), baseline=baseline)
    files.write_json("metrics/map3.json", found.headline)
    for name in ("models", "per_class", "per_fold", "confusion", "confusion_test"):
        files.write_csv(f"metrics/{name}.csv", getattr(found, name))
    noise = verification.noise(verification.gather(predictions, index))
    files.write_json("metrics/labels.json", verification.scores(predictions, index, noise))
    files.write_csv("metrics/label_noise.csv", noise)
    whole = found.models[found.models["part"] == "all"].set_index(["split", "model"])["map3"]
    trained = predictions["model"].isin(names.STAGES).any()
    optimistic = " (optimistic: these clips selected the epoch)" if trained and p.train.select == "best" else ""
    for split, clips, note in (("heldout", "held-out clips:", optimistic), ("test", "test clips:", "")):
        if split in whole:
            order = [model for model in (*names.MODELS, names.SUBMISSION) if model in whole[split]]
            told = ", ".join(f"{names.short(model)} {whole[split][model]:.4f}" for model in order)
            print(f"MAP@3, {clips:15} {told}{note}")
    gain = ", ".join(f"{part} {value:+.4f}" for part, value in found.headline["gain"].items())
    print(f"Submission minus baseline ({names.short(baseline)}): {gain}")
    chosen, windows = files.read_json("metrics/thresholds.json"), files.read_parquet("data/windows.parquet")
    levels = {"thresholds of labels": chosen["threshold"], "threshold 0.5": 0.5}
    of_events = {name: of_windows(windows, index, level, chosen["hop_s"]) for name, level in levels.items()}
    files.write_json("metrics/events.json", {name: found for name, found in of_events.items() if found})
    for name, scored in of_events.items():
        if scored:
            print(f"Events, test, {name}: F1 {scored['event']['all']:.4f}, by segments {scored['segment']['all']:.4f}")


def of_windows(
    windows: pd.DataFrame, index: pd.DataFrame, level: Threshold, hop_s: float, *, split: str = "test"
) -> dict[str, Any]:
    """`event_scores.scores` of recordings that are tagged in windows, by `data/windows.parquet`; empty without any."""
    windows = windows[windows["split"] == split]
    if windows.empty:
        return {}
    clips = index[index["split"].isin({"test": ["test"], "heldout": ["train"]}[split])]
    labels = [str(column) for column in windows.columns[5:] if column != BACKGROUND]
    annotated: dict[str, dict[str, list[event_scores.Span]]] = {path: {} for path in windows["path"].unique()}
    for path, label, start, end in clips[["path", "label", "start", "end"]].itertuples(index=False, name=None):
        if path in annotated:
            annotated[path].setdefault(label, []).append((start, end))
    found: dict[str, dict[str, list[event_scores.Span]]] = {path: {} for path in annotated}
    names = list(windows.columns[5:])
    for path, rows in windows.groupby("path"):
        tagged = (Tagged("", start, end, names, row, None) for start, end, row in
                  zip(rows["start_s"], rows["end_s"], rows[names].to_numpy(), strict=True))  # fmt: skip
        for event in file_events(tagged, level, hop_s=hop_s):
            found[str(path)].setdefault(event.label, []).append((event.start_s, event.end_s))
    return event_scores.scores(annotated, found, labels)


if __name__ == "__main__":
    run(main)
