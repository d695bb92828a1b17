"""How well "none of these" works: whole labels are left out of training, and a score has to tell their clips apart.

    python -m research.unknown --weights data/pretrained/audioset.weights.h5 slice=FOLDER esc10=FOLDER

Five draws (seeds 0 to 4) a dataset. In each, three labels are left out; one network learns the others by the numbers of
`presets/audioset.yaml`, stage 1, without one fold; then it sees the clips of that fold (known) and all clips of the
three labels (unknown). The AUROC of a score is the probability that an unknown clip has a higher one than a known clip.
Prints the table of docs/results/unknown.md; what the networks gave is kept in `state/unknown/`, so that another score
needs no training.
"""

import argparse
import hashlib
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from fsat import presets
from fsat.clips import folds, index
from fsat.clips.recordings import Sound, each
from fsat.core import files, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.numeric import log_probabilities
from fsat.core.parallel import map_clips
from fsat.features import mel, mel_bank, trim
from fsat.inputs import batches, examples, frames
from fsat.inputs.passes import Passes, outputs_by_pass
from fsat.networks import backend, model, prediction, training
from fsat.scoring import ensemble, unknown
from stages.filters import bank_for

PRESETS = Path(__file__).parents[1] / "presets"
STATE = Path("state/unknown")
SEEDS = range(5)
LEFT_OUT = 3


def prepared(name: str, folder: Path, p: params.Params) -> tuple[frames.FrameStore, pd.DataFrame]:
    """Spectrograms of all clips of a dataset, computed once, and its table: fname, label, given fold if it has any."""
    table = index.scan(folder).table
    out = STATE / name / "mel"
    if not out.is_dir():
        paths = [folder / path for path in table["path"]]
        read = partial(each, sample_rate=p.audio.sample_rate)
        find = partial(read, work=partial(trim.trim_interval, top_db=p.trim.top_db))
        intervals = map_clips(find, [Sound(path) for path in paths], desc=f"{name}: trim")
        clips = [Sound(path, found) for path, found in zip(paths, intervals, strict=True)]
        bank = mel_bank.grouped(bank_for(mel_bank.for_mel(p.mel)))
        work = partial(mel.log_mel, sample_rate=p.audio.sample_rate, settings=p.mel, bank=bank)
        found = chain.from_iterable(map_clips(partial(read, work=work), clips, desc=f"{name}: mel"))
        frames.write_frames(out, zip(table["fname"], found, strict=True), n_mels=p.mel.n_mels)
    return frames.open_frames(out, limits=MEL_STYLES[p.mel.style].limits), table


def draw(table: pd.DataFrame, seed: int, n_splits: int) -> pd.DataFrame:
    """The table with a column `part`: learn, known (held out) or unknown (its label was left out)."""
    names = sorted(table["label"].unique())
    left_out = set(np.random.default_rng(seed).choice(names, LEFT_OUT, replace=False))
    is_known = ~table["label"].isin(left_out)
    known = table[is_known]
    given = known["fold"].astype(int).tolist() if "fold" in known else None
    n_splits = max(given) + 1 if given else n_splits
    number = folds.assign(known["label"].tolist(), n_splits=n_splits, seed=seed, fold=given)
    heldout = seed % n_splits if given else 0
    part = pd.Series("unknown", index=table.index)
    part[is_known] = np.where(np.asarray(number) == heldout, "known", "learn")
    return table.assign(part=part)


def fresh_network(p: params.Params, n_classes: int, weights: Path, seed: int) -> Any:
    """The preset's network of stage 1 with the initial trunk and a fresh head."""
    backend.prepare(seed, "unknown")
    network = model.build_network(
        backbone=p.model.backbone, width=p.model.width, batchnorm_momentum=p.model.batchnorm_momentum,
        n_mels=p.mel.n_mels, n_classes=n_classes, head=p.model.head, freeze_batchnorm=p.model.freeze_batchnorm,
    )  # fmt: skip
    model.load_trunk_weights(network.get_layer("trunk"), weights)
    return network


def passes_over(
    network: Any, store: frames.FrameStore, p: params.Params, *, bounds: tuple[int, int], seed: int
) -> np.ndarray:
    """Probabilities and embedding of every clip of the store in each pass, float32 (n_passes, n, C + E)."""
    every = examples.make_clips(store, store.fnames)
    passes = Passes(batches.fixed_lengths(bounds, p.tta.lengths, step=p.crop.step), p.tta.tries)
    predict = prediction.predictor(network, embeddings=True)
    key = (seed, "predict", 0, "test")
    found = outputs_by_pass({"": predict}, every, passes, batch_size=p.tta.batch_size, key=key, name="")
    return np.stack([output[""] for output in found])


def outputs_of(
    name: str, store: frames.FrameStore, drawn: pd.DataFrame, p: params.Params, *, seed: int, weights: Path
) -> np.ndarray:
    """The preset's stage 1 is trained; outputs as of `passes_over`."""
    parts = [drawn[drawn["part"] == part] for part in ("learn", "known")]
    classes = sorted(parts[0]["label"].unique())
    learn, heldout = (
        examples.make_examples(store, part["fname"].tolist(), labels=part["label"].tolist(), classes=classes)
        for part in parts
    )
    lengths = store.lengths[[*learn.rows, *heldout.rows]]
    bounds = batches.length_range(lengths, p.crop.percentiles, step=p.crop.step)
    shared = {name: value for name, value in p.train if name in training.Recipe.__dataclass_fields__}
    recipe = training.Recipe(
        seed=seed, stage="stage1", fold=0, bounds=bounds, crop_step=p.crop.step, alpha=p.mixup.alpha,
        augment=p.augment, schedule=p.train.stage1, **shared,
    )  # fmt: skip
    network = fresh_network(p, len(classes), weights, seed)
    state = STATE / name / f"training{seed}.npz"
    training.train(network, learn, heldout, recipe, state=state)
    state.unlink(missing_ok=True)
    return passes_over(network, store, p, bounds=bounds, seed=seed)


def kept(name: str, seed: int, p: params.Params) -> Path:
    """File of the outputs of a draw, by what shapes them."""
    mark = hashlib.blake2b(p.model_dump_json().encode(), digest_size=4).hexdigest()
    return STATE / name / f"tuned{seed}-{mark}.npz"


def collect(name: str, folder: Path, weights: Path) -> None:
    """Outputs of all draws of a dataset, kept in `state/unknown/<name>/`."""
    p = presets.read("audioset", PRESETS)
    store, table = prepared(name, folder, p)
    for seed in SEEDS:
        path = kept(name, seed, p)
        if path.is_file():
            continue
        print(f"{name}: seed {seed}", flush=True)
        drawn = draw(table, seed, p.folds.n_splits)
        outputs = outputs_of(name, store, drawn, p, seed=seed, weights=weights)
        files.write_npz(path, outputs=outputs, labels=drawn["label"].to_numpy(str), part=drawn["part"].to_numpy(str))


# Scores ------------------------------------------------------------------------------------------------------------


def scores(outputs: np.ndarray, labels: np.ndarray, part: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of all clips of a draw by each method; higher is more unlike the clips that were learned."""
    learn = part == "learn"
    classes, numbers = np.unique(labels[learn], return_inverse=True)
    p, features = outputs[:, :, : len(classes)].astype(np.float64), outputs[:, :, len(classes) :].astype(np.float64)
    mean = ensemble.geometric_mean(list(log_probabilities(p)))
    embedding = features.mean(axis=0)
    # Of the clips that were learned from: one pass at the middle length, as in the stage predict.
    known = features[len(features) // 2 - 1 + len(features) % 2][learn]
    kept = unknown.reference(known, labels[learn].tolist(), limit=10**6)
    centres = np.stack([known[numbers == number].mean(axis=0) for number in range(len(classes))])
    inverse = np.linalg.inv(ledoit_wolf(known - centres[numbers], assume_centered=True)[0])
    from_centres = embedding - centres[:, None]  # (C, n, E)
    mahalanobis = np.einsum("cni,ij,cnj->cn", from_centres, inverse, from_centres).min(axis=0)  # squared
    return {
        "maximum probability": 1 - mean.max(axis=1),
        "**cosine distance to the nearest clip**": unknown.score(embedding, kept, neighbours=1),
        "Mahalanobis distance to the nearest class": mahalanobis,
    }


def table(names: list[str]) -> str:
    """The table of docs/results/unknown.md from all draws that are kept: mean AUROC [lowest, highest]."""
    columns = {}
    for name in names:
        draws = [path for seed in SEEDS if (path := kept(name, seed, presets.read("audioset", PRESETS))).is_file()]
        if draws:
            title = name + (f" ({len(draws)} draws)" if len(draws) < len(SEEDS) else "")
            found = pd.DataFrame([_areas(**files.read_npz(path)) for path in draws]).agg(["mean", "min", "max"])
            columns[title] = {key: "{:.3f} [{:.3f}, {:.3f}]".format(*v) for key, v in found.items()}
    lines = [f"| score | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {' | '.join([method, *cells])} |" for method, *cells in pd.DataFrame(columns).itertuples()]
    return "\n".join(lines)


def _areas(outputs: np.ndarray, labels: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """AUROC of each score in one draw, and the share of unknown clips that the bundle's score marks."""
    asked, areas, marked = part != "learn", {}, 0.0
    is_unknown = part[asked] == "unknown"
    for method, values in scores(outputs, labels, part).items():
        areas[method] = float(roc_auc_score(is_unknown, values[asked]))
        if method.startswith("**"):
            limit = unknown.threshold(values[asked][~is_unknown], 0.95)
            marked = float((values[asked][is_unknown] > limit).mean())
    return areas | {"unknown clips marked at 95 % known clips kept": marked}


def main() -> None:
    """Collect what is missing, then score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("datasets", nargs="+", metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    named: dict[str, Any] = dict(text.split("=", 1) for text in arguments.datasets)
    for name, folder in named.items():
        collect(name, Path(folder), arguments.weights)
    print(table(list(named)))


if __name__ == "__main__":
    main()
