"""A bundle of a network that others trained: independent labels whose names hold commas and quotes."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from fsat import Tagger, cli
from fsat.core import params
from fsat.features import mel_bank
from fsat.tagger import bundle, bundler

MEL = params.Mel(sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=128, style="kaldi")
LABELS = ['Whistle, "wolf"', "Bow-wow, woof", "Silence; nothing's there"]
RATE = 32_000
PUBLISHED = bundle.Published(
    what="weights", credit="A. Author", page="https://example.org", license="MIT | as is", sha256="ab" * 32
)


def network() -> bytes:
    """The first two labels hold where it is loud, the third where it is silent; bytes of an ONNX file."""
    weights = np.repeat([[8.0, 6.0, -4.0]], 128, axis=0).astype(np.float32) / 128
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["mel", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    value = helper.make_tensor_value_info
    mel = value("mel", TensorProto.FLOAT, ["B", 128, "T", 1])
    outputs = [value("probabilities", TensorProto.FLOAT, ["B", 3]), value("embedding", TensorProto.FLOAT, ["B", 128])]
    graph = helper.make_graph(nodes, "network", [mel], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)


def write(folder: Path) -> bundle.Bundle:
    return bundler.write_published(
        folder,
        network=network(),
        n_embedding=128,
        parameters=384,
        architecture={"backbone": "EfficientAT", "width": 0.4},
        labels=LABELS,
        mel=MEL,
        bank=mel_bank.kaldi(mel_bank.for_mel(MEL)),
        trained_on="AudioSet",
        published=[PUBLISHED],
        scores={"reported": "mean average precision of 0.4 on other clips"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle").folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds of silence, three of noise, three of silence."""
    x = np.zeros(9 * RATE)
    x[3 * RATE : 6 * RATE] = np.random.default_rng(0).normal(0, 0.3, 3 * RATE)
    soundfile.write(tmp_path / "a.wav", x, RATE)
    return tmp_path / "a.wav"


def test_two_bundles_are_the_same_bytes(tmp_path: Path) -> None:
    folders = [write(tmp_path / name).folder for name in ("one", "two")]
    one, two = ({str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*.*")} for top in folders)
    assert one == two and sorted(one) == ["README.md", "bundle.json", "filters/mel.npz", "stage1/fold0.onnx"]


def test_the_card_names_licences_and_says_that_labels_are_independent(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| weights | A. Author | MIT \\| as is | https://example.org | `{'ab' * 32}` |" in card
    assert "report a mean average precision of 0.4 on other clips. Not scored by the pipeline." in card
    assert "independent of each other" in card and "they do not sum to 1" in card
    assert "held-out" not in card and "Fingerprint" not in card and "gets some of the labels" not in card


def test_several_labels_hold_at_the_same_time(folder: Path, recording: Path) -> None:
    tagger = Tagger(folder)
    noise = soundfile.read(recording, dtype="float32")[0][3 * RATE : 6 * RATE]
    loud, silent = tagger(noise, RATE).probabilities, tagger(np.zeros(RATE, np.float32), RATE).probabilities
    assert (loud[:2] > 0.8).all() and loud[2] < 0.2 and loud.sum() > 1.5
    assert (silent[:2] < 0.1).all() and silent[2] > 0.8


@pytest.fixture
def tag(
    folder: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Tag the recording with further options: what is printed."""

    def call(*options: object) -> str:
        monkeypatch.setattr(sys, "argv", ["fsat", "tag", str(recording), "--model", str(folder), *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    return call


def test_events_of_several_labels_overlap(tag: Callable[..., str]) -> None:
    options = ("--segments", 1, "--events", "--format")
    rows = list(csv.reader(io.StringIO(tag(*options, "csv"))))
    expected = [(LABELS[2], 0, 3), (LABELS[1], 3, 6), (LABELS[0], 3, 6), (LABELS[2], 6, 9)]
    assert [(label, float(start), float(end)) for _, start, end, label, _ in rows[1:]] == expected
    weaker, stronger = float(rows[2][4]), float(rows[3][4])
    high = list(csv.reader(io.StringIO(tag(*options, "csv", "--threshold", (weaker + stronger) / 2))))
    assert LABELS[1] not in [row[3] for row in high] and LABELS[0] in [row[3] for row in high]
    for form, columns in (("audacity", 3), ("raven", 10)):
        lines = [line.split("\t") for line in tag(*options, form).splitlines()]
        assert {len(fields) for fields in lines} == {columns}
        # In both formats quotes and commas are letters like others.
        names = [fields[2 if form == "audacity" else 7] for fields in lines]
        assert [name for name in names if name != "Label"] == [label for label, _, _ in expected]


def test_the_table_says_that_probabilities_are_independent_and_data_formats_do_not(tag: Callable[..., str]) -> None:
    table = tag("--format", "table")
    assert cli.INDEPENDENT in table and LABELS[0] in table
    _, row = csv.reader(io.StringIO(tag("--format", "csv")))
    assert {row[1], row[3], row[5]} == set(LABELS)
    objects = json.loads(tag("--format", "json"))
    assert {entry["label"] for entry in objects[0]["tags"]} == set(LABELS)
