"""A controlled experiment: labels are flipped on purpose, and rounds of `fsat verify` find them again.

    python -m research.label_noise --seeds 0 1 2 [--flips 0.4] [--verified 0.3] [--weight 1.0]

Run it in the folder of a project whose dataset has folds of its own and whose stage `embed` has run
(`presets/audioset.yaml` with the view `pooled`): it reads data/index.csv, data/embeddings/train.parquet and
params.yaml. The model is the pipeline's regression on the pooled features of the frozen trunk; corrections, folds,
weights and the rule are those of the pipeline, in memory: no file is changed. With seed s, the test clips are those of
the dataset's fold s (modulo the number of folds), whose labels stay right; scores are pooled over the seeds.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fsat import verify
from fsat.clips import corrections, folds
from fsat.core import files, params
from fsat.scoring import baseline, metrics, outcomes, verification

INNER_FOLDS = 5
MODEL = "pooled"  # view of the trunk
CONDITIONS = ("right labels", "right labels, 1 round", "flipped", "flipped, 1 round", "flipped, 2 rounds")


@dataclass
class Result:
    """What one condition scored on the test clips, by seed, and how many flips were found."""

    ap3: list[np.ndarray] = field(default_factory=list)
    correct: list[np.ndarray] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def flipped(
    labels: Sequence[str], *, flips: float, verified: float, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Labels of which a share is another one of the dataset, and which clips are verified and keep theirs."""
    n = len(labels)
    order = rng.permutation(n)
    is_verified = np.zeros(n, dtype=bool)
    is_verified[order[: round(verified * n)]] = True
    wrong = order[round(verified * n) : round(verified * n) + round(flips * n)]
    classes = sorted(set(labels))
    changed = list(labels)
    for clip in wrong:
        changed[clip] = str(rng.choice([label for label in classes if label != labels[clip]]))
    return changed, is_verified


class Experiment:
    """One seed: a test fold, flips, folds inside the training clips."""

    def __init__(self, index: pd.DataFrame, embeddings: pd.DataFrame, seed: int, rest: str) -> None:
        n_folds = int(index["fold"].max()) + 1
        is_test = (index["fold"] == seed % n_folds).to_numpy()
        self.seed, self.rest = seed, rest
        self.test = index[is_test].assign(split="test", usage="")
        self.train = index[~is_test].reset_index(drop=True)
        features = embeddings.set_index("fname")
        self.features = {
            part: features.loc[table["fname"]].reset_index()
            for part, table in (("train", self.train), ("test", self.test))
        }

    def rounds(self, train: pd.DataFrame, n_rounds: int, weight: float, results: Sequence[Result]) -> None:
        """Score a training table as it is, then after each round; a result each."""
        group = train["group"].tolist() if "group" in train else None
        number = folds.assign(train["label"].tolist(), n_splits=INNER_FOLDS, seed=self.seed, group=group)
        index = pd.concat([train, self.test], ignore_index=True)
        right = dict(zip(self.train["fname"], self.train["label"], strict=True))
        wrong = {fname for fname, label in zip(train["fname"], train["label"], strict=True) if label != right[fname]}
        rows: list[corrections.Correction] = []
        for done in range(n_rounds + 1):
            checked = corrections.check(rows, index, path="rounds")
            table = corrections.apply(train, number, checked, unverified_weight=weight)
            # As the stage does: the penalty is chosen without splitting a recording.
            learned = table if group is None else table.assign(group=group)
            predictions = baseline.predict(self.features, learned, range(INNER_FOLDS), model=MODEL).table
            clips = outcomes.outcome(predictions, index, split="test", model=MODEL).clips
            result = results[done]
            result.ap3.append(clips["ap3"].to_numpy(np.float64))
            result.correct.append(clips["correct"].to_numpy(np.float64))
            found = {row.fname for row in rows if row.action != "verify"}
            relabelled = [row for row in rows if row.action == "relabel"]
            n_right = sum(row.label == right[row.fname] for row in relabelled)
            result.counts.update(found=len(found), found_flips=len(found & wrong), flips=len(wrong))
            result.counts.update(relabelled=len(relabelled), relabelled_right=n_right)
            if done < n_rounds:
                proposals = verification.propose(verification.gather(predictions, index, model=MODEL), self.rest)
                proposed = verify.proposed(proposals, labels=set(right.values()))
                rows = corrections.merge(rows, proposed, decided=proposals["fname"])


def run(seeds: Sequence[int], *, flips: float, verified: float, weight: float) -> dict[str, Result]:
    """All conditions, pooled over the seeds; shares of clips with flipped and verified labels, weight of the others."""
    index, embeddings = files.read_csv("data/index.csv"), files.read_parquet("data/embeddings/train.parquet")
    embeddings = embeddings.set_index("fname").filter(regex=f"^{MODEL}\\.").reset_index()
    rest = params.read().verify.rest
    results = {name: Result() for name in CONDITIONS}
    index = index[index["split"] == "train"]
    for seed in seeds:
        experiment = Experiment(index, embeddings, seed, rest)
        given, rng = experiment.train["label"].tolist(), np.random.default_rng(seed)
        labels, is_verified = flipped(given, flips=flips, verified=verified, rng=rng)
        right = experiment.train.assign(verified=is_verified.astype(float))
        experiment.rounds(right, 1, weight, [results[name] for name in CONDITIONS[:2]])
        experiment.rounds(right.assign(label=labels), 2, weight, [results[name] for name in CONDITIONS[2:]])
        print(f"seed {seed} done", flush=True)
    return results


def table(results: dict[str, Result]) -> str:
    """Markdown: scores of each condition, their difference from right and from flipped labels, flips found."""
    ap3 = {name: np.concatenate(result.ap3) for name, result in results.items()}
    heads = ("condition", "MAP@3", "accuracy", "minus right labels", "minus flipped", "precision", "recall")
    lines = [f"| {' | '.join((*heads, 'relabelled, of these right'))} |", "|---" * (len(heads) + 1) + "|"]
    for name, result in results.items():

        def difference(other: str, name: str = name) -> str:
            if other == name:
                return "-"
            values = ap3[name] - ap3[other]
            low, high = metrics.bootstrap_interval(values)
            return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"

        accuracy, counts = np.concatenate(result.correct).mean(), result.counts
        precision, recall, relabelled = "-", "-", "-"
        if counts["found"] and counts["flips"]:
            precision = f"{counts['found_flips'] / counts['found']:.3f}"
            recall = f"{counts['found_flips'] / counts['flips']:.3f}"
        if counts["relabelled"]:
            relabelled = f"{counts['relabelled']}, {counts['relabelled_right'] / counts['relabelled']:.2f}"
        cells = (name, f"{ap3[name].mean():.3f}", f"{accuracy:.3f}", difference("right labels"), difference("flipped"))
        lines.append(f"| {' | '.join((*cells, precision, recall, relabelled))} |")
    cost = ap3["right labels"].mean() - ap3["flipped"].mean()
    back = ap3["flipped, 2 rounds"].mean() - ap3["flipped"].mean()
    lines.append(f"\nThe flips cost {cost:.3f}; two rounds recover {back:.3f}, {back / cost:.0%}.")
    return "\n".join(lines)


def main() -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flips", type=float, default=0.4)
    parser.add_argument("--verified", type=float, default=0.3)
    parser.add_argument("--weight", type=float, default=1.0, help="train.unverified_weight")
    arguments = parser.parse_args()
    results = run(**vars(arguments))
    n = sum(map(len, results["flipped"].ap3))
    print(f"{n} test clips, pooled over seeds {', '.join(map(str, arguments.seeds))}\n\n{table(results)}")


if __name__ == "__main__":
    main()
