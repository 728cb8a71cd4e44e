"""Two studies or trials side by side: what differs, and what their numbers can say."""

import json
import random
from pathlib import Path

import pytest
from study_samples import confirmed, open_study, run
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import NoUsableTrial, SpecError
from hpo.winner import confirmation
from hpo.winner.comparison import Comparison, compare
from hpo.winner.standing import difference


def test_welchs_interval_is_that_of_scipy_and_holds_the_truth_as_often_as_it_says() -> None:
    from scipy import stats

    one, other = [0.9, 0.92, 0.95], [0.8, 0.85, 0.81, 0.7]
    wanted = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert difference(one, other) == pytest.approx((wanted.low, wanted.high))
    assert difference([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)
    assert difference([0.5, 0.5], [0.25]) is None
    draw = random.Random(1)
    pairs = [([draw.gauss(0, 1) for _ in range(3)], [draw.gauss(0, 2) for _ in range(4)]) for _ in range(400)]
    held = [low <= 0 <= high for low, high in (difference(*pair) or (1.0, 1.0) for pair in pairs)]
    assert 0.92 <= sum(held) / len(held) <= 0.99


def test_confirmed_winners_are_told_apart_or_are_not(home: Path) -> None:
    # in the search trial 1 of `good` was best; with fresh seeds trial 0 is
    good = confirmed(run(open_study(home, name="good"), [0.90, 0.93]), [0.80, 0.81, 0.80], [0.90, 0.91, 0.90])
    weak = confirmed(run(open_study(home, name="weak"), [0.95, 0.10]), [0.70, 0.71, 0.70])
    found = compare("good", "weak", good.settings)
    assert (found.a.trial, found.b.trial, found.verdict) == (0, 0, "a")
    assert found.better_by == pytest.approx(0.2)
    assert found.interval is not None
    assert found.interval[0] > 0
    assert "good:0 is better by 0.2 (95% interval" in found.says()
    turned = compare("weak", "good", weak.settings)
    assert (turned.verdict, turned.interval) == ("b", (-found.interval[1], -found.interval[0]))
    assert turned.says() == found.says()

    same = confirmed(run(open_study(home, name="same"), [0.99]), [0.86, 0.90, 0.94])
    alike = compare("same", "good", same.settings)
    assert alike.verdict == "not separable"
    assert alike.says().startswith("cannot be told apart: ")
    assert compare("good:0", "good:1", good.settings).verdict == "a"


def test_two_trials_of_a_confirmation_are_told_apart_as_the_winner_is(home: Path) -> None:
    # by themselves, Welch's interval parts 0 from 1; with the noise of the third Tukey's does not
    fresh = [[0.90, 0.91, 0.92], [0.80, 0.81, 0.82], [0.20, 0.50, 0.80]]
    study = confirmed(run(open_study(home, name="one"), [0.9, 0.8, 0.7]), *fresh)
    found = compare("one", "one:1", study.settings)
    assert (found.method, found.verdict) == ("tukey", "not separable")
    told = confirmation.find(study)
    assert told is not None
    assert told.ties is not None
    assert 1 in told.ties
    confirmed(run(open_study(home, name="two"), [0.9]), [0.80, 0.81, 0.82])
    between = compare("one", "two", study.settings)
    assert (between.method, between.verdict) == ("welch", "a")
    assert "one:0 was chosen by them among 3 as good, which flatters it a little" in between.says()


def test_where_trainings_failed_they_are_to_be_tried_again(home: Path) -> None:
    study = confirmed(run(open_study(home, name="one"), [0.9, 0.8]), [0.9, 0.9], [0.8, None])
    found = compare("one:0", "one:1", study.settings)
    assert "trainings of one:1 with fresh seeds failed, 1 of them" in found.says()
    assert "hpo resume one.confirm" in found.says()
    assert "hpo confirm" not in found.says()
    told = confirmation.find(study)
    assert told is not None
    assert told.undecided == (1,)
    run(told.study, [0.7])  # what a resume does
    assert compare("one:0", "one:1", study.settings).verdict != "not confirmed"


def test_what_is_to_be_minimized_is_better_where_it_is_less(home: Path) -> None:
    metric = {"name": "val/loss", "goal": "minimize"}
    low = confirmed(run(open_study(home, name="low", metric=metric), [0.2]), [0.20, 0.21, 0.22])
    confirmed(run(open_study(home, name="high", metric=metric), [0.1]), [0.50, 0.51, 0.52])
    found = compare("low", "high", low.settings)
    assert (found.verdict, round(found.better_by or 0.0, 3)) == ("a", 0.3)


def test_numbers_of_a_search_decide_nothing(home: Path) -> None:
    study = confirmed(run(open_study(home, name="one", budget={"trials": 9}), [0.9, 0.5, 0.6, 0.7, 0.8]), [0.9, 0.8])
    run(open_study(home, name="two"), [0.1])
    found = compare("one", "two", study.settings)
    assert (found.verdict, found.interval) == ("not confirmed", None)
    assert "hpo confirm two " in found.says()
    assert "hpo confirm one" not in found.says()
    within = compare("one:1", "one:0", study.settings)
    assert "hpo confirm one --top 5 " in within.says(), "the fifth best is not among the three that are confirmed"
    assert [each.what for each in within.differs] == ["lr"]
    assert len(compare("one:1", "one:2", study.settings).first) == 1


def test_other_metrics_are_not_compared_but_what_differs_is_shown(home: Path) -> None:
    study = run(open_study(home, name="one"), [0.9])
    other = {"metric": "val/loss", "trainer": {"import": "synthetic:Resumable", "epochs": 8}, "budget": {"trials": 5}}
    run(
        open_study(home, name="two", **other),
        [0.1],
        device="NVIDIA H100",
        dataset_fingerprint="bbbb",
        versions={"python": "3.11", "torch": "2.15"},
    )
    found = compare("one", "two:0", study.settings)
    assert found.verdict == "other metrics"
    assert "maximize val/accuracy, the other to minimize val/loss" in found.says()
    assert {(each.section, each.what): (each.a, each.b) for each in found.differs} == {
        ("space", "metric.name"): ('"val/accuracy"', '"val/loss"'),
        ("space", "metric.goal"): ('"maximize"', '"minimize"'),
        ("space", "trainer.epochs"): ("4", "8"),
        ("space", "budget.trials"): ("4", "5"),
        ("training", "data, fingerprint"): ("aaaa", "bbbb"),
        ("training", "device"): ("cpu", "NVIDIA H100"),
        ("training", "version of torch"): ("2.14", "2.15"),
    }


def test_other_data_is_a_caution_in_the_verdict(home: Path) -> None:
    study = confirmed(run(open_study(home, name="one"), [0.9]), [0.9, 0.91])
    confirmed(run(open_study(home, name="two"), [0.1], dataset_fingerprint="bbbb"), [0.1, 0.11])
    found = compare("one", "two", study.settings)
    assert found.verdict == "a"
    assert "they saw other data" in found.says()


@pytest.mark.parametrize(
    ("side", "reason"),
    [("one:7", "has no trial 7: there are 0 to 0"), ("one:best", "or NAME:N for its trial"), ("no", "no study 'no'")],
)
def test_what_is_not_there_is_said(home: Path, side: str, reason: str) -> None:
    study = run(open_study(home, name="one"), [0.9])
    with pytest.raises(SpecError, match=reason):
        compare("one", side, study.settings)
    open_study(home, name="empty")
    with pytest.raises(NoUsableTrial):
        compare("one", "empty", study.settings)
    assert compare("one", "one:0", study.settings).verdict == "same trial"


def test_the_command_prints_a_table_or_json(home: Path) -> None:
    run(open_study(home, name="one"), [0.9])
    run(open_study(home, name="two", parameters={"lr": {"values": [7.0]}}), [0.1], git_commit="2222")

    def printed(*more: str) -> str:
        done = CliRunner().invoke(app, ["compare", "one", "two", "--home", str(home), *more])
        assert done.exit_code == 0, done.output
        return done.output

    out = printed()
    lines = [line.split() for line in out.splitlines()]
    assert ["search", "saw", "0.9", "0.1"] in lines
    assert ["code,", "commit", "1111", "2222"] in lines
    assert "hpo confirm one" in out
    found = json.loads(printed("--json"))
    assert set(found) >= set(Comparison.__dataclass_fields__)
    assert (found["verdict"], found["b"]["params"]) == ("not confirmed", {"lr": 7.0})
