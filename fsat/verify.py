"""`fsat verify`: a round of self-verification, from held-out predictions to proposed corrections."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsat.scoring.names import Stage

if TYPE_CHECKING:
    import pandas as pd

    from fsat.clips.corrections import Correction

_SHOWN = 10  # of the most frequent new labels


def verify(
    write: Annotated[bool, typer.Option("--write", help="Write the proposals into the corrections file.")] = False,
    stage: Annotated[Stage | None, typer.Option(help="The network that is asked.  [default: the submission]")] = None,
) -> None:
    """Propose corrections for labels that nobody verified, from what networks say that never saw the clip.

    Labels that the networks confirm are verified; labels that they contradict are replaced, or the clip is dropped
    (or kept: `verify.rest` in params.yaml). Rows of the corrections file that are not by `fsat verify` stay and win;
    its own earlier ones are decided anew. A round: `fsat verify --write && dvc exp run`.
    """
    import sys

    from fsat.clips import corrections
    from fsat.core import files, params
    from fsat.scoring import names, verification
    from fsat.tagger.output import print_table

    p = params.read()
    path = Path(p.dataset.corrections)
    before = path.read_bytes() if path.is_file() else b""
    rows = corrections.read(path)
    index, folds = files.read_csv("data/index.csv"), files.read_csv("data/folds.csv")
    checked = corrections.check(rows, index, path=path)
    train = index[index["split"] == "train"]
    number = folds.set_index("fname")["fold"].reindex(train["fname"]).to_numpy()

    def applied(those: "Sequence[Correction]") -> "pd.DataFrame":
        return corrections.apply(train, number, those, unverified_weight=p.train.unverified_weight)

    own = [row for row in checked if not row.is_machine_made]
    predictions, known = files.read_parquet("data/predictions.parquet"), decided_labels(own, folds)
    evidence = verification.gather(predictions, index, model=stage or names.SUBMISSION, known=known)
    proposals = verification.propose(evidence, p.verify.rest)
    found = proposed(proposals, labels=set(train["label"]))
    merged = corrections.merge(rows, found, decided=proposals["fname"])
    applied(corrections.check(merged, index, path=path))  # refuses what would leave a label without clips

    table = verification.per_class(proposals)
    total = ["all", *(str(int(table[column].sum())) for column in table.columns[1:])]
    cells = [[str(value) for value in row] for row in table.itertuples(index=False)]
    print_table(list(table.columns), [*cells, total], right=list(table.columns[1:]), stream=sys.stdout)
    print_pairs(proposals)
    learned = ["corrected", "weight"]
    if applied(checked)[learned].to_numpy().tolist() != folds[learned].to_numpy().tolist():
        print(f"note: {path} has changed since data/folds.csv was made; `dvc repro` first asks newer networks")
    earlier = sum(row.is_machine_made for row in rows)
    now = sum(row.is_machine_made for row in merged)
    print(f"{path}: {len(own)} rows of your own stay, {earlier} by {corrections.MACHINE} become {now}")
    if not write:
        print("nothing is written: add --write")
        return
    corrections.replace_file(path, merged, before=before)
    print("written; `dvc exp run` trains with it")


def decided_labels(own: "Sequence[Correction]", folds: "pd.DataFrame") -> dict[str, str | None]:
    """Label of each clip that somebody has decided about, None where it was dropped."""
    given = dict(zip(folds["fname"], folds["label"], strict=True))
    labels = {"relabel": lambda row: row.label, "verify": lambda row: given[row.fname], "drop": lambda row: None}
    return {row.fname: labels[row.action](row) for row in own}


def proposed(proposals: "pd.DataFrame", *, labels: "set[str]") -> "list[Correction]":
    """Rows for the corrections file; clips to keep as they are have none. `labels` are those of the dataset."""
    from fsat.clips.corrections import MACHINE, Correction

    found, decided = [], proposals[proposals["action"] != "keep"]
    for fname, label, action, other, p_label, p_other in decided.itertuples(index=False):
        new, note = other if action == "relabel" else "", f"p({label}) {p_label:.2f}, p({other}) {p_other:.2f}"
        found.append(Correction(fname, action, new, MACHINE, note, new=new != "" and new not in labels))
    return found


def print_pairs(proposals: "pd.DataFrame") -> None:
    """Print the most frequent new labels."""
    wrong = proposals[proposals["action"] == "relabel"]
    pairs: Mapping[tuple[str, str], int] = Counter(zip(wrong["label"], wrong["other"], strict=True))
    for (label, other), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]:
        print(f"  {count:4d} x {label} -> {other}")
    if len(pairs) > _SHOWN:
        print(f"  ... and {len(pairs) - _SHOWN} other pairs")
