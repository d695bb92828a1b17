"""Spectrograms and initial weights -> `data/embeddings/`: what a pre-trained trunk makes of whole clips."""

import pandas as pd

from fsat.core import files, keras_backend, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import frames
from fsat.networks import provenance


def main() -> None:
    """Embed whole clips where the weights are noted as pre-trained; else the tables have the column fname alone."""
    p = params.read()
    limits = MEL_STYLES[p.mel.style].limits
    stores = {split: frames.open_frames(f"data/mel/{split}", limits=limits) for split in ("train", "test")}
    tables = {split: pd.DataFrame({"fname": pd.Series(store.fnames, dtype=str)}) for split, store in stores.items()}
    if trained_on := provenance.pretrained_on(p.model.weights):
        keras_backend.use(p.train.backend)
        from fsat.networks import backend, embedding, model

        if p.model.backbone in model.AUDIO_TRUNKS:
            backend.prepare(0)  # nothing is drawn: all weights are loaded
            trunk = model.build_trunk(p.model.backbone, width=p.model.width)
            model.load_trunk_weights(trunk, p.model.weights)
            for split, store in stores.items():
                values = embedding.embed(trunk, store, name=f"embed {split}")
                columns = [f"e{number:04d}" for number in range(values.shape[1])]
                tables[split] = pd.concat([tables[split], pd.DataFrame(values, columns=columns)], axis=1)
            print(f"embeddings of {p.model.backbone}, pre-trained on {trained_on}")
        else:
            print(f"no embeddings: {p.model.backbone} needs RGB input, and the layers that make it are not pre-trained")
    else:
        print(f"no embeddings: {p.model.weights} is not noted as pre-trained")
    for split, table in tables.items():
        files.write_parquet(f"data/embeddings/{split}.parquet", table)


if __name__ == "__main__":
    run(main)
