"""The scripts behind sources/dvc.yaml: initial weights; the demo and the download have test files of their own."""

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v2
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils
from loopback import Server, server

from fsat import Tagger
from fsat.core import params
from fsat.core.errors import FsatError
from fsat.networks import model, provenance
from fsat.sources import audioset_labels, published_networks, torch_checkpoint
from shared_data import SHARED, needs
from stages import audioset_tagger, audioset_weights, imagenet_weights, random_weights

__all__ = ["server"]

ROOT = Path(__file__).parents[2]


# --- initial weights -------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the project's params.yaml."""
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(folder: Path, *, seed: int = 20180629, width: float = 0.35) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text, n_seed = re.subn(r"(?m)^seed: \d+", f"seed: {seed}", text)
    text, n_width = re.subn(r"(?m)^  width: [\d.]+", f"  width: {width}", text)
    assert (n_seed, n_width) == (1, 1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def test_random_weights_are_the_same_bytes_each_time_and_load_into_the_backbone(project: Path) -> None:
    out = project / "data/pretrained/random.weights.h5"
    found = []
    for seed in (2, 1, 1):
        write_params(project, seed=seed)
        keras.utils.clear_session()  # layers are numbered through a process; a stage has one of its own
        random_weights.main()
        found.append(out.read_bytes())
    assert provenance.pretrained_on(out) == ""
    assert found[0] != found[1] == found[2]
    assert list(out.parent.iterdir()) == [out]
    plain = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35)
    trunk = model.build_trunk("MobileNetV2", width=0.35)
    for fresh in (plain, trunk):
        before = fresh.get_weights()[0]
        fresh.load_weights(out)
        assert np.any(fresh.get_weights()[0] != before)
    for a, b in zip(plain.get_weights(), trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def weights_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Make Keras download from the server, without its cache."""
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"{server.url}/")
    # It has to exist, or Keras takes a folder below /tmp.
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path / "keras"))
    return server


def test_imagenet_weights_are_what_keras_downloads(project: Path, weights_server: Server) -> None:
    # The published files are of Keras' older format.
    published = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35)
    with h5py.File(content := io.BytesIO(), "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, published)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    weights_server.files[f"/{name}"] = content.getvalue()

    imagenet_weights.main()

    out = project / "data/pretrained/imagenet.weights.h5"
    assert provenance.pretrained_on(out) == "ImageNet"
    assert list(out.parent.iterdir()) == [out]
    loaded = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35)
    loaded.load_weights(out)
    for a, b in zip(loaded.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("weights_server")
def test_imagenet_weights_that_cannot_be_had(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(project, width=0.4)
    with pytest.raises(FsatError, match=r"MobileNetV2 .*alpha"):
        imagenet_weights.main()
    write_params(project)
    with pytest.raises(FsatError, match=r"MobileNetV2 cannot be downloaded .*404.* point model\.weights at it"):
        imagenet_weights.main()
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(FsatError, match=r"cannot be downloaded .*refused.* point model\.weights at it"):
        imagenet_weights.main()
    assert not (project / "data").exists()


# --- AudioSet weights, and a tagger before any training --------------------------------------------------------------

CHECKPOINT = SHARED / "pretrained" / "mn04_as_mAP_432.pt"
TABLE = SHARED / "pretrained" / "audioset_class_labels_indices.csv"


@pytest.fixture
def published(project: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Checkpoint and labels come from a server on this machine."""
    networks = published_networks.NETWORKS
    server.files = {"/network": CHECKPOINT.read_bytes(), "/labels": TABLE.read_bytes()}
    here = replace(networks["mn04"], file=replace(networks["mn04"].file, url=f"{server.url}/network"))
    monkeypatch.setattr(published_networks, "NETWORKS", networks | {"mn04": here})
    labels = replace(published_networks.AUDIOSET_LABELS, url=f"{server.url}/labels")
    monkeypatch.setattr(published_networks, "AUDIOSET_LABELS", labels)
    return server


def test_the_schema_knows_the_networks_of_the_table_and_their_widths() -> None:
    assert set(published_networks.NETWORKS) == set(get_args(params.AudiosetSource.model_fields["network"].annotation))
    for name, network in published_networks.NETWORKS.items():
        assert network.width == int(name.removeprefix("mn")) / 10


@needs("pretrained/mn04_as_mAP_432.pt")
def test_audioset_weights_come_from_the_published_checkpoint(project: Path, published: Server) -> None:
    out = project / "data/pretrained/audioset.weights.h5"
    published.files["/network"] = b"another file"
    with pytest.raises(FsatError, match=r"899a8c.* \(12 bytes of 4,066,513\).*published_networks\.py, mn04"):
        audioset_weights.main()
    assert not out.exists()

    published.files["/network"] = CHECKPOINT.read_bytes()
    audioset_weights.main()
    assert provenance.pretrained_on(out) == "AudioSet"
    trunk = model.build_trunk("EfficientAT", width=0.4)
    model.load_trunk_weights(trunk, out)
    tensors = torch_checkpoint.read(CHECKPOINT)
    kernel = trunk.get_layer("features.16.0").get_weights()[0]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), tensors["features.16.0.weight"])
    kept = provenance.hidden(out)
    assert kept is not None
    np.testing.assert_array_equal(kept[0].T, tensors["classifier.2.weight"])
    np.testing.assert_array_equal(kept[1], tensors["classifier.2.bias"])


@needs("pretrained/audioset_class_labels_indices.csv")
@needs("reference/efficientat_mn04_as.npz")
@pytest.mark.usefixtures("published")
def test_the_tagger_of_the_published_checkpoint_says_what_the_reference_says(project: Path) -> None:
    out = project / "data/bundles/audioset"
    audioset_tagger.main()
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert made == ["README.md", "bundle.json", "filters/mel.npz", "stage1/fold0.onnx"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert all(text in card for text in ("| MIT |", "CC BY 4.0", "CC BY-SA 4.0", "precision of 0.432", "899a8c6217063"))

    tagger = Tagger(out, embeddings=True)
    assert tagger.manifest.activation == "sigmoid" and len(tagger.manifest.labels) == 527
    reference = np.load(SHARED / "reference" / "efficientat_mn04_as.npz")
    names = [name.removesuffix("/wave_32k") for name in reference.files if name.endswith("/wave_32k")]
    assert len(names) == 6
    for name in names:
        found = tagger(reference[f"{name}/wave_32k"], 32_000)
        expected = 1 / (1 + np.exp(-reference[f"{name}/logits"].astype(np.float64)))
        np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-4)
        assert found.embedding is not None
        np.testing.assert_allclose(found.embedding, reference[f"{name}/embedding"], rtol=0, atol=1e-4)


@needs("pretrained/audioset_class_labels_indices.csv")
def test_labels_keep_their_commas_and_quotes() -> None:
    names = audioset_labels.read(TABLE)
    assert (names[0], names[72], names[526]) == ("Speech", "Animal", "Field recording")
    assert "Child speech, kid speaking" in names and "Dental drill, dentist's drill" in names


@needs("pretrained/audioset_class_labels_indices.csv")
def test_a_damaged_table_of_labels_makes_no_tagger(
    project: Path, published: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = TABLE.read_bytes().splitlines(keepends=True)
    published.files["/labels"] = content = b"".join([*lines[:9], *lines[10:]])
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(FsatError, match=f"its sha256 is {found}, expected was cdd1049833c4"):
        audioset_tagger.main()
    labels = replace(published_networks.AUDIOSET_LABELS, sha256=found)
    monkeypatch.setattr(published_networks, "AUDIOSET_LABELS", labels)
    with pytest.raises(FsatError, match="is not AudioSet's table of 527 labels"):
        audioset_tagger.main()
    monkeypatch.setattr(published_networks, "AUDIOSET_LABELS", replace(labels, url=f"{labels.url}.none"))
    with pytest.raises(FsatError, match=r"answers 404 .* stands in .*published_networks\.py, AUDIOSET_LABELS"):
        audioset_tagger.main()
    assert not (project / "data").exists()
