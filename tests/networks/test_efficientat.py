"""EfficientAT equals the published network, and takes its weights only from a checkpoint that fits."""

import keras
import numpy as np
import pytest
from checkpoint_tensors import tensors_of

from fsat.core.errors import FsatError
from fsat.networks import efficientat, model
from fsat.sources import torch_checkpoint
from shared_data import SHARED, needs

CHECKPOINT = SHARED / "pretrained" / "mn04_as_mAP_432.pt"


@needs("reference/efficientat_mn04_as.npz")
def test_embedding_and_logits_equal_the_published_ones() -> None:
    network = efficientat.build_tagger(0.4, 128)
    efficientat.fill(network, torch_checkpoint.read(CHECKPOINT), width=0.4)
    reference = np.load(SHARED / "reference" / "efficientat_mn04_as.npz")
    names = [name.removesuffix("/log_mel") for name in reference.files if name.endswith("/log_mel")]
    assert len(names) == 6
    for name in names:
        found = network(reference[f"{name}/log_mel"][None, :, :, None])
        np.testing.assert_allclose(found["embedding"][0], reference[f"{name}/embedding"], atol=1e-4)
        np.testing.assert_allclose(found["logits"][0], reference[f"{name}/logits"], atol=1e-3)


@pytest.mark.parametrize(
    ("width", "with_head", "trunk", "channels"), [(0.4, 993_439, 525_968, 384), (1.0, 4_901_231, 2_996_064, 960)]
)
def test_parameters_and_channels(width: float, with_head: int, trunk: int, channels: int) -> None:
    """Published are 0.98 and 4.88 million, which leave out the averages of the batch normalisations."""
    network = efficientat.build_tagger(width, 128)
    built = network.get_layer("trunk")
    assert (network.count_params(), built.count_params()) == (with_head, trunk)
    assert built.output.shape[-1] == channels
    assert built(np.zeros((1, 128, 33, 1), np.float32)).shape[0] == 1


@pytest.mark.parametrize("width", [0.3, 4.1])
def test_a_width_that_nobody_trained_is_refused(width: float) -> None:
    with pytest.raises(FsatError, match=r"model\.width: EfficientAT has widths from 0\.4 to 4\.0"):
        model.build_trunk("EfficientAT", width=width)


def test_a_trunk_of_one_channel_reads_the_spectrogram_itself() -> None:
    network = model.build_network(
        backbone="EfficientAT",
        width=0.4,
        batchnorm_momentum=0.99,
        n_mels=64,
        n_classes=5,
        head=[],
        freeze_batchnorm=True,
    )
    names = [layer.name for layer in network.layers]
    assert names == ["mel", "trunk", "embedding", "probabilities"]
    norms = [layer for layer in network.get_layer("trunk").layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [norm.moving_mean.numpy() for norm in norms]
    network(np.random.default_rng(0).random((4, 64, 40, 1), np.float32), training=True)
    assert not any(norm.trainable_weights for norm in norms) and len(norms) == 46
    for norm, mean in zip(norms, before, strict=True):
        np.testing.assert_array_equal(norm.moving_mean, mean)


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line() -> None:
    network = efficientat.build_tagger(0.4, 64)
    good = tensors_of(network)
    efficientat.fill(network, good | {"features.0.1.num_batches_tracked": np.array(7)}, width=0.4)
    name = "features.3.block.1.0.weight"
    bad = {
        "lacks 1 tensors of EfficientAT": {key: value for key, value in good.items() if key != name},
        "has 1 tensors that EfficientAT does not": good | {"features.99.weight": np.zeros(3)},
        "does not fit the width": good | {name: good[name][:, :, :1]},
        "values that are no numbers": good | {name: np.full_like(good[name], np.nan)},
    }
    for said, tensors in bad.items():
        with pytest.raises(FsatError) as caught:
            efficientat.fill(network, tensors, width=0.4)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FsatError, match=r"does not fit the width 0\.5"):
        efficientat.fill(efficientat.build_tagger(0.5, 64), good, width=0.5)
