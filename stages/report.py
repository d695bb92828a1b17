"""Everything a run has written -> `data/report/index.html`, and figures for GitHub in `metrics/figures/`."""

from fsat.core import files, params
from fsat.core.mel_styles import MEL_STYLES
from fsat.core.stage import run
from fsat.inputs import frames
from fsat.report import page
from fsat.report.run import Run
from fsat.scoring import ensemble


def main() -> None:
    """Gather the tables of the run and render its report."""
    # All that shapes a run, because the page shows it; `sources` only say where the data came from.
    p = params.read(
        "seed", "dataset", "audio", "trim", "mel", "spectral", "pca", "folds", "crop", "augment", "mixup",
        "model", "train", "tta", "ensemble", "unknown", "report",
    )  # fmt: skip
    sections = {"dataset": p.dataset, "audio": p.audio, "trim": p.trim, "mel": p.mel, "spectral": p.spectral}
    sections |= {"pca": p.pca, "folds": p.folds, "crop": p.crop, "augment": p.augment, "mixup": p.mixup}
    sections |= {"model": p.model, "train": p.train, "tta": p.tta, "ensemble": p.ensemble}
    sections |= {"unknown": p.unknown, "report": p.report}
    splits, limits = ("train", "test"), MEL_STYLES[p.mel.style].limits
    report = page.build(
        Run(
            predictions=files.read_parquet("data/predictions.parquet"),
            index=files.read_csv("data/index.csv"),
            folds=files.read_csv("data/folds.csv"),
            trim=files.read_csv("data/trim.csv"),
            histories=ensemble.read_histories("data/models", p.folds.ids),
            mel={split: frames.open_frames(f"data/mel/{split}", limits=limits) for split in splits},
            baseline=files.read_parquet("data/baseline.parquet"),
            scores=files.read_json("metrics/map3.json"),
            baseline_scores=files.read_json("metrics/baseline.json"),
            facts=files.read_json("metrics/data.json"),
            pca=files.read_json("metrics/pca.json"),
            variance=files.read_csv("metrics/pca_variance.csv"),
            calibration=files.read_json("metrics/calibration.json"),
            reliability=files.read_csv("metrics/reliability.csv"),
            parameters={"seed": p.seed} | {name: section.model_dump(mode="json") for name, section in sections.items()},
            meanings=params.leaves(),
        ),
        mistakes=p.report.mistakes,
        suspicious=p.report.suspicious_clips,
    )
    with files.atomic_folder("data/report") as part:
        files.write_text(part / "index.html", report.html)
    with files.atomic_folder("metrics/figures") as part:
        for name, figure in report.figures.items():
            (part / name).write_bytes(figure)
    print(f"data/report/index.html: {len(report.html.encode()) / 1e6:.1f} MB, opens from disk")


if __name__ == "__main__":
    run(main)
