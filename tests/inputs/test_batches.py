"""Crop, augmentation and mixup: exact where there is a rule, distributions (5 sigma) where there is chance."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from conftest import make_examples, make_store
from fsat.core import params
from fsat.inputs import batches


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def near(share: float, p: float, n: int) -> bool:
    """Whether a share of n draws is within 5 sigma of its probability."""
    return abs(share - p) <= 5 * np.sqrt(p * (1 - p) / n)


def assert_uniform(drawn: np.ndarray | list[int], expected: range) -> None:
    """Every integer of a range is drawn, equally often, and no other."""
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == list(expected)
    assert all(near(count / len(drawn), 1 / len(expected), len(drawn)) for count in counts)


# Lengths


def test_length_range_is_the_percentiles() -> None:
    lengths = np.arange(1, 1001)
    assert batches.length_range(lengths, (25, 75)) == (251, 750)
    assert batches.length_range(lengths, (25, 75), step=32) == (256, 736)
    # Of short clips what a network can read.
    assert batches.length_range(np.array([3, 4, 5]), (25, 75)) == (32, 32)
    assert batches.length_range(np.array([3, 4, 100]), (25, 75), step=20) == (40, 60)


def test_every_length_of_the_closed_range_is_drawn_equally_often() -> None:
    generator = rng()
    assert_uniform([batches.draw_length(generator, (263, 272)) for _ in range(20_000)], range(263, 273))
    assert {batches.draw_length(generator, (64, 160), step=32) for _ in range(300)} == {64, 96, 128, 160}


def test_the_recipes_six_lengths() -> None:
    assert batches.fixed_lengths((263, 763), 6) == [263, 363, 463, 563, 663, 763]
    assert batches.fixed_lengths((100, 100), 6) == [100]


# Crop


def test_spans_of_a_longer_clip_are_uniform_over_all_positions() -> None:
    assert_uniform(batches.draw_spans(rng(), np.full(30_000, 14), 10), range(5))
    # The padding of a shorter one is split uniformly.
    assert_uniform(batches.draw_spans(rng(), np.full(30_000, 6), 10), range(-4, 1))


def test_spans_keyed_by_name_are_uniform_over_clips_and_over_passes() -> None:
    n = 20_000
    names = [f"{number}.wav" for number in range(n)]
    over_clips = batches.clip_spans(names, np.full(n, 14), 10, (1, "predict", 0, 263, 0))
    assert_uniform(over_clips, range(5))
    over_passes = [batches.clip_spans(["a.wav"], np.array([6]), 10, (1, "predict", number))[0] for number in range(n)]
    assert_uniform(over_passes, range(-4, 1))
    again = batches.clip_spans(names, np.full(n, 14), 10, (1, "predict", 0, 263, 1))
    assert near((over_clips == again).mean(), 0.2, n)  # one try tells nothing about the next


def test_a_clips_spans_depend_on_its_own_name_alone() -> None:
    key, names, lengths = (1, "predict", 0), ["a.wav", "dog/b.wav", "c.wav"], np.array([300, 400, 20])
    together = batches.clip_spans(names, lengths, 100, key)
    alone = [batches.clip_spans([name], lengths[[row]], 100, key)[0] for row, name in enumerate(names)]
    assert together.tolist() == alone
    assert batches.clip_spans(["/elsewhere/b.wav"], lengths[[1]], 100, key)[0] == together[1]
    assert batches.clip_spans(["d.wav"], lengths[[1]], 100, key)[0] != together[1]
    # The Unicode form of a name is no part of it.
    forms = [
        batches.clip_spans([name], np.array([10_000]), 50, key)[0] for name in ("\u00e9.wav", "e\u0301.wav", "e.wav")
    ]
    assert forms[0] == forms[1] != forms[2]


def test_mirrored_spans_are_symmetric_padding() -> None:
    lengths, lefts = np.array([1, 2, 3, 7, 7]), np.array([5, 1, 0, 0, 5])
    expected = [
        np.pad(np.arange(length), (left, 20 - length - left), mode="symmetric")
        for length, left in zip(lengths, lefts, strict=True)
    ]
    np.testing.assert_array_equal(batches.mirrored_spans(-lefts, 20, lengths), expected)


# Augmentation


def draw(n: int, augment: params.Augment, *, n_frames: int = 100, n_mels: int = 64) -> batches.Augmentation:
    return batches.draw_augmentation(rng(), n, n_frames, n_mels, augment)


def test_shift_is_uniform_and_reaches_both_ends(recipe_augmentation: params.Augment) -> None:
    assert_uniform(draw(60_000, recipe_augmentation, n_frames=10).time_shift, range(-6, 7))


def test_flip_and_erase_happen_as_often_as_they_should(recipe_augmentation: params.Augment) -> None:
    n = 10_000
    drawn = draw(n, recipe_augmentation)
    erased = drawn.erase.any(axis=1)
    assert near(drawn.flip.mean(), 0.5, n)
    assert near(erased.mean(), 0.5, n)
    assert near((drawn.flip & erased).mean(), 0.25, n)  # each on its own
    assert near((drawn.fill < 0.3).mean(), 0.3, n)


def test_nothing_happens_at_probability_zero(no_augmentation: params.Augment) -> None:
    drawn = draw(500, no_augmentation)
    assert not drawn.time_shift.any() and not drawn.frequency_shift.any()
    assert not drawn.flip.any() and not drawn.erase.any()


@pytest.mark.parametrize("n_frames", [263, 763])
def test_rectangles_follow_the_distribution_of_those_that_fit(n_frames: int) -> None:
    n, n_mels = 20_000, 64
    rectangles = batches.draw_rectangles(rng(), n, n_frames, n_mels, (0.02, 0.4), (0.3, 3.33))
    top, height, left, width = rectangles.T
    assert (top >= 0).all() and (top + height <= n_mels).all()
    assert (left >= 0).all() and (left + width <= n_frames).all()
    # The same rejection, written with plain loops and another generator.
    plain = np.random.default_rng(99)
    areas: list[float] = []
    tries = fits = 0
    while len(areas) < 4000:
        tries += 1
        area, aspect = plain.uniform(0.02, 0.4) * n_mels * n_frames, plain.uniform(0.3, 3.33)
        h, w = int((area * aspect) ** 0.5), int((area / aspect) ** 0.5)
        fits += h <= n_mels and w <= n_frames
        if plain.integers(n_mels) + h <= n_mels and plain.integers(n_frames) + w <= n_frames:
            areas.append(h * w / (n_mels * n_frames))
    share = height * width / (n_mels * n_frames)
    assert abs(share.mean() - np.mean(areas)) < 5 * np.std(areas) * np.sqrt(1 / 4000 + 1 / n)
    for quantile in (0.1, 0.5, 0.9):
        assert near((share < np.quantile(areas, quantile)).mean(), quantile, 3000)
    # 13 % of the draws have a size that fits, 3 % a corner as well; 65 bins at aspect 0.3 bound the area.
    if n_frames == 763:
        assert near(fits / tries, 0.128, tries)
        assert near(4000 / tries, 0.029, tries)
        assert share.max() < 65**2 / 0.3 / (n_mels * n_frames)


def test_a_picture_too_narrow_for_any_rectangle_stays_whole() -> None:
    assert not batches.draw_rectangles(rng(), 3, 1, 64, (0.5, 0.6), (0.3, 0.4)).any()


def test_shift_repeats_the_edge_frame_and_flip_reverses_the_shifted_picture() -> None:
    indices = np.tile(np.arange(5), (4, 1))
    nothing = np.zeros(4, int)
    flip = np.array([False, False, True, True])
    drawn = batches.Augmentation(np.array([2, -2, 0, 2]), nothing, flip, np.zeros((4, 4), int), nothing)
    expected = [[0, 0, 0, 1, 2], [2, 3, 4, 4, 4], [4, 3, 2, 1, 0], [2, 1, 0, 0, 0]]
    np.testing.assert_array_equal(batches.augment_indices(indices, drawn), expected)


# Batches


def test_a_crop_holds_the_clips_own_frames_scaled() -> None:
    clips = make_examples([30, 5, 12], ["a", "b", "a"])
    mel = batches.cropped(clips, np.array([0, 1]), np.array([7, -2]), 9)["mel"]
    assert mel.shape == (2, 8, 9, 1) and mel.dtype == np.float32
    np.testing.assert_array_equal(mel[0, 0, :, 0], make_store([1]).scale(np.arange(7, 16, dtype=np.float32)))
    mirrored = 1000 + np.array([1, 0, 0, 1, 2, 3, 4, 4, 3], dtype=np.float32)
    np.testing.assert_array_equal(mel[1, 0, :, 0], make_store([1]).scale(mirrored))


def test_spans_of_a_pass_do_not_depend_on_the_batch_size() -> None:
    clips = make_examples([30, 5, 12, 40, 8], ["a", "b", "a", "b", "b"])
    whole = list(batches.crop_pass(clips, 10, 5, (1, "test")))
    parts = list(batches.crop_pass(clips, 10, 2, (1, "test")))
    assert [len(part["mel"]) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(whole[0]["mel"], np.concatenate([part["mel"] for part in parts]))


def test_mixing_is_the_weighted_sum_of_everything(no_augmentation: params.Augment) -> None:
    clips = make_examples([300, 300], ["a", "b"], n_components=3)  # longer than one block of frames
    which, partners = np.array([0, 1]), np.array([1, 1])
    draw = partial(batches.training_batch, bounds=(300, 300), step=1, augment=no_augmentation)
    first = draw(clips, which, which, alpha=0.0, rng=rng())
    second = draw(clips, partners, partners, alpha=0.0, rng=rng())
    batch = draw(clips, which, partners, alpha=0.5, rng=rng())
    assert first.components is not None and second.components is not None and batch.components is not None
    weight = batch.targets[0, 0]  # of clip a, whose partner is b
    assert 0 < weight < 1
    np.testing.assert_allclose(batch.targets, [[weight, 1 - weight], [0, 1]], atol=1e-6)
    components = (batch.components, first.components, second.components)
    for mixed, one, other in ((batch.mel, first.mel, second.mel), components):
        np.testing.assert_allclose(mixed[0], weight * one[0] + (1 - weight) * other[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mixed[1], other[1], rtol=1e-6)
    np.testing.assert_array_equal(clips.targets, [[1, 0], [0, 1]])  # the clips themselves are not written to


def test_each_label_of_a_mixture_counts_with_its_own_clips_weight(no_augmentation: params.Augment) -> None:
    """The loss of the mixture is that of both clips, each times its weight in the loss and its share."""
    clips = make_examples([40, 40, 40], ["a", "b", "c"])
    weighted = replace(clips, weights=np.array([0.25, 1.0, 0.5], np.float32))
    which, partners = np.array([0, 1, 2]), np.array([1, 2, 2])
    options: dict[str, Any] = {"bounds": (40, 40), "step": 1, "augment": no_augmentation}
    plain = batches.training_batch(clips, which, partners, alpha=0.5, rng=rng(), **options)
    batch = batches.training_batch(weighted, which, partners, alpha=0.5, rng=rng(), **options)
    assert plain.weights is None and batch.weights is not None
    np.testing.assert_array_equal(batch.mel, plain.mel)
    log_p = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]))
    share = plain.targets[[0, 1], [0, 1]]
    expected = [
        share[0] * 0.25 * log_p[0, 0] + (1 - share[0]) * 1.0 * log_p[0, 1],
        share[1] * 1.0 * log_p[1, 1] + (1 - share[1]) * 0.5 * log_p[1, 2],
        0.5 * log_p[2, 2],
    ]
    assert batch.weights * (batch.targets * log_p).sum(axis=1) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(batch.targets.sum(axis=1), 1, rtol=1e-6)
    unmixed = batches.training_batch(weighted, which, partners, alpha=0.0, rng=rng(), **options)
    assert unmixed.weights is not None and unmixed.weights.tolist() == [0.25, 1.0, 0.5]


def test_spectrograms_are_shifted_in_frequency_then_erased_then_mixed() -> None:
    erase = params.Erase(probability=1.0, area=(0.05, 0.3), aspect=(0.5, 2.0))
    augment = params.Augment(time_shift=0.3, frequency_shift=0.25, flip_probability=0.5, erase=erase)
    clips, n_clips, n_mels = make_examples([50] * 6, list("ababab")), 6, 8
    which, partners = np.arange(n_clips), np.roll(np.arange(n_clips), 1)

    def spectrograms(views: batches.Views) -> np.ndarray:
        drawn = views.augmentation
        assert drawn is not None and drawn.frequency_shift.any() and drawn.erase.any(axis=1).all()
        result = []
        for clip in range(n_clips):
            spectrogram = clips.store.scale(clips.store.frames[views.frames[clip]])
            spectrogram = spectrogram[:, np.clip(np.arange(n_mels) - drawn.frequency_shift[clip], 0, n_mels - 1)]
            top, height, left, width = drawn.erase[clip]
            spectrogram[left : left + width, top : top + height] = drawn.fill[clip]
            result.append(spectrogram.T[..., None])
        return np.stack(result)

    draw = partial(batches.training_batch, bounds=(30, 30), step=1, augment=augment)
    for alpha in (0.0, 0.5):
        batch = draw(clips, which, partners, alpha=alpha, rng=rng(3))
        generator = rng(3)
        n_frames = batches.draw_length(generator, (30, 30))
        expected = spectrograms(batches.draw_views(clips, which, n_frames, augment, generator))
        if alpha:
            others = spectrograms(batches.draw_views(clips, partners, n_frames, augment, generator))
            weights = generator.beta(alpha, alpha, n_clips)[:, None, None, None]
            expected = weights * expected + (1 - weights) * others
        np.testing.assert_allclose(batch.mel, expected, rtol=1e-5, atol=1e-5)


def test_prefetching_keeps_order_and_errors() -> None:
    clips = make_examples([30, 12, 20, 8, 25], ["a", "b", "a", "b", "b"])
    made = list(batches.crop_pass(clips, 10, 2, (1, "test")))
    for batch, expected in zip(batches.prefetched(iter(made)), made, strict=True):
        assert batch is expected

    def broken() -> Iterator[dict[str, np.ndarray]]:
        yield made[0]
        raise ValueError("broken clip")

    with pytest.raises(ValueError, match="broken clip"):
        list(batches.prefetched(broken()))
