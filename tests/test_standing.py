"""What the numbers of fresh seeds say: known means, known intervals, known tables."""

import random
from statistics import stdev

import pytest

from hpo.standing import Standing, rank, same_as_first


def standing(trial: int, *fresh: float, searched: float = 0.0, failed: int = 0) -> Standing:
    return Standing(trial=trial, searched=searched, fresh=fresh, failed=failed)


def test_interval_is_students() -> None:
    each = standing(0, 0.80, 0.82, 0.87)
    assert each.mean == pytest.approx(0.83)
    half = 4.302653 * stdev(each.fresh) / 3**0.5  # t of two degrees of freedom, from any table
    assert each.interval == pytest.approx((0.83 - half, 0.83 + half))
    assert standing(0, 0.8).interval is None
    assert standing(0).mean is None


@pytest.mark.parametrize(("sign", "searched", "flattery"), [(1.0, 0.9, 0.1), (-1.0, 0.7, 0.1), (-1.0, 0.9, -0.1)])
def test_flattery_is_positive_where_the_search_saw_better(sign: float, searched: float, flattery: float) -> None:
    assert standing(0, 0.8, 0.8, searched=searched).flattery(sign) == pytest.approx(flattery)


def test_rank_by_mean_then_number_and_the_failed_last() -> None:
    them = [
        standing(7, 0.5, 0.7),
        standing(2, 0.6, 0.6),
        standing(1, 0.9, failed=1),
        standing(4),
        standing(3, 0.2, 0.4),
    ]
    assert [each.trial for each in rank(them, 1.0)] == [2, 7, 3, 1, 4]
    assert [each.trial for each in rank(them, -1.0)] == [3, 2, 7, 1, 4]


def test_clear_winner_is_told_apart_and_the_second_is_not_from_the_third() -> None:
    them = [standing(0, 0.90, 0.91, 0.92), standing(1, 0.50, 0.51, 0.52), standing(2, 0.50, 0.51, 0.53)]
    assert same_as_first(them) == []
    assert same_as_first(them[1:]) == [2]


def test_too_few_numbers_say_nothing() -> None:
    assert same_as_first([standing(0, 0.9), standing(1, 0.1)]) is None
    assert same_as_first([standing(0, 0.9, 0.8)]) is None
    assert same_as_first([standing(0, 0.9, 0.8), standing(1)]) is None


def test_where_seeds_change_nothing_any_difference_counts() -> None:
    assert same_as_first([standing(0, 0.9, 0.9), standing(1, 0.8, 0.8), standing(2, 0.9, 0.9)]) == [2]


def test_noise_is_taken_for_a_difference_in_one_case_of_twenty() -> None:
    draw = random.Random(1)
    wrong = 0
    for _ in range(300):
        them = [standing(number, *(draw.gauss(0, 1) for _ in range(3))) for number in range(3)]
        ranked = rank(them, 1.0)
        same = same_as_first(ranked)
        assert same is not None
        wrong += ranked[-1].trial not in same  # the largest difference of all
    assert 0.02 < wrong / 300 < 0.09
