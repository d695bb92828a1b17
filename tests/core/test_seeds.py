"""Generators depend on their key and on nothing else."""

from fsat.core import seeds


def test_equal_keys_give_equal_streams_and_other_keys_others() -> None:
    first = seeds.generator(1, "stage1", 0, 3).random(4).tolist()
    assert seeds.generator(1, "stage1", 0, 3).random(4).tolist() == first
    others = [(2, "stage1", 0, 3), (1, "stage2", 0, 3), (1, "stage1", 1, 3), (1, "stage1", 0, 4), (1, "stage1", 3, 0)]
    assert all(seeds.generator(*key).random(4).tolist() != first for key in others)


def test_streams_and_fractions_are_the_same_on_every_machine() -> None:
    assert seeds.generator(20180629, "stage1", 0).integers(0, 1000, 4).tolist() == [27, 260, 242, 948]
    assert seeds.fraction(20180629, "predict", 0, "a.wav") == 0.22883033502978667


def test_fractions_depend_on_their_key_and_fill_the_unit_interval() -> None:
    drawn = [seeds.fraction(1, "predict", number) for number in range(5_000)]
    assert 0 <= min(drawn) < 0.01 and 0.99 < max(drawn) < 1
    assert abs(sum(drawn) / 5_000 - 0.5) < 5 * (1 / 12 / 5_000) ** 0.5
    assert seeds.fraction(1, "predict", "0") != drawn[0]  # a number and its text are different keys
