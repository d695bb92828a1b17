"""Training on small stores: phases, hand-over of weights, resuming to the same bytes, validation."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from conftest import make_examples
from fsat.core import guard, keras_backend, params
from fsat.core.errors import FsatError
from fsat.inputs.examples import Examples
from fsat.networks import backend, checkpoint, model, training

LABELS = ["a", "b"] * 5


def recipe(
    augment: params.Augment, *, epochs: tuple[int, int, int] = (2, 1, 2), max_lr: float = 1e-3, **changes: Any
) -> training.Recipe:
    schedule = params.TrainStage(
        run=True,
        frozen=params.Frozen(epochs=0, lr=1e-3, weight_decay=0.0, share=0.0),
        cyclic=params.Cyclic(epochs=epochs[0], half_cycle=1, base_lr=1e-4, max_lr=max_lr),
        finetune_low=params.Finetune(epochs=epochs[1], lr=1e-5),
        finetune_high=params.Finetune(epochs=epochs[2], lr=1e-4),
    )
    plateau = params.Plateau(reduce_factor=0.1, reduce_patience=3, min_delta=1e-4, stop_patience=10)
    plain = training.Recipe(
        seed=1, stage="stage1", fold=0, bounds=(6, 12), crop_step=1, alpha=1.0, augment=augment, schedule=schedule,
        plateau=plateau, batch_size=4, precision="float32", deterministic=True, class_weight="none", select="best",
        validate_every=1, validation_lengths=2,
    )  # fmt: skip
    return replace(plain, **changes)


def tiny_network(n_mels: int = 8, n_classes: int = 2) -> keras.Model:
    """A network with the inputs and output of the real one, but of a size that trains in milliseconds."""
    mel = keras.layers.Input((n_mels, None, 1), name="mel")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(mel)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model({"mel": mel}, keras.layers.Dense(n_classes, activation="softmax")(x))


def clips(count: int = 10, *, n_mels: int = 8) -> Examples:
    return make_examples([5 + 2 * number for number in range(count)], LABELS[:count], n_mels=n_mels)


def fit(plan: training.Recipe, state: Path) -> tuple[keras.Model, pd.DataFrame]:
    backend.prepare(plan.seed, plan.stage, plan.fold)
    network = tiny_network()
    return network, training.train(network, clips(), clips(4), plan, state=state)


def test_adam_moves_weights_as_keras_adam_does() -> None:
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(2)]
    optimisers = [backend.adam(), keras.optimizers.Adam()]
    if keras.backend.backend() == "tensorflow":
        assert type(optimisers[0]) is not keras.optimizers.Adam
    variables = [[keras.Variable(start) for start in starts] for _ in optimisers]
    for optimiser, its in zip(optimisers, variables, strict=True):
        optimiser.build(its)
    for rate in (1e-3, 1e-3, 3e-2, 1e-4, 1e-4):
        gradients = [keras.ops.convert_to_tensor(rng.normal(size=(5, 3)).astype(np.float32)) for _ in starts]
        for optimiser, its in zip(optimisers, variables, strict=True):
            optimiser.learning_rate = rate
            optimiser.apply(gradients, its)
        for ours, plain in zip(*variables, strict=True):
            np.testing.assert_allclose(ours.numpy(), plain.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(variables[0][1].numpy() - starts[1]).max() > 0.01
    # What a resumed training needs: the step, the rate and both moments.
    for ours, plain in zip(*(optimiser.variables for optimiser in optimisers), strict=True):
        np.testing.assert_allclose(ours.numpy(), plain.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_trains(precision: str, no_augmentation: params.Augment, tmp_path: Path) -> None:
    backend.prepare(1, precision=precision)
    network = tiny_network()
    before = [weights.copy() for weights in network.get_weights()]
    history = training.train(network, clips(), clips(4), recipe(no_augmentation), state=tmp_path / "state.npz")
    backend.prepare(1)
    assert np.isfinite(history["loss"]).all()
    after = network.get_weights()
    assert all(weights.dtype == np.float32 for weights in after)
    assert any(np.abs(new - old).max() > 1e-4 for new, old in zip(after, before, strict=True))


def test_phases_run_in_order_with_their_rates(recipe_augmentation: params.Augment, tmp_path: Path) -> None:
    _, history = fit(recipe(recipe_augmentation), tmp_path / "state.npz")
    assert history["phase"].tolist() == ["cyclic"] * 2 + ["finetune_low"] + ["finetune_high"] * 2
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    # Three batches an epoch: the last of the first epoch is two thirds up, of the second two thirds down.
    expected = [1e-4 + 9e-4 * 2 / 3, 1e-3 - 9e-4 * 2 / 3, 1e-5, 1e-4, 1e-4]
    assert history["learning_rate"].tolist() == pytest.approx(expected)
    assert history.notna().all(axis=None)


def test_ten_clips_fill_three_batches_of_four_and_epochs_differ(no_augmentation: params.Augment) -> None:
    plan, some = recipe(no_augmentation, alpha=0.0), make_examples([8] * 10, list("abcdefghij"))
    orders = []
    for epoch in (0, 0, 1):
        batches = list(training.epoch_batches(some, plan, epoch=epoch))
        assert [len(batch.targets) for batch in batches] == [4, 4, 4]
        orders.append([label for batch in batches for label in batch.targets.argmax(axis=1)])
        assert sorted(orders[-1][:10]) == list(range(10)) and orders[-1][10:] == orders[-1][:2]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(("select", "handed_on"), [("best", [0, 3, 4]), ("last", [1, 3, 5])])
def test_each_phase_hands_on_its_best_or_last_weights(
    select: str,
    handed_on: list[int],
    recipe_augmentation: params.Augment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.prepare(1)
    network, run_epoch = tiny_network(), training._run_epoch
    started: list[np.ndarray] = []  # weights before each epoch
    scored: list[np.ndarray] = []  # and at each validation
    # The lowest loss of all is in the first phase: it must not count in the third.
    losses = iter([0.1, 0.9, 0.8, 0.7, 0.5, 0.6])

    def noted(*arguments: Any) -> tuple[float, float]:
        started.append(network.get_weights()[0].copy())
        return run_epoch(*arguments)

    def validate(*_: object) -> dict[str, float]:
        scored.append(network.get_weights()[0].copy())
        return {"val_loss": next(losses), "val_map3": 0.5, "val_accuracy": 0.5}

    monkeypatch.setattr(training, "_run_epoch", noted)
    monkeypatch.setattr(training, "validate", validate)
    plan = recipe(recipe_augmentation, epochs=(2, 2, 2), select=select)
    training.train(network, clips(), clips(4), plan, state=tmp_path / "state.npz")
    taken_over = [started[2], started[4], network.get_weights()[0]]
    np.testing.assert_array_equal(taken_over, [scored[number] for number in handed_on])


def test_validation_can_be_rarer_but_never_misses_the_end_of_a_phase(
    recipe_augmentation: params.Augment, tmp_path: Path
) -> None:
    _, history = fit(recipe(recipe_augmentation, epochs=(5, 1, 1), validate_every=2), tmp_path / "state.npz")
    assert history["val_loss"].notna().tolist() == [False, True, False, True, True, True, True]


def test_a_training_killed_after_any_epoch_resumes_to_the_same_bytes(
    recipe_augmentation: params.Augment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The killed training's state after each epoch is kept, and every one of them is resumed, and a damaged one."""
    plan = recipe(recipe_augmentation)
    keep, kept = checkpoint.keep, []

    def keep_a_copy(path: Path, *arguments: Any) -> None:
        keep(path, *arguments)
        kept.append(path.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "keep", keep_a_copy)
        whole, history = fit(plan, tmp_path / "whole.npz")
    assert len(kept) == 5
    for number, state in enumerate([*kept[:4], b"PK\x03\x04 half a zip"]):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(state)
        assert "starting afresh" not in capsys.readouterr().out
        resumed, again = fit(plan, path)
        for expected, actual in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(expected, actual)
        pd.testing.assert_frame_equal(history, again, check_exact=True)
    assert "starting afresh" in capsys.readouterr().out


def test_a_backbone_with_dropout_resumes_its_random_states_as_well(tmp_path: Path) -> None:
    def network() -> keras.Model:
        mel = keras.layers.Input((8, None, 1), name="mel")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(mel))
        model = keras.Model({"mel": mel}, keras.layers.Dense(2, activation="softmax")(x))
        model.compile("adam", "categorical_crossentropy")
        model.optimizer.build(model.trainable_variables)
        return model

    backend.prepare(1)
    first = network()
    mel = np.ones((4, 8, 16, 1), dtype=np.float32)
    first(mel, training=True)
    checkpoint.keep(tmp_path / "state.npz", first, first.get_weights(), [], checkpoint.Progress())
    backend.prepare(1)
    second = network()
    checkpoint.restore(tmp_path / "state.npz", second)
    np.testing.assert_array_equal(first(mel, training=True), second(mel, training=True))


def test_a_loss_that_is_no_number_stops_with_a_message(
    recipe_augmentation: params.Augment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_run_epoch", lambda *_: (float("nan"), 1e-3))
    with pytest.raises(FsatError, match=r"diverged in epoch 1 .* Lower the learning rate"):
        fit(recipe(recipe_augmentation), tmp_path / "state.npz")


def test_validation_is_the_mean_over_clips_and_lengths(no_augmentation: params.Augment) -> None:
    plan = recipe(no_augmentation)
    heldout = clips(4)
    seen: list[int] = []

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        n_frames = inputs["mel"].shape[2]
        seen.append(n_frames)
        certain = 0.9 if n_frames == 6 else 0.6
        right = np.tile([[certain, 1 - certain]], (4, 1)).astype(np.float32)
        return np.where(heldout.targets == 1, right[:, :1], right[:, 1:]).astype(np.float32)

    scores = training.validate(predict, heldout, plan)
    assert seen == [6, 12]
    assert scores["val_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.6)) / 2, rel=1e-6)
    assert scores["val_map3"] == scores["val_accuracy"] == 1.0


def test_balanced_weights_make_every_class_count_the_same() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 2, 2]]
    weights = training.class_weights(targets, "balanced")
    assert (targets @ weights).mean() == pytest.approx(1)
    assert np.allclose(targets.sum(axis=0) * weights, 8 / 3)
    assert training.class_weights(targets, "none").tolist() == [1, 1, 1]


def test_a_clip_counts_in_the_loss_as_much_as_it_weighs(no_augmentation: params.Augment, tmp_path: Path) -> None:
    """Six of ten labels are wrong: with a small weight on them the network learns the right ones, else the wrong."""
    plan = recipe(no_augmentation, epochs=(60, 0, 1), max_lr=3e-2, select="last", alpha=0.2)
    right = clips()
    for row, label in enumerate(right.targets.argmax(axis=1)):
        start = right.store.starts[row]
        right.store.frames[start : start + right.store.lengths[row]] = -80 if label else 20
    targets = right.targets.copy()
    targets[:6] = targets[:6][:, ::-1]
    weights = np.array([0.01] * 6 + [1.0] * 4, np.float32)
    accuracy = {}
    for name, examples in {
        "weighted": replace(right, targets=targets, weights=weights),
        "unweighted": replace(right, targets=targets),
    }.items():
        backend.prepare(plan.seed, plan.stage, plan.fold)
        network = tiny_network()
        history = training.train(network, examples, right, plan, state=tmp_path / f"{name}.npz")
        accuracy[name] = history["val_accuracy"].iloc[-1]
    assert accuracy == {"weighted": 1.0, "unweighted": 0.0}
    by_class = np.array([2.0, 1.0], np.float32)
    assert training.loss_weights(right.targets[:2], weights[:2], by_class) == pytest.approx([0.02, 0.01])
    assert training.loss_weights(right.targets[:2], None, by_class).tolist() == [2, 1]


@pytest.mark.usefixtures("shallow")
def test_train_fold_writes_its_folder_and_takes_up_what_was_finished(
    recipe_augmentation: params.Augment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(keras_backend, "jax_version", lambda: "0.9")
    plan = recipe(recipe_augmentation, epochs=(1, 0, 0), bounds=(33, 40))
    network = {"backbone": "EfficientAT", "width": 0.4, "batchnorm_momentum": 0.9}
    digests = []
    for name in ("first", "taken up", "fresh", "recorded"):
        if name == "fresh":
            monkeypatch.setenv("FSAT_FRESH", "1")
        if name == "recorded":
            monkeypatch.delenv("FSAT_FRESH")
            monkeypatch.setattr(guard, "is_recorded", lambda stage, kept: (stage, kept.is_dir()) == ("stage1@0", True))
        training.train_fold(
            network, lambda network: None, clips(n_mels=32), clips(4, n_mels=32), plan, labels=["a", "b"], inputs=[],
            state_folder=tmp_path / "state", out=tmp_path / name,
        )  # fmt: skip
        written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        assert sorted(written) == ["history.csv", "model.weights.h5", "summary.json"]
        digests.append(written)
        assert not list((tmp_path / "state").glob("*.npz"))
        printed = capsys.readouterr().out
        assert ("epoch    1" in printed) == (name != "taken up")
        assert ("finished but not recorded" in printed) == (name == "taken up")
    assert digests[1:] == digests[:1] * 3
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    assert summary["clips"] == {"training": 10, "heldout": 4}
    network = model.load_network(tmp_path / "first", labels=["a", "b"])
    assert network.count_params() == summary["parameters"]
    assert summary["jax"] == "0.9"
    monkeypatch.setattr(keras_backend, "jax_version", lambda: "0.10")
    (tmp_path / "first").rename(tmp_path / "fold3")
    command = rf"dvc repro --single-item --force {tmp_path.name}@3"
    with pytest.raises(FsatError, match=rf"trained with JAX 0\.9, but this is JAX 0\.10,.*`{command}`"):
        model.load_network(tmp_path / "fold3", labels=["a", "b"])
    monkeypatch.setattr(keras_backend, "jax_version", lambda: None)  # TensorFlow, which converts networks of both
    model.load_network(tmp_path / "fold3", labels=["a", "b"])


def test_a_second_training_of_one_fold_is_refused_by_name(tmp_path: Path) -> None:
    with checkpoint.only_one(tmp_path, "stage1-fold0"):
        refused = pytest.raises(FsatError, match=r"stage1-fold0 is being trained by process \d+")
        with refused, checkpoint.only_one(tmp_path, "stage1-fold0"):
            pytest.fail("two at once")
        with checkpoint.only_one(tmp_path, "stage1-fold1"):
            pass
    with checkpoint.only_one(tmp_path, "stage1-fold0"):
        pass


def test_the_state_is_found_again_only_for_the_same_inputs_numbers_and_limits(
    recipe_augmentation: params.Augment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    (tmp_path / "a").write_bytes(b"1")
    plan = recipe(recipe_augmentation)
    first = checkpoint.fingerprint([tmp_path / "a"], plan)
    assert checkpoint.fingerprint([tmp_path / "a"], recipe(recipe_augmentation)) == first
    later = plan.plateau.model_copy(update={"stop_patience": 11})
    for other in (replace(plan, alpha=0.5), replace(plan, plateau=later), recipe(recipe_augmentation, max_lr=1)):
        assert checkpoint.fingerprint([tmp_path / "a"], other) != first
    with monkeypatch.context() as limited:
        limited.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        assert checkpoint.fingerprint([tmp_path / "a"], plan) != first
    (tmp_path / "a").write_bytes(b"2")
    assert checkpoint.fingerprint([tmp_path / "a"], plan) != first


def real_network() -> keras.Model:
    sizes: dict[str, Any] = {"width": 0.4, "batchnorm_momentum": 0.9, "n_mels": 32, "n_classes": 2}
    return model.build_network(backbone="EfficientAT", **sizes, head=[], freeze_batchnorm=True)


def with_share(plan: training.Recipe, share: float, *, cyclic: int = 2) -> training.Recipe:
    """With a phase 0 of 20 epochs."""
    frozen = params.Frozen(epochs=20, lr=1e-2, weight_decay=0.0, share=share)
    more = {"frozen": frozen, "cyclic": plan.schedule.cyclic.model_copy(update={"epochs": cyclic})}
    return replace(plan, schedule=plan.schedule.model_copy(update=more))


@pytest.mark.usefixtures("shallow")
def test_a_share_of_the_weights_after_phase_0_stays(recipe_augmentation: params.Augment, tmp_path: Path) -> None:
    plan = recipe(recipe_augmentation, epochs=(2, 0, 0), select="last", bounds=(32, 40))

    def trained(share: float, cyclic: int) -> list[np.ndarray]:
        backend.prepare(1)
        network, own = real_network(), with_share(plan, share, cyclic=cyclic)
        training.train(network, clips(n_mels=32), clips(4, n_mels=32), own, state=tmp_path / f"{share}-{cyclic}.npz")
        weights: list[np.ndarray] = network.get_weights()
        return weights

    begin, end, between = trained(0.0, 0), trained(0.0, 2), trained(0.25, 2)
    assert max(np.abs(a - b).max() for a, b in zip(begin, end, strict=True)) > 1e-4
    for a, b, found in zip(begin, end, between, strict=True):
        np.testing.assert_allclose(found, 0.25 * a + 0.75 * b, atol=1e-7)


def test_averages_of_the_inputs_stay_as_fine_tuned(no_augmentation: params.Augment, tmp_path: Path) -> None:
    """Between those of the data and those before, 0 and 1, components would come in at other deviations than 1."""
    backend.prepare(1)
    sizes: dict[str, Any] = {"width": 0.35, "batchnorm_momentum": 0.5, "n_mels": 32, "n_classes": 2}
    network = model.build_network(backbone="MobileNetV2", **sizes, head=[])
    plan = recipe(no_augmentation, epochs=(2, 0, 0), select="last", bounds=(32, 40), alpha=0.0)
    training.train(network, clips(n_mels=32), clips(4, n_mels=32), with_share(plan, 1.0), state=tmp_path / "s.npz")
    assert float(np.abs(network.get_layer("mel_norm").moving_mean).max()) > 0.1


@pytest.mark.usefixtures("shallow")
def test_a_training_that_begins_with_the_head_resumes_to_the_same_bytes(
    recipe_augmentation: params.Augment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(recipe_augmentation, epochs=(2, 0, 0), bounds=(32, 40))
    plan = with_share(plan, 0.5)

    def run(state: Path) -> tuple[bytes, pd.DataFrame]:
        backend.prepare(1)
        network = real_network()
        history = training.train(network, clips(n_mels=32), clips(4, n_mels=32), plan, state=state)
        model.save_network(network, state.with_suffix(".weights.h5"))
        return state.with_suffix(".weights.h5").read_bytes(), history

    whole, history = run(tmp_path / "whole.npz")
    assert history["phase"].tolist() == ["frozen", "cyclic", "cyclic"]  # phases without epochs are left out
    assert history["learning_rate"][0] == 1e-2
    keep = checkpoint.keep

    def keep_and_die(*arguments: Any) -> None:
        keep(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # right after the frozen phase
        patch.setattr(checkpoint, "keep", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed.npz")
    resumed, resumed_history = run(tmp_path / "killed.npz")
    pd.testing.assert_frame_equal(history, resumed_history)
    assert resumed == whole
