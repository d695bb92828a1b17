"""Dataset folder -> `data/index.csv`: a row a clip, and `metrics/data.json`: counts, licences, leakage."""

from fsat.clips import index, layouts
from fsat.core import files, params
from fsat.core.errors import escaped
from fsat.core.stage import run


def main() -> None:
    """Check the dataset as a whole; all problems are reported in one message."""
    p = params.read()
    sources = [f"data/{name}" for name in params.Sources.model_fields]
    layouts.refuse_inside(p.dataset.path, "data", allowed=sources)
    found = index.scan(
        p.dataset.path,
        bad_clips=p.dataset.bad_clips,
        exclude_licenses=p.dataset.exclude_licenses,
        label_column=p.dataset.label_column,
        background=p.dataset.background,
        seed=p.seed,
    )
    files.write_csv("data/index.csv", found.table)
    files.write_json("metrics/data.json", found.facts)
    train, test = found.facts["train"], found.facts["test"]
    print(f"{train['clips']} training clips of {train['classes']} labels, {test['clips']} test clips")
    for note in found.notes:
        print(f"note: {escaped(note)}")


if __name__ == "__main__":
    run(main)
