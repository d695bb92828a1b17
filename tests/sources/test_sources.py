"""The scripts behind sources/dvc.yaml: initial weights; the demo and the download have test files of their own."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from fsat.core.errors import FsatError
from shared_data import SHARED, needs

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "sources/dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_every_source_runs_at_the_root_and_writes_below_data() -> None:
    assert {name: stage["outs"] for name, stage in STAGES.items()} == {
        "demo": ["data/demo"],
        "fsdkaggle2018": ["data/fsdkaggle2018"],
        "random": ["data/pretrained/random.weights.h5"],
        "imagenet": ["data/pretrained/imagenet.weights.h5"],
        "audioset": ["data/pretrained/audioset.weights.h5"],
        "audioset-tagger": ["data/bundles/audioset"],
    }
    assert {stage["wdir"] for stage in STAGES.values()} == {".."}
    assert all((ROOT / dep).is_file() for stage in STAGES.values() for dep in stage["deps"])


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


def test_random_weights_are_the_same_bytes_each_time_and_others_for_another_seed(project: Path) -> None:
    import keras

    from fsat.networks import provenance
    from stages import random_weights

    out = project / "data/pretrained/random.weights.h5"
    found = []
    for seed in (1, 1, 2):
        write_params(project, seed=seed)
        keras.utils.clear_session()  # layers are numbered through a process; a stage has one of its own
        random_weights.main()
        found.append(out.read_bytes())
    assert provenance.pretrained_on(out) == ""
    assert found[0] == found[1] != found[2]
    assert list(out.parent.iterdir()) == [out]


def test_random_weights_load_like_any_weights_of_the_backbone(project: Path) -> None:
    import keras

    from fsat.networks import model
    from stages import random_weights

    random_weights.main()
    out = project / "data/pretrained/random.weights.h5"
    plain = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35)
    trunk = model.build_trunk("MobileNetV2", width=0.35)
    for fresh in (plain, trunk):
        before = fresh.get_weights()[0]
        fresh.load_weights(out)
        assert np.any(fresh.get_weights()[0] != before)
    for a, b in zip(plain.get_weights(), trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def weights_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make Keras download from a server on this machine, without its cache; yields the folder that is served."""
    from keras.src.applications import mobilenet_v2
    from keras.src.utils import file_utils

    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(_Quiet, directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{httpd.server_port}/")
    # It has to exist, or Keras takes a folder below /tmp.
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path / "keras"))
    yield folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_imagenet_weights_are_what_keras_downloads(project: Path, weights_server: Path) -> None:
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    from fsat.networks import provenance
    from stages import imagenet_weights

    # The published files are of Keras' older format.
    published = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    with h5py.File(weights_server / name, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, published)

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
    from keras.src.applications import mobilenet_v2

    from stages import imagenet_weights

    with pytest.raises(FsatError, match=r"MobileNetV2 cannot be downloaded .*404.* point model\.weights at it"):
        imagenet_weights.main()
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(FsatError, match=r"cannot be downloaded .*refused.* point model\.weights at it"):
        imagenet_weights.main()
    assert not (project / "data").exists()


@pytest.mark.usefixtures("weights_server")
def test_imagenet_weights_do_not_exist_for_every_width(project: Path) -> None:
    from stages import imagenet_weights

    write_params(project, width=0.4)
    with pytest.raises(FsatError, match=r"MobileNetV2 .*alpha"):
        imagenet_weights.main()


# --- AudioSet weights ------------------------------------------------------------------------------------------------

CHECKPOINT = SHARED / "pretrained" / "mn04_as_mAP_432.pt"


@pytest.fixture
def checkpoint_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Address of a folder on this machine that stands in for the published release, and the folder."""
    folder = tmp_path / "release"
    folder.mkdir()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def write_audioset_params(
    folder: Path, url: str, sha256: str, *, labels: dict[str, str] | None = None, **model: object
) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["model"] |= {"backbone": "EfficientAT", "width": 0.4} | model
    values["mel"]["n_mels"] = 128
    values["sources"]["audioset"] |= {"url": url, "sha256": sha256}
    values["sources"]["audioset"]["labels"] |= labels or {}
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


@needs("pretrained/mn04_as_mAP_432.pt")
def test_audioset_weights_come_from_the_published_checkpoint(
    project: Path, checkpoint_server: tuple[str, Path]
) -> None:
    from fsat.networks import model, provenance
    from fsat.sources import torch_checkpoint
    from stages import audioset_weights

    address, release = checkpoint_server
    data = CHECKPOINT.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (release / "mn04.pt").write_bytes(data)
    out = project / "data/pretrained/audioset.weights.h5"

    write_audioset_params(project, f"{address}/mn04.pt", "0" * 64)
    with pytest.raises(FsatError, match=f"its sha256 is {digest}, expected was 000"):
        audioset_weights.main()
    write_audioset_params(project, f"{address}/mn04.pt", digest, width=0.5)
    with pytest.raises(FsatError, match=r"does not fit model\.width 0\.5"):
        audioset_weights.main()
    assert not out.exists()

    write_audioset_params(project, f"{address}/mn04.pt", digest)
    audioset_weights.main()
    assert provenance.pretrained_on(out) == "AudioSet"
    trunk = model.build_trunk("EfficientAT", width=0.4)
    model.load_trunk_weights(trunk, out)
    tensors = torch_checkpoint.read(CHECKPOINT)
    kernel = trunk.get_layer("features.16.0").get_weights()[0]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), tensors["features.16.0.weight"])


def test_audioset_weights_of_another_backbone_are_refused(project: Path) -> None:
    from stages import audioset_weights

    with pytest.raises(FsatError, match="AudioSet weights are those of"):
        audioset_weights.main()


# --- a tagger before any training ------------------------------------------------------------------------------------

TABLE = SHARED / "pretrained" / "audioset_class_labels_indices.csv"


@pytest.fixture
def published_files(checkpoint_server: tuple[str, Path]) -> tuple[str, str, dict[str, str], Path]:
    """Checkpoint and table of labels on the server: address and sum of the first, both of the second, the folder."""
    address, release = checkpoint_server
    for path, name in ((CHECKPOINT, "mn04.pt"), (TABLE, "labels.csv")):
        (release / name).write_bytes(path.read_bytes())
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (CHECKPOINT, TABLE)]
    return f"{address}/mn04.pt", sums[0], {"url": f"{address}/labels.csv", "sha256": sums[1]}, release


@needs("pretrained/audioset_class_labels_indices.csv")
@needs("reference/efficientat_mn04_as.npz")
def test_the_tagger_of_the_published_checkpoint_says_what_the_reference_says(
    project: Path, published_files: tuple[str, str, dict[str, str], Path]
) -> None:
    from fsat import Tagger
    from stages import audioset_tagger

    url, sha256, labels, _ = published_files
    # The backbone of the parameters is another one: the tagger does not depend on it.
    write_audioset_params(project, url, sha256, labels=labels, backbone="MobileNetV2", width=1.0)
    out = project / "data/bundles/audioset"
    made = []
    for _ in range(2):
        audioset_tagger.main()
        made.append({path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.*")})
    assert made[0] == made[1]
    assert sorted(made[0]) == ["README.md", "bundle.json", "stage1/fold0.onnx"]
    card = made[0]["README.md"].decode()
    assert all(text in card for text in ("| MIT |", "CC BY 4.0", "CC BY-SA 4.0", "precision of 0.432", sha256))

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
def test_a_damaged_table_of_labels_makes_no_tagger(
    project: Path, published_files: tuple[str, str, dict[str, str], Path]
) -> None:
    from stages import audioset_tagger

    url, sha256, labels, release = published_files
    lines = (release / "labels.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    damaged = {"one row less": "".join([*lines[:9], *lines[10:]]), "a page": "<html><title>Sign in</title></html>"}
    for text in damaged.values():
        (release / "labels.csv").write_text(text, encoding="utf-8")
        found = hashlib.sha256(text.encode()).hexdigest()
        write_audioset_params(project, url, sha256, labels=labels)
        with pytest.raises(FsatError, match=f"its sha256 is {found}, expected was cdd1049833c4"):
            audioset_tagger.main()
        write_audioset_params(project, url, sha256, labels=labels | {"sha256": found})
        with pytest.raises(FsatError, match="is not AudioSet's table of 527 labels"):
            audioset_tagger.main()
    write_audioset_params(project, url, sha256, labels=labels | {"url": f"{url}.none"})
    with pytest.raises(FsatError, match=r"answers 404 .* section sources of params\.yaml"):
        audioset_tagger.main()
    assert not (project / "data").exists()
