"""Write `versions.yaml` from `requirements.txt`: the libraries whose versions shape the bytes of some output.

python -m scripts.pin
"""

import re
from pathlib import Path

import yaml

# In the order of the pipeline: reading sound, features, tables, networks, figures, bundles.
SHAPING = (
    "numpy", "scipy", "soundfile", "av", "soxr", "librosa", "pandas", "pyarrow", "scikit-learn", "h5py", "keras",
    "tensorflow", "matplotlib", "pillow", "onnx", "tf2onnx",
)  # fmt: skip
HEADER = "# Libraries whose versions shape the bytes of an output; from requirements.txt by `make pin`.\n"


def pinned_versions(requirements: str) -> dict[str, str]:
    """Version of each library of `SHAPING` in the text of a requirements file."""
    found = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", requirements, flags=re.MULTILINE))
    return {name: found[name] for name in SHAPING}


if __name__ == "__main__":
    versions = pinned_versions(Path("requirements.txt").read_text(encoding="utf-8"))
    Path("versions.yaml").write_text(HEADER + yaml.safe_dump(versions, sort_keys=False), encoding="utf-8")
