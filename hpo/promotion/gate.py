"""Whether a checkpoint may be promoted: numbers and limits in, a list of checks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hpo.errors import SpecError
from hpo.space.document import near
from hpo.space.sections import Gate
from hpo.wording import number

__all__ = [
    "CHECKS",
    "Champion",
    "Check",
    "Measured",
    "closed",
    "judge",
    "judge_accuracy",
    "passed",
    "untested",
    "waivers",
]

CHECKS = ("records", "gap", "size", "quantised", "latency", "test")
"""In the order in which they are made; the test part is opened for what has passed all others."""

MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a checkpoint before the test part is opened."""

    records: Mapping[str, Any]  # what has to be on record of it; None: is not
    gap: float | None  # accuracy on training pictures less that on validation pictures; None: not on record
    size: int  # bytes, as promoted
    quantised: int | None  # bytes of the 8-bit file; None: none is promoted
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that holds the alias now."""

    version: int
    accuracy: float | None  # on test pictures; None: not on record
    data: str | None  # which those were


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of a promotion, and how it came out."""

    name: str
    outcome: Literal["pass", "fail", "waived", "not run"]
    measured: float | str | None
    limit: float | str | None
    note: str  # what it means, for people
    waiver: str | None = None  # the reason given for passing over a failure

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def waivers(texts: Sequence[str]) -> dict[str, str]:
    """Check -> reason, from texts such as "latency=only answers overnight".

    Raises:
        SpecError: there is no such check, or no reason is given.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, reason = (part.strip() for part in text.partition("="))
        if name not in CHECKS:
            raise SpecError(
                f"--waive {text}: there is no check {name!r}{near(name, CHECKS)}; valid: {', '.join(CHECKS)}"
            )
        if not reason:
            raise SpecError(f"--waive {text}: a reason is kept on record with it; write --waive {name}=REASON")
        found[name] = reason
    return found


def judge(measured: Measured, limits: Gate, waived: Mapping[str, str]) -> list[Check]:
    """All checks but that of the test part."""
    missing = [name for name, value in measured.records.items() if value is None]
    checks = [
        _check(
            "records",
            not missing,
            ", ".join(missing) if missing else "complete",
            "complete",
            f"not on record: {', '.join(missing)}" if missing else f"{len(measured.records)} of it are there",
        ),
        _gap(measured.gap, limits.gap),
        _within("size", measured.size / MB, limits.size_mb, "MB of weights"),
    ]
    if measured.quantised is not None:
        checks.append(_within("quantised", measured.quantised / MB, limits.quantised_mb, "MB in 8-bit integers"))
    checks.append(_within("latency", measured.p95_ms, limits.latency_ms, "ms, p95 of single pictures"))
    return [_waived(each, waived) for each in checks]


def judge_accuracy(
    accuracy: float, data: str, champion: Champion | None, limits: Gate, waived: Mapping[str, str]
) -> Check:
    """Whether the accuracy on the test pictures `data` is above the champion's, or the baseline; a tie is not."""
    if champion is not None and (champion.accuracy is None or champion.data != data):
        other = "has no test accuracy on record" if champion.accuracy is None else "was scored on other test pictures"
        note = f"version {champion.version}, which holds the alias, {other}"
        return _waived(_check("test", False, accuracy, champion.accuracy, note), waived)
    limit, whose = (
        (champion.accuracy, f"version {champion.version}, which holds the alias")
        if champion is not None
        else (limits.baseline, "gate.baseline")
    )
    if limit is None:
        return _check("test", True, accuracy, None, "no other model holds the alias, and gate.baseline is not given")
    word = "above" if accuracy > limit else "a tie with" if accuracy == limit else "below"
    return _waived(_check("test", accuracy > limit, accuracy, limit, f"{word} {whose}"), waived)


def untested(reason: str, champion: Champion | None, limits: Gate, waived: Mapping[str, str]) -> Check:
    """The check of the test part where there is none that can be used."""
    limit = champion.accuracy if champion is not None else limits.baseline
    return _waived(_check("test", False, None, limit, reason), waived)


def closed(champion: Champion | None, limits: Gate) -> Check:
    """The check of the test part where another has failed."""
    limit = champion.accuracy if champion is not None else limits.baseline
    note = "the test part stays closed until all others pass or are waived"
    return Check(name="test", outcome="not run", measured=None, limit=limit, note=note)


def passed(checks: Sequence[Check]) -> bool:
    """Whether nothing stands against the promotion."""
    return all(each.outcome in ("pass", "waived") for each in checks)


def _gap(gap: float | None, limit: float) -> Check:
    if gap is None:
        return _check("gap", False, None, limit, "train/accuracy and val/accuracy of its epoch are not on record")
    words = f"training pictures less validation pictures: {number(gap)}"
    return _check("gap", gap <= limit, gap, limit, words)


def _within(name: str, measured: float, limit: float, unit: str) -> Check:
    return _check(name, measured < limit, measured, limit, unit)


def _check(name: str, good: bool, measured: float | str | None, limit: float | str | None, note: str) -> Check:
    return Check(name=name, outcome="pass" if good else "fail", measured=measured, limit=limit, note=note)


def _waived(check: Check, waived: Mapping[str, str]) -> Check:
    if check.outcome == "fail" and check.name in waived:
        return replace(check, outcome="waived", waiver=waived[check.name])
    return check
