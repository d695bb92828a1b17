"""Predictions of all models -> `metrics/`: the headline `map3.json`; tables per model, class, fold, of confusions."""

import pandas as pd

from fsat.core import files, params
from fsat.core.stage import run
from fsat.scoring import names, summary, verification
from fsat.tagger.event_f1 import of_windows


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
    windows, annotated = windows[windows["split"] == "test"], index[index["split"] == "test"]
    of_events = {name: of_windows(windows, annotated, level, chosen["hop_s"]) for name, level in levels.items()}
    files.write_json("metrics/events.json", {name: found for name, found in of_events.items() if found})
    for name, scored in of_events.items():
        if scored:
            print(f"Events, test, {name}: F1 {scored['event']['all']:.4f}, by segments {scored['segment']['all']:.4f}")


if __name__ == "__main__":
    run(main)
