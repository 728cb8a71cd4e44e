"""How many trials share a card: the choice from numbers."""

import pytest

from hpo.cluster import packing
from hpo.cluster.packing import Measured, choose, fitting, gains, lower, worth_measuring

H100_MB = 80_000.0


def measured(*rates: float, memory_mb: float = 3_000.0) -> list[Measured]:
    """Sums of pictures a second with 1, 2, 4... copies."""
    return [
        Measured(copies=copies, pictures_per_second=rate, memory_mb=memory_mb)
        for copies, rate in zip(packing.LEVELS, rates, strict=False)
    ]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((1000, 1900, 3000, 3100), 4),  # eight bring less than 5% more
        ((1000, 1900, 3000, 3500), 8),
        ((9572, 11258, 12491), 4),  # DenseNet-121, compiled, on an H100
        ((8400, 8500), 1),
        ((1000, 700), 1),
        ((1000,), 1),
    ],
)
def test_the_smallest_level_that_nearly_reaches_the_highest_sum(rates: tuple[float, ...], expected: int) -> None:
    assert choose(measured(*rates), room_mb=H100_MB).per_card == expected


def test_memory_limits_the_level_with_a_margin() -> None:
    rates = measured(1000, 1900, 3600, 7000, memory_mb=9_500)
    assert choose(rates, room_mb=H100_MB).per_card == 4, "eight would take 76 of 80 GB, more than nine tenths"
    assert choose(rates, room_mb=2 * H100_MB).per_card == 8
    found = choose(rates, room_mb=H100_MB, growth=4.0)
    assert found.per_card == 1, "a trial with the largest batch may take four times as much"
    assert "1,000 with 1, 1,900 with 2" in found.reason
    assert "up to 37.1 of 78.1 GiB, where 1 would fit" in found.reason
    assert choose(rates, room_mb=100.0).per_card == 1


def test_a_level_is_tried_as_long_as_the_last_one_gained() -> None:
    assert gains(measured(100))
    assert gains(measured(100, 106))
    assert not gains(measured(100, 104))
    assert not gains(measured(100, 200, 201))
    assert fitting(3_000, H100_MB) == 24


def test_measuring_pays_for_long_searches_only() -> None:
    long = {"trials": 64, "epochs": 30, "epoch_seconds": 5.0, "cards": 8}
    assert worth_measuring(**long, seconds_left=None)
    assert not worth_measuring(**long, seconds_left=60.0), "a budget ends it before"
    assert not worth_measuring(trials=6, epochs=3, epoch_seconds=5.0, cards=1, seconds_left=None)
    assert worth_measuring(trials=None, epochs=3, epoch_seconds=0.1, cards=1, seconds_left=None)
    assert worth_measuring(trials=None, epochs=3, epoch_seconds=0.1, cards=1, seconds_left=3600.0)


def test_running_out_of_memory_halves() -> None:
    assert lower(4, trial=7).per_card == 2
    assert lower(4, trial=7).reason == "trial 7 ran out of memory beside 3 others on its card"
    assert lower(2, trial=7).reason == "trial 7 ran out of memory beside another on its card"
    assert lower(3, trial=7).per_card == 1
    assert lower(1, trial=7).per_card == 1
    assert lower(1, trial=7).reason == "trial 7 ran out of memory beside somebody else on its card"
