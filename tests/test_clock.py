"""When an epoch takes so long that its trial must hang."""

from hpo.search import clock
from hpo.search.clock import Clock


class Hands:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(times: Clock, hands: Hands, number: int, *epochs: float) -> None:
    times.begin(number)
    for seconds in epochs:
        watch(times, hands, seconds)
        times.lap(number, seconds)


def watch(times: Clock, hands: Hands, seconds: float) -> dict[int, float]:
    """Let time pass before a driver that looks once a second; returns what is overdue at the end."""
    until = hands.now + seconds
    while hands.now < until:
        hands.now = min(hands.now + 1.0, until)
        found = times.overdue()
    return found


def test_a_given_limit_holds_for_every_epoch_from_the_first() -> None:
    hands = Hands()
    times = Clock(5.0, now=hands)
    times.begin(3)
    assert watch(times, hands, 5.0) == {}
    assert watch(times, hands, 0.1) == {3: 5.0}
    times.end(3)
    assert times.overdue() == {}


def test_waiting_for_a_process_is_no_part_of_an_epoch() -> None:
    hands = Hands()
    times = Clock(5.0, now=hands)
    times.begin(3)
    watch(times, hands, 60.0)
    times.wait(3)
    assert watch(times, hands, 5.0) == {}
    assert watch(times, hands, 0.1) == {3: 5.0}
    times.wait(4)


def test_ten_times_the_median_and_at_least_a_minute() -> None:
    hands = Hands()
    times = Clock(None, now=hands)
    run(times, hands, 0, 30.0, 20.0, 20.0)
    assert watch(times, hands, 10_000) == {}, "two epochs after the first make no median"
    times.end(0)
    run(times, hands, 1, 30.0, 20.0, 22.0, 1.0)
    assert watch(times, hands, 200.0) == {}
    assert watch(times, hands, 0.5) == {1: 200.0}
    times.end(1)
    for number in (2, 3, 4):
        run(times, hands, number, 30.0, 0.1, 0.1, 0.1, 0.1)
        times.end(number)
    run(times, hands, 5, 30.0)
    assert watch(times, hands, clock.FLOOR + 1) == {5: clock.FLOOR}


def test_first_epochs_are_compared_with_first_ones() -> None:
    """Pictures are decoded in them, and processes start."""
    hands = Hands()
    times = Clock(None, now=hands)
    for number in range(3):
        run(times, hands, number, 40.0, 1.0, 1.0)
        times.end(number)
    times.begin(9)
    assert watch(times, hands, 399.0) == {}
    assert watch(times, hands, 2.0) == {9: 400.0}


def test_a_trainer_that_may_compile_has_longer() -> None:
    hands = Hands()
    times = Clock(None, now=hands)
    run(times, hands, 0, 1.0, 1.0, 1.0, 1.0)
    times.end(0)
    times.begin(1, compiles=True)
    times.lap(1, 0.0)
    assert watch(times, hands, clock.COMPILING_FLOOR) == {}
    assert watch(times, hands, 1) == {1: clock.COMPILING_FLOOR}


def test_a_driver_that_stands_still_blames_no_trial() -> None:
    """It waits for its database, or is suspended: an epoch may have ended unseen."""
    hands = Hands()
    times = Clock(5.0, now=hands)
    times.begin(3)
    assert watch(times, hands, 3.0) == {}
    hands.now += 100.0
    assert times.overdue() == {}
    assert watch(times, hands, 2.0) == {}
    assert watch(times, hands, 0.1) == {3: 5.0}


def test_an_epoch_that_was_trained_before_it_was_asked_for_counts_as_long_as_it_took() -> None:
    hands = Hands()
    times = Clock(None, now=hands)
    times.begin(0)
    for _ in range(5):
        times.lap(0, 30.0)
    assert watch(times, hands, 300.0) == {}
    assert watch(times, hands, 1.0) == {0: 300.0}
