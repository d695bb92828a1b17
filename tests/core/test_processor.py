"""Every x86-64 with AVX2 computes the same: the limits are set before NumPy is imported, or told."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml

from fsat.core import files, keras_backend, parallel, processor
from fsat.core.errors import FsatError
from stages import stage1, stage2

ROOT = Path(__file__).parents[2]
V3 = "avx2 fma bmi1 bmi2 abm f16c movbe"
needs_avx2 = pytest.mark.skipif(not processor.has_avx2(), reason="no x86-64 with AVX2")


def cpu(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr(processor, "flags", lambda: set(flags.split()))


def in_force(_: int) -> dict[str, str]:
    return processor.in_force()


def test_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor.flags() == set()
    (tmp_path / "cpuinfo").write_text(f"model name\t: X 1\nflags\t\t: {V3} sse\nflags\t\t: other\n")
    assert processor.flags() == {*V3.split(), "sse"} and processor.name() == "X 1"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert processor.flags() == set()


def test_what_is_set_where_and_whose_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    onednn = {"TF_ENABLE_ONEDNN_OPTS": "1"}
    for flags, environment, added in (
        (V3, {}, processor.LIMITS | onednn),
        (V3, {"NPY_DISABLE_CPU_FEATURES": "X86_V4"}, {"OPENBLAS_CORETYPE": "Haswell"} | onednn),
        (V3, {"TF_ENABLE_ONEDNN_OPTS": "0", "OPENBLAS_CORETYPE": "Zen"}, {"NPY_ENABLE_CPU_FEATURES": "X86_V3"}),
        ("avx sse2", {}, onednn),
        ("", {}, {}),
    ):
        cpu(monkeypatch, flags)
        found = dict(environment)
        processor.limit(found)
        assert found == added | environment
    monkeypatch.setitem(sys.modules, "numpy", object())
    cpu(monkeypatch, V3)
    processor.limit(found := {})
    assert found == onednn


@needs_avx2
def test_limits_are_in_force_in_a_stage_and_its_workers_and_wider_settings_are_told() -> None:
    """By what NumPy and OpenBLAS say themselves."""
    code = (
        "import stages, scipy.linalg\n"
        "from fsat.core import parallel, processor, stage\n"
        "import test_processor\n"
        "answers = list(parallel.map_clips(test_processor.in_force, [1, 2], desc='', jobs=2))\n"
        "print([*answers, processor.in_force()])\n"
        "stage.run(lambda: None)\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in (*processor.LIMITS, *processor.NUMPY)}
    clean |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    wider = {"NPY_ENABLE_CPU_FEATURES": "X86_V2", "OPENBLAS_CORETYPE": "Nehalem"}
    for more in ({}, wider):
        done = subprocess.run(
            [sys.executable, "-c", code], env=clean | more, capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.strip() == str([processor.LIMITS | more] * 3)
        told = "NPY_ENABLE_CPU_FEATURES=X86_V2, OPENBLAS_CORETYPE=Nehalem: digits may differ" in done.stderr
        assert told == bool(more)


def test_a_numpy_that_was_imported_too_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu(monkeypatch, V3)
    for name in (*processor.NUMPY, *processor.LIMITS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setattr(processor, "in_force", lambda: processor.LIMITS | {"NPY_ENABLE_CPU_FEATURES": "X86_V4"})
    (note,) = processor.notes()
    assert note.startswith("NPY_ENABLE_CPU_FEATURES is X86_V4 in force, as NumPy was imported before it was set")
    cpu(monkeypatch, "avx")
    assert processor.notes() == []


def test_portable_networks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A copy: what is set by the code itself would stay.
    monkeypatch.setattr(
        os, "environ", {name: os.environ[name] for name in os.environ if name not in processor.PORTABLE}
    )
    cpu(monkeypatch, "avx")
    keras_backend.use("tensorflow", portable=True)
    cpu(monkeypatch, V3)
    keras_backend.use("tensorflow", portable=False)
    assert not processor.PORTABLE.keys() & os.environ.keys()
    os.environ["TF_NUM_INTRAOP_THREADS"] = "8"
    keras_backend.use("tensorflow", portable=True)
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "the environment sets TF_NUM_INTRAOP_THREADS=8: digits may differ" in capsys.readouterr().err


@pytest.mark.parametrize(("precision", "limited"), [("float32", True), ("mixed_float16", False)])
def test_trainings_in_half_precision_are_not_limited(
    precision: str, limited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within AVX2 TensorFlow ends with an error there."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["train"] |= {"portable": True, "precision": precision}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    files.write_csv(tmp_path / "data/folds.csv", pd.DataFrame({"fold": [0, 1]}))
    monkeypatch.chdir(tmp_path)
    use = Mock(side_effect=FsatError)
    monkeypatch.setattr(keras_backend, "use", use)
    for stage in (stage1, stage2):
        with pytest.raises(FsatError):
            stage.main("0")
    assert [called.kwargs["portable"] for called in use.call_args_list] == [limited] * 2


def test_a_dask_worker_with_other_limits_is_refused() -> None:
    wide = {"NPY_ENABLE_CPU_FEATURES": "X86_V4", "OPENBLAS_CORETYPE": "SkylakeX"}
    client = SimpleNamespace(run=lambda function: {"tcp://a": wide if function is processor.in_force else {}})
    with pytest.raises(FsatError, match="tcp://a computes with NPY_ENABLE_CPU_FEATURES=X86_V4 OPENBLAS_CORETYPE=Skyl"):
        parallel.refuse_other_workers(client, "tcp://x")
