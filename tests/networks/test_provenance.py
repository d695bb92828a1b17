"""What weights were trained on is noted in their file and survives what Keras does with it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from fsat.core.errors import FsatError
from fsat.networks import model, provenance


def test_the_note_is_what_the_source_wrote_beside_weights_that_can_be_read(tmp_path: Path) -> None:
    trunk, other = (model.build_trunk("EfficientAT", width=0.4) for _ in range(2))
    written = {}
    hidden = (np.arange(6.0).reshape(3, 2), np.ones(2))
    for name, dataset in (("a", "AudioSet"), ("b", "AudioSet"), ("plain", "")):
        written[name] = tmp_path / f"{name}.weights.h5"
        model.save_trunk(trunk, written[name], pretrained_on=dataset, hidden=hidden if dataset else None)
        assert provenance.pretrained_on(written[name]) == dataset
    for kept, given in zip(provenance.hidden(written["a"]) or (), hidden, strict=True):
        np.testing.assert_array_equal(kept, given)
    assert provenance.hidden(written["plain"]) is None
    assert written["a"].read_bytes() == written["b"].read_bytes()
    model.load_trunk_weights(other, written["a"])
    for saved, loaded in zip(trunk.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(saved, loaded)


def test_files_that_are_missing_or_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.weights.h5").write_text("no weights")
    for name, said in (("text", "is no .weights.h5 file"), ("nothing", "does not exist")):
        with pytest.raises(FsatError, match=rf"{name}\.weights\.h5 {said}") as caught:
            provenance.pretrained_on(tmp_path / f"{name}.weights.h5")
        assert "\n" not in str(caught.value)
    with h5py.File(tmp_path / "odd.weights.h5", "w") as file:
        file.attrs["pretrained_on"] = 7  # a note that is no text counts as none
    assert provenance.pretrained_on(tmp_path / "odd.weights.h5") == ""
