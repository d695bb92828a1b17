"""`data/spectral.parquet` -> `data/pca/`: principal components of both splits, and the projection itself."""

import numpy as np
import pandas as pd

from fsat.core import files, params
from fsat.core.stage import run
from fsat.features import pca


def main() -> None:
    """Fit on all training clips (no labels are used), apply to train and test alike."""
    p = params.read()
    spectral = files.read_parquet("data/spectral.parquet").set_index("fname")
    splits = {split: spectral[spectral["split"] == split].drop(columns="split") for split in ("train", "test")}
    projection, explained = pca.fit(splits["train"], n_components=p.pca.n_components)
    for split, statistics in splits.items():
        files.write_parquet(f"data/pca/{split}.parquet", pca.table(statistics, projection))
    pca.save("data/pca/projection.npz", projection)
    cumulative = np.round(np.cumsum(explained), 6)
    curve = pd.DataFrame({"component": np.arange(1, len(explained) + 1), "cumulative": cumulative})
    files.write_csv("metrics/pca_variance.csv", curve)
    used = {"requested": p.pca.n_components, "n_components": len(explained)}
    files.write_json("metrics/pca.json", used | {"explained_variance": float(cumulative[-1])})


if __name__ == "__main__":
    run(main)
