"""Spectrograms and initial weights -> `data/embeddings/`: what a pre-trained trunk makes of whole clips."""

import pandas as pd

from fsat.core import files, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import frames
from fsat.networks import provenance


def main() -> None:
    """Write the views of `embed.views`; with weights that are not noted as pre-trained the column fname alone."""
    p = params.read()
    limits = MEL_STYLES[p.mel.style].limits
    stores = {split: frames.open_frames(f"data/mel/{split}", limits=limits) for split in ("train", "test")}
    parts = {split: [pd.DataFrame({"fname": pd.Series(store.fnames, dtype=str)})] for split, store in stores.items()}
    trained_on = provenance.pretrained_on(p.model.weights)
    if trained_on and p.embed.views:
        keras_backend.use(p.train.backend, portable=p.train.portable)
        from fsat.networks import backend, embedding

        backend.prepare(0)  # nothing is drawn: all weights are loaded
        network = embedding.load(
            p.model.weights, p.model.backbone, width=p.model.width, n_mels=p.mel.n_mels, names=p.embed.views
        )
        for split, store in stores.items():
            for view, values in embedding.embed(network, store, name=f"embed {split}").items():
                columns = [f"{view}.{number:04d}" for number in range(values.shape[1])]
                parts[split].append(pd.DataFrame(values, columns=columns))
        print(f"views of {p.model.backbone}, pre-trained on {trained_on}: {', '.join(p.embed.views)}")
    else:
        print("no views: " + (f"{p.model.weights} is not noted as pre-trained" if p.embed.views else "none is listed"))
    for split, tables in parts.items():
        files.write_parquet(f"data/embeddings/{split}.parquet", pd.concat(tables, axis=1))


if __name__ == "__main__":
    run(main)
