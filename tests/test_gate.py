"""The gate: numbers and limits in, checks out."""

from dataclasses import replace

import pytest

from hpo.errors import SpecError
from hpo.promotion import gate
from hpo.promotion.gate import Champion, Measured
from hpo.space.sections import Gate

GOOD = Measured(records={"seed": 0, "code": "a"}, gap=0.1, size=400 * 10**6, quantised=None, p95_ms=20.0)
CHAMPION = Champion(version=3, accuracy=0.9, data="here")


def outcomes(measured: Measured, limits: Gate | None = None, **waived: str) -> dict[str, str]:
    return {each.name: each.outcome for each in gate.judge(measured, limits or Gate(), waived)}


def accuracy(reached: float, champion: Champion | None = CHAMPION, baseline: float | None = None, **waived: str) -> str:
    return gate.judge_accuracy(reached, "here", champion, Gate(baseline=baseline), waived).outcome


def test_what_is_within_its_limits_passes() -> None:
    assert outcomes(GOOD) == {"records": "pass", "gap": "pass", "size": "pass", "latency": "pass"}
    assert outcomes(replace(GOOD, gap=0.2))["gap"] == "pass", "the largest that is allowed"
    assert outcomes(replace(GOOD, quantised=99 * 10**6))["quantised"] == "pass"


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("records", replace(GOOD, records={"seed": 0, "code": None})),
        ("gap", replace(GOOD, gap=0.21)),
        ("gap", replace(GOOD, gap=None)),
        ("size", replace(GOOD, size=500 * 10**6)),
        ("quantised", replace(GOOD, quantised=100 * 10**6)),
        ("latency", replace(GOOD, p95_ms=100.0)),
    ],
)
def test_each_check_fails_alone_and_can_be_waived(name: str, measured: Measured) -> None:
    found = gate.judge(measured, Gate(), {})
    assert [each.name for each in found if each.outcome == "fail"] == [name]
    assert not gate.passed(found)
    waived = gate.judge(measured, Gate(), {name: "for tonight"})
    assert [(each.name, each.waiver) for each in waived if each.outcome == "waived"] == [(name, "for tonight")]
    assert gate.passed(waived)


def test_limits_are_the_files() -> None:
    assert outcomes(GOOD, Gate(latency_ms=19, size_mb=401, gap=0.05)) == {
        "records": "pass",
        "gap": "fail",
        "size": "pass",
        "latency": "fail",
    }


def test_to_waive_what_passes_is_harmless() -> None:
    assert outcomes(GOOD, latency="in case")["latency"] == "pass"
    assert accuracy(0.95, test="in case") == "pass"


def test_the_champion_is_to_be_beaten_and_a_tie_refuses() -> None:
    assert accuracy(0.9001) == "pass"
    assert accuracy(0.9) == "fail"
    assert accuracy(0.8) == "fail"
    assert accuracy(0.8, test="the champion cheats") == "waived"
    assert accuracy(0.91, replace(CHAMPION, data="elsewhere")) == "fail"
    assert accuracy(0.91, replace(CHAMPION, accuracy=None)) == "fail"


def test_without_a_champion_the_baseline_holds_and_without_it_nothing_does() -> None:
    assert accuracy(0.7, None, 0.7) == "fail"
    assert accuracy(0.71, None, 0.7) == "pass"
    assert accuracy(0.1, None) == "pass"
    assert "no other model holds the alias" in gate.judge_accuracy(0.1, "here", None, Gate(), {}).note
    assert accuracy(0.91, CHAMPION, 0.95) == "pass"


def test_the_test_part_that_stays_closed_is_no_pass() -> None:
    assert not gate.passed([gate.closed(CHAMPION, Gate())])


def test_a_model_without_test_pictures_fails_and_can_be_waived() -> None:
    assert gate.untested("there is no test part", CHAMPION, Gate(), {}).outcome == "fail"
    waived = gate.untested("there is no test part", None, Gate(), {"test": "none were taken"})
    assert (waived.outcome, waived.note, waived.waiver) == ("waived", "there is no test part", "none were taken")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latencies=slow", "no check 'latencies'; did you mean `latency`?; valid: records, gap"),
        ("latency", "write --waive latency=REASON"),
        ("latency= ", "a reason is kept on record"),
    ],
)
def test_a_waiver_names_a_check_and_a_reason(text: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        gate.waivers([text])
    assert words in str(refused.value)
    assert gate.waivers(["latency = a=b"]) == {"latency": "a=b"}
