"""What a report says of the winner: its curves, fresh seeds, what flattered it, what was promoted and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy.engine import RowMapping

from hpo.drawing import page
from hpo.errors import NoUsableTrial
from hpo.promotion.journal import PROMOTED, REFUSED, UNDONE, Promotions
from hpo.report import stills
from hpo.report.opinion import form
from hpo.study import Study
from hpo.winner.confirmation import Confirmation
from hpo.wording import counted, number

__all__ = ["confirmed", "diagnosed", "promotions"]

ENDED = {PROMOTED: "promoted", REFUSED: "refused", UNDONE: "promoted, and rolled back"}


def confirmed(study: Study, found: Confirmation | None) -> Iterator[Markup]:
    """The trials that were trained again, or what to type so that they are."""
    metric = study.spec.metric.name
    if study.spec.several:
        return
    if found is None:
        count = len(study.complete())
        if study.spec.confirms is None and count:
            luck = f"The best of so many numbers ({count}) is too good by luck; by how much, this command tells:"
            alone = "By how much its value varies with the seed, this command tells:"
            yield page.prose(f"No trial was trained again with fresh seeds. {luck if count > 1 else alone}")
            yield page.command(study.settings.command("confirm", study.name))
        return
    rows = [
        [
            each.trial,
            number(each.searched),
            number(each.mean),
            f"{number(each.interval[0])} to {number(each.interval[1])}" if each.interval else "",
            "  ".join(map(number, each.fresh)) + (f"  {each.failed} failed" if each.failed else ""),
            number(each.flattery(found.sign)),
        ]
        for each in found.ranked
    ]
    yield page.prose(_judged(found), "" if found.winner else "warn")
    if any(each.fresh for each in found.ranked):
        yield page.figure(
            stills.seeds(found.ranked, metric),
            "Dots: trainings with fresh seeds; bar: their mean with its 95% interval; cross: what the search saw.",
        )
    columns = ("trial", "search", "mean", "95% interval", "fresh seeds", "flattered by")
    yield page.table(columns, rows, name="seeds")


def _judged(found: Confirmation) -> str:
    if found.winner is None:
        return f"The winner is not confirmed yet: {counted(found.open, 'training')} left, or none came to its end."
    flattery = found.winner.flattery(found.sign) or 0.0
    said = f"Trial {found.winner.trial} has the best mean over fresh seeds, {number(found.winner.mean)}. "
    said += f"The search saw {number(found.winner.searched)}"
    said += f", which flattered it by {number(flattery)}. " if flattery > 0 else ", no better than it is. "
    if len(found.ranked) == 1:
        return said + "It is the only one that was trained again."
    if found.ties is None:
        return said + "There are too few numbers to tell whether it is better than the others."
    if found.ties:
        return said + f"It cannot be told apart from trials {', '.join(map(str, found.ties))} at 95%."
    return said + "It is better than each of the others at 95%." * (not found.undecided)


def diagnosed(study: Study) -> Iterator[Markup]:
    """What the curves of the winner say, how many trials fare how, and what to change; nothing before one ended."""
    try:
        opinion = form(study, None)
    except NoUsableTrial:
        return
    found, made = opinion.subject, opinion.proposal
    who = ", ".join(filter(None, (f"Trial {found.number}", opinion.role)))
    yield page.prose(f"{who}: {found.verdict}. Read from one training: another seed may look otherwise.")
    if opinion.other is not None:
        yield page.prose(f"The search's best is trial {opinion.other}.", "soft")
    if found.findings:
        yield page.table(("verdict", "because"), [[each.verdict, each.reason] for each in found.findings])
    counted_ = ", ".join(f"{count} {verdict}" for verdict, count in opinion.counts.items())
    yield page.prose(f"All trials: {counted_}.")
    if made is None:
        yield page.prose(opinion.trouble or "", "warn")
    elif made.edits:
        yield page.prose("A change of the space file to try next:")
        yield page.table(("key", "because"), [[".".join(map(str, each.trail)), each.why] for each in made.edits])
        yield page.command(made.diff)
    yield page.command(study.settings.command("diagnose", study.name))


def promotions(study: Study) -> Iterator[Markup]:
    """What was promoted, or refused, and what the gate said; nothing where nobody tried."""
    rows = Promotions(study.ledger).all(study.id)
    if not rows and study.complete() and "import" not in study.spec.trainer and study.spec.confirms is None:
        yield page.prose("Nothing was promoted yet.")
        which = ("--trial", str(study.best_first()[0])) if study.spec.several and study.front() else ()
        yield page.command(study.settings.command("promote", study.name, *which))
    for row in reversed(rows):
        outcome = ENDED.get(row["outcome"], "begun, and not ended")
        version = f", version {row['version']} of {row['model']}" if row["version"] else ""
        title = f"{_day(row['began'])}: trial {row['trial']} {outcome}{version} (alias {row['alias']})"
        yield page.heading(title)
        yield from _gate(row)


def _gate(row: RowMapping) -> Iterator[Markup]:
    checks: list[dict[str, Any]] = json.loads(row["checks"] or "[]")
    failed = [each["name"] for each in checks if each["outcome"] == "fail"]
    if failed:
        yield page.prose(f"Refused because of: {', '.join(failed)}.", "bad")
    scores: dict[str, Any] = json.loads(row["scores"] or "{}")
    if "accuracy" in scores:
        span = scores.get("interval")
        interval = f" (95% interval {number(span[0])} to {number(span[1])})" if span else ""
        yield page.prose(f"On the test part: accuracy {number(scores['accuracy'])}{interval}.")
    if checks:
        cells = [
            [each["name"], each["outcome"], _cell(each["measured"]), _cell(each["limit"]), _note(each)]
            for each in checks
        ]
        yield page.table(("check", "outcome", "measured", "limit", "because"), cells)


def _note(check: dict[str, Any]) -> str:
    return f"{check['note']}; waived: {check['waiver']}" if check.get("waiver") else str(check["note"])


def _cell(value: float | str | None) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
