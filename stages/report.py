"""Everything a run has written -> `data/report/index.html`, and learning curves as a PNG for GitHub."""

from fsat.core import files, fold_folders, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import frames
from fsat.report import page
from fsat.report.run import Run
from fsat.scoring import ensemble


def main() -> None:
    """Gather the tables of the run and render its report."""
    # All that shapes a run, because the page shows it; `sources` only say where the data came from.
    p = params.read()
    sections: dict[str, params.Section] = {
        "dataset": p.dataset, "audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral, "pca": p.pca,
        "folds": p.folds, "crop": p.crop, "augment": p.augment, "mixup": p.mixup, "model": p.model, "embed": p.embed,
        "train": p.train, "tta": p.tta, "ensemble": p.ensemble, "unknown": p.unknown, "events": p.events,
        "report": p.report,
    }  # fmt: skip
    folds = files.read_csv("data/folds.csv")
    splits, limits = ("train", "test"), MEL_STYLES[p.mel.style].limits
    report = page.build(
        Run(
            predictions=files.read_parquet("data/predictions.parquet"),
            index=files.read_csv("data/index.csv"),
            folds=folds,
            trim=files.read_csv("data/trim.csv"),
            histories=ensemble.read_histories("data/models", fold_folders.existing(p.folds.ids, folds)),
            mel={split: frames.open_frames(f"data/mel/{split}", limits=limits) for split in splits},
            regressions=files.read_parquet("data/baseline.parquet"),
            models=files.read_csv("metrics/models.csv"),
            choice=files.read_json("data/models.json"),
            feature_sets=files.read_json("metrics/baseline.json"),
            facts=files.read_json("metrics/data.json"),
            pca=files.read_json("metrics/pca.json"),
            variance=files.read_csv("metrics/pca_variance.csv"),
            calibration=files.read_json("metrics/calibration.json"),
            reliability=files.read_csv("metrics/reliability.csv"),
            thresholds=files.read_csv("metrics/thresholds.csv"),
            events=files.read_json("metrics/events.json"),
            parameters={"seed": p.seed} | {name: section.model_dump(mode="json") for name, section in sections.items()},
            meanings=params.leaves(),
        ),
        listed=p.report.listed_clips,
    )
    with files.atomic_folder("data/report") as part:
        files.write_text(part / "index.html", report.html)
    with files.atomic_file("metrics/figures/learning_curves.png") as part:
        part.write_bytes(report.learning_curves)
    print(f"data/report/index.html: {len(report.html.encode()) / 1e6:.1f} MB, opens from disk")


if __name__ == "__main__":
    run(main)
