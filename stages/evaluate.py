"""`data/predictions.parquet` -> `metrics/`: the headline `map3.json`, and tables per class, per fold, of confusions."""

from fsat.core import files
from fsat.core.stage import run
from fsat.scoring import summary, verification


def main() -> None:
    """Score both stages on held-out clips and, where labels exist, on the test clips."""
    predictions = files.read_parquet("data/predictions.parquet")
    index = files.read_csv("data/index.csv")
    found = summary.summarise(predictions, index)
    gain = summary.gain(found.headline, files.read_json("metrics/baseline.json"))
    files.write_json("metrics/map3.json", found.headline | {"gain": gain})
    files.write_csv("metrics/per_class.csv", found.per_class)
    files.write_csv("metrics/per_fold.csv", found.per_fold)
    files.write_csv("metrics/confusion.csv", found.confusion)
    files.write_csv("metrics/confusion_test.csv", found.confusion_test)
    noise = verification.noise(verification.gather(predictions, index))
    files.write_json("metrics/labels.json", verification.scores(predictions, index, noise))
    files.write_csv("metrics/label_noise.csv", noise)
    cv, test = found.headline["cv"], found.headline["test"]
    print(
        f"MAP@3, held-out clips: stage 1 {cv['stage1']:.4f}, stage 2 {cv['stage2']:.4f} "
        "(weights chosen on them, unless train.select is last)"
    )
    if test:
        print(f"MAP@3, test clips:     stage 1 {test['stage1']['all']:.4f}, stage 2 {test['all']:.4f}")
    print("Stage 2 minus baseline: " + ", ".join(f"{part} {value:+.4f}" for part, value in gain.items()))


if __name__ == "__main__":
    run(main)
