"""What the pipeline costs, measured on real clips: `python -m benchmarks` (see docs/PERFORMANCE.md)."""
