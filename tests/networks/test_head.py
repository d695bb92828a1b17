"""The phase that trains the head alone: on the network's own features, and on nothing but the head."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from conftest import make_examples
from fsat.core import params
from fsat.core.errors import FsatError
from fsat.networks import head, model

# Arguments of `build_network` as summary.json holds them.
SMALL: dict[str, Any] = {"backbone": "MobileNet", "width": 0.25, "batchnorm_momentum": 0.9}
SMALL |= {"n_mels": 32, "n_classes": 3}
LABELS = ["a", "b", "c"] * 4
fit = partial(head.fit, batch_size=4, key=(1, "stage1", 0))


def frozen(epochs: int = 30, lr: float = 3e-3) -> params.Frozen:
    return params.Frozen(epochs=epochs, lr=lr, weight_decay=0.01, share=0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n_components", "hidden"), [(0, [6]), (4, [])])
def test_the_two_parts_are_the_network(n_components: int, hidden: list[int]) -> None:
    network = model.build_network(**(SMALL | {"batchnorm_momentum": 0.0}), n_components=n_components, head=hidden)
    trunk, top = head.split_at_embedding(network)
    rng = np.random.default_rng(0)
    inputs = {"mel": rng.random((2, 32, 40, 1), np.float32), "pca": rng.normal(size=(2, 4)).astype(np.float32)}
    inputs = {name: inputs[name] for name in ("mel", "pca")[: 1 + (n_components > 0)]}
    network(inputs, training=True)  # running averages of these clips, or the features would be near 0
    rest = {name: value for name, value in inputs.items() if name != "mel"}
    embedding = trunk({"mel": inputs["mel"]}).numpy()
    assert embedding.std() > 0.01
    found = top([embedding, *rest.values()])
    np.testing.assert_allclose(found, network(inputs), atol=1e-6)


def test_the_head_learns_and_the_trunk_does_not_change() -> None:
    keras.utils.set_random_seed(1)
    network = model.build_network(**SMALL, head=[])
    trunk, top = head.split_at_embedding(network)
    before = [weights.copy() for weights in network.get_layer("trunk").get_weights()]
    clips = make_examples([40] * 12, LABELS, n_mels=32)
    # Features that tell the labels, in two crops a clip.
    size = trunk.output_shape[-1]
    embeddings = np.stack([np.pad(clips.targets, ((0, 0), (0, size - 3))) for _ in range(2)])
    loss = fit(top, embeddings, clips, np.ones(12, np.float32), frozen(lr=0.03))
    assert loss < 0.5 < np.log(3)
    for old, new in zip(before, network.get_layer("trunk").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (top([embeddings[0]]).numpy().argmax(axis=1) == clips.targets.argmax(axis=1)).all()


def test_a_clip_without_weight_teaches_nothing() -> None:
    """Every clip of one label has weight 0: its probability falls."""
    keras.utils.set_random_seed(1)
    _, top = head.split_at_embedding(model.build_network(**SMALL, head=[]))
    clips = make_examples([40] * 12, LABELS, n_mels=32)
    embeddings = np.ones((1, 12, top.inputs[0].shape[-1]), np.float32)
    weights = 1 - clips.targets[:, 0]
    fit(top, embeddings, clips, weights, frozen())
    assert top([embeddings[0, :1]]).numpy()[0].argmin() == 0


def test_a_loss_that_is_no_number_stops_with_a_message() -> None:
    _, top = head.split_at_embedding(model.build_network(**SMALL, head=[]))
    clips = make_examples([40] * 12, LABELS, n_mels=32)
    embeddings = np.full((1, 12, top.inputs[0].shape[-1]), np.nan, np.float32)
    with pytest.raises(FsatError, match="diverged on the frozen trunk"):
        fit(top, embeddings, clips, np.ones(12, np.float32), frozen(1))


def test_the_components_keep_the_ratios_of_their_variances() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(2, 500, 8)).astype(np.float32)
    components = (rng.normal(size=(500, 3)) * [30.0, 10.0, 1.0] + 5).astype(np.float32)
    norm = keras.layers.BatchNormalization(name="pca_norm")
    norm.build((None, 3))
    head.weigh_components(norm, embeddings, components)
    heard = np.array(norm.gamma) ** 2
    np.testing.assert_allclose(heard / heard[2], [900, 100, 1], rtol=0.2)
    np.testing.assert_allclose(heard.sum(), 6 * embeddings.var(axis=1).sum(axis=1).mean(), rtol=1e-5)
