"""Measure, print a table, write `docs/PERFORMANCE.md` and `metrics/performance.json`.

python -m benchmarks                 everything: about forty minutes on two cores
python -m benchmarks networks        one part: features, scaling or networks
"""

import datetime
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from benchmarks import features, networks

PARTS = {"features": features.all_rows, "scaling": features.scaling_rows, "networks": networks.all_rows}
RESULTS = Path("metrics/performance.json")
PAGE = Path("docs/PERFORMANCE.md")
HEADER = """# Performance

Made by `make bench`. Every ratio was measured in one run, the two sides taking turns; the machine was shared, so that
absolute times vary and ratios count. The ratio is how many times faster in rows that say "at least", in those of two
cores and in that of a batch; elsewhere it is how many times longer or larger. Seconds of `spectral` and `mel` and of
the growing number of clips are processor time.
"""


def machine() -> str:
    """Processor, cores, Python; no names."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} cores of {processor}, Python {platform.python_version()}"


def markdown(results: dict[str, Any]) -> str:
    """The page: a table for each part."""
    parts = [HEADER]
    for part in (part for part in PARTS if part in results):
        measured = results[part]
        parts.append(f"\n## {part.capitalize()}\n\n{measured['machine']}, {measured['date']}.\n")
        parts.append("| what | compared with | ratio | reach | figures |\n|---|---|---|---|---|")
        for row in measured["rows"]:
            known = {"name", "compare_with", "ratio", "reach"}
            figures = "; ".join(
                f"{key.replace('_', ' ')}: {_short(value)}" for key, value in row.items() if key not in known
            )
            cells = (row["name"], row.get("compare_with", "-"), _short(row.get("ratio", "-")), row.get("reach", "-"))
            parts.append(f"| {' | '.join(str(cell) for cell in (*cells, figures))} |")
    parts.append("\nThe GPU rows (steps per second, mixed precision, XLA at steps of 32, 300 passes) were not run.\n")
    return "\n".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the parts named on the command line, or all, and keep the other parts' earlier figures."""
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"unknown part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for part in chosen:
        rows = PARTS[part]()
        results[part] = {"machine": machine(), "date": datetime.date.today().isoformat(), "rows": rows}
        print(markdown({part: results[part]}))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
