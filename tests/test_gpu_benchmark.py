"""`python -m benchmarks gpu`: what it writes, says of a machine without a GPU, and does when a part fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as performance
from benchmarks import gpu
from benchmarks.steps import Task


def test_rows_and_the_estimate_are_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    device = ""

    def measured(task: Task, *, timeout_s: float) -> dict[str, Any]:
        assert 0 < timeout_s <= gpu.LIMIT_S
        if task.width == 0.4:
            raise SystemExit("a process failed:\nx.OutOfMemoryError: no memory\nand more\n")
        passes = {"passes_s": 64 * 30 * 0.001} if task.more else {}
        step = {"step_s": 0.1, "new_length_s": 0.6} if task.crop_step == 1 else {"step_s": 0.05, "new_length_s": 9.05}
        return step | passes | {"first_s": 9.0, "peak_mb": 100.0, "device": device, "version": "2", "md5": "same"}

    monkeypatch.setattr(gpu, "measured", measured)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(SystemExit, match="tensorflow sees no GPU"):
        gpu.all_rows()
    device = "H9"
    rows = gpu.all_rows()
    assert [row["equal_bytes"] for row in rows if "equal_bytes" in row] == ["yes"]
    assert [row["failed"] for row in rows if "mn04" in row["name"]] == ["x.OutOfMemoryError: no memory"] * 4
    assert [row["speed_up"] for row in rows if "XLA" in row["name"] and "failed" not in row] == [2.0] * 4

    results = {"GPU, TensorFlow": {"machine": "m", "date": "d", "commit": "c", "rows": rows}}
    assert "## GPU, TensorFlow" in performance.markdown(results)
    # 134 steps of 0.1 s and 947 clips at six lengths an epoch, 122 to 300 epochs, 501 lengths at 0.5 s more: 20 times.
    prediction = f"{20 * 2547 * 0.03 / 3600:.1f}"
    hours = [20 * (count * (13.4 + 947 * 6 * 0.001) + 501 * 0.5) / 3600 for count in (122, 300)]
    line = f"| H9, 2 | {gpu.RECIPE}, float32, any T | {hours[0]:.1f} to {hours[1]:.1f} | {prediction} |"
    assert line in gpu.estimate(results)

    monkeypatch.setattr(gpu, "LIMIT_S", 0)
    with pytest.raises(SystemExit, match="minutes were over"):
        gpu.all_rows()


def test_the_command_writes_both_pages_and_keeps_other_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    performance.MACHINES.write_text(f"before\n{performance.BEGIN}{performance.END}after\n")
    monkeypatch.setattr(performance, "commit", lambda: "c")
    monkeypatch.setattr(performance, "_rows", lambda part: [{"name": f"row of {part}", "compare_with": "-"}])
    monkeypatch.setattr(gpu, "backend", lambda: "jax")
    monkeypatch.setattr(gpu, "estimate", lambda results: f"{sorted(results)}\n")
    for words in ([], ["gpu"]):
        monkeypatch.setattr("sys.argv", ["benchmarks", *words])
        performance.main()
    parts = sorted([*performance.PARTS, "GPU, JAX"])
    assert [text for text in performance.MACHINES.read_text().splitlines() if "<!--" not in text] == [
        *("before", str(parts), "after")
    ]
    assert all(f"row of {part}" in performance.PAGE.read_text() for part in (*performance.PARTS, "gpu"))
    monkeypatch.setattr("sys.argv", ["benchmarks", "--scale", "0.1", "tagging"])
    with pytest.raises(SystemExit):
        performance.main()


def test_pages_hold_what_the_figures_give() -> None:
    results = json.loads(performance.RESULTS.read_text(encoding="utf-8"))
    page = performance.MACHINES.read_text(encoding="utf-8")
    assert page.count(performance.BEGIN) == 1 and performance.with_estimate(page, results) == page
