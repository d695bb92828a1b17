"""Real clips and figures beside the project; tests that use them skip, with a message, where they are absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def needs(relative: str) -> pytest.MarkDecorator:
    """Skip a test unless `relative`, a file or folder below the shared data, is there."""
    return pytest.mark.skipif(not (SHARED / relative).exists(), reason=f"real data '{relative}' is not on this machine")
