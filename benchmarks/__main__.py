"""Measure, print a table, write `docs/PERFORMANCE.md` and `metrics/performance.json`.

python -m benchmarks                 all parts but gpu: about half an hour on two cores
python -m benchmarks networks        one part: features, networks, portable, tagging, gpu
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import gpu
from benchmarks.measuring import Row
from fsat.core import processor

PARTS = ("features", "networks", "portable", "tagging")
RESULTS = Path("metrics/performance.json")
PAGE = Path("docs/PERFORMANCE.md")
MACHINES, BEGIN, END = Path("docs/MACHINES.md"), "<!-- by `python -m benchmarks gpu` -->\n", "<!-- end -->\n"
HEADER = """# Performance

Written by `make bench` from `metrics/performance.json`. Both sides of a comparison took turns in one run on a shared
machine: compare within a row, not between rows. Numbers are medians.

- **Speed-up**: the other side's time divided by ours. **Overhead**: our time or size divided by the other side's.
- **Exponent of time**: 1 is linear. Lists are for 1, 2, 4, 8 and 10 times the clips.

Times of `spectral`, `mel` and tagging on one core and of the growing number of clips are processor time; the others are
wall time."""
SHARES = """
Parts of `spectral` that take at least 5 %, one core:

| part | share of the time | ms per s of audio |
|---|---|---|"""
CELLS = ("name", "compare_with", "speed_up", "overhead", "share", "target")


def machine() -> str:
    """Processor, cores, Python; no names."""
    return f"{os.cpu_count()} cores of {processor.name()}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that is measured; "-dirty" where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def markdown(results: dict[str, Any]) -> str:
    """The page: for each part a table of claims, and one of shares where there are any."""
    parts = [HEADER]
    for part in (part for part in (*PARTS, *gpu.BACKENDS.values()) if part in results):
        measured = results[part]
        parts.append(f"\n## {part[0].upper()}{part[1:]}\n")
        parts.append(f"{measured['machine']}; {measured['date']}, commit {measured['commit']}.\n")
        parts.append("| what | compared with | speed-up | overhead | target | figures |\n|---|---|---|---|---|---|")
        parts += [_claim(row) for row in measured["rows"] if "share" not in row]
        if shares := [row for row in measured["rows"] if row.get("share", 0) >= 0.05]:
            parts += [SHARES, *map(_share, shares)]
    if not set(gpu.BACKENDS.values()) & set(results):
        parts.append(f"\n## GPU\n\n{gpu.NOT_RUN}".rstrip())
    return "\n".join(parts) + "\n"


def _claim(row: dict[str, Any]) -> str:
    figures = "; ".join(f"{key.replace('_', ' ')}: {_short(row[key])}" for key in row if key not in CELLS)
    cells = [_short(row.get(key, "-")) for key in ("name", "compare_with", "speed_up", "overhead", "target")]
    return f"| {' | '.join([*cells, figures])} |"


def _share(row: dict[str, Any]) -> str:
    part = row["name"].removeprefix("spectral: ")
    return f"| {part} | {100 * row['share']:.1f} % | {1e3 * row['ours_s_per_s_of_audio']:.2g} |"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return str(value)


def with_estimate(page: str, results: dict[str, Any]) -> str:
    """The page on machines, with the time of the full run on a GPU between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{gpu.estimate(results)}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Run the parts named on the command line, or all but `gpu`, and keep the other parts' earlier figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("parts", nargs="*", help=", ".join([*PARTS, "gpu"]))
    parser.add_argument("--scale", type=float, default=1.0, help="of gpu: this share of size and time; writes nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {*PARTS, "gpu"}:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; there are {', '.join([*PARTS, 'gpu'])}")
    if arguments.scale != 1:
        if arguments.parts != ["gpu"]:
            parser.error("--scale is for gpu alone")
        print(markdown({gpu.BACKENDS[gpu.backend()]: _measured(gpu.all_rows(scale=arguments.scale))}))
        return
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for part in arguments.parts or PARTS:
        name = gpu.BACKENDS[gpu.backend()] if part == "gpu" else part
        results[name] = _measured(_rows(part))
        print(markdown({name: results[name]}))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(markdown(results), encoding="utf-8")
    MACHINES.write_text(with_estimate(MACHINES.read_text(encoding="utf-8"), results), encoding="utf-8")


def _rows(part: str) -> list[Row]:
    # Imported here, as some import TensorFlow: the page is written without it.
    return importlib.import_module(f"benchmarks.{part}").all_rows()


def _measured(rows: list[Row]) -> dict[str, Any]:
    return {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit(), "rows": rows}


if __name__ == "__main__":
    main()
