"""What the numbers of fresh seeds say: known means, known intervals, known tables."""

from statistics import stdev

import pytest

from hpo.winner.standing import Standing, rank, same_as_first, simultaneous


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


@pytest.mark.parametrize(("q", "same"), [(4.33, [1, 2]), (4.35, [1])])
def test_what_is_a_difference_is_tukeys_table(q: float, same: list[int]) -> None:
    # three means of three numbers with a variance of 1: q(0.05; 3, 6) = 4.339 standard errors are told apart
    apart = q / 3**0.5
    them = [standing(number, mean - 1, mean, mean + 1) for number, mean in enumerate((apart, apart / 2, 0.0))]
    assert same_as_first(them) == same
    low, high = simultaneous(them)[0, 2]
    assert (low, high) == pytest.approx(((q - 4.339) / 3**0.5, (q + 4.339) / 3**0.5), abs=1e-3)
    assert simultaneous(them)[2, 0] == pytest.approx((-high, -low))


def test_a_trial_with_one_number_is_not_in_the_comparison() -> None:
    them = [standing(0, 0.9, 0.91), standing(1, 0.5, 0.51), standing(2, 0.9, failed=1), standing(3, failed=2)]
    assert same_as_first(them) == []
    assert set(simultaneous(them)) == {(0, 1), (1, 0)}
