"""What weights were trained on is noted in their file and survives what Keras does with it."""

from pathlib import Path

import h5py
import pytest

from fsat.core.errors import FsatError
from fsat.networks import model, provenance


def test_the_note_is_what_the_source_wrote_and_nothing_is_noted_otherwise(tmp_path: Path) -> None:
    trunk = model.build_trunk("EfficientAT", width=0.4)
    written = {}
    for name, dataset in (("a", "AudioSet"), ("b", "AudioSet"), ("plain", "")):
        written[name] = tmp_path / f"{name}.weights.h5"
        model.save_trunk(trunk, written[name], pretrained_on=dataset)
        model.load_trunk_weights(model.build_trunk("EfficientAT", width=0.4), written[name])
    assert provenance.pretrained_on(written["a"]) == "AudioSet"
    assert provenance.pretrained_on(written["plain"]) == ""
    assert written["a"].read_bytes() == written["b"].read_bytes()


def test_a_note_that_is_no_text_counts_as_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.weights.h5", "w") as file:
        file.attrs["pretrained_on"] = 7
    assert provenance.pretrained_on(tmp_path / "odd.weights.h5") == ""


def test_files_that_are_missing_or_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.weights.h5").write_text("no weights")
    for name, said in (("text", "is no .weights.h5 file"), ("nothing", "does not exist")):
        with pytest.raises(FsatError, match=rf"{name}\.weights\.h5 {said}") as caught:
            provenance.pretrained_on(tmp_path / f"{name}.weights.h5")
        assert "\n" not in str(caught.value)
