"""The README shows the pipeline as it is."""

import re
from pathlib import Path

import yaml

import project

ROOT = Path(__file__).parents[1]


def test_the_picture_of_the_pipeline_is_what_dvc_draws() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```mermaid\n(.*?)```", readme, flags=re.DOTALL)
    assert shown is not None
    drawn = project.call(ROOT, "dvc", "dag", "--md").stdout
    expected = re.search(r"```mermaid\n(.*?)```", drawn, flags=re.DOTALL)
    assert expected is not None
    assert shown.group(1).split() == expected.group(1).split(), "put the output of `dvc dag --md` into README.md"


def test_every_stage_is_in_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert all(re.search(rf"^\| `{name}(@k)?` \|", readme, flags=re.MULTILINE) for name in stages)


def test_every_file_the_readme_links_to_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if not link.startswith("http")]
    assert links and all((ROOT / link).exists() for link in links)
