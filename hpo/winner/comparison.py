"""Two studies or trials side by side: what differs, and which is better, where their numbers can say that."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.errors import SpecError
from hpo.goals import wanted as wanted_of
from hpo.settings import Settings
from hpo.space.parameters import same
from hpo.space.sections import Winner
from hpo.spec import differing
from hpo.store import columns
from hpo.store.opening import named
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.standing import Interval, Standing, difference, simultaneous
from hpo.wording import literal, number, plain
from hpo.workers.provenance import differences

__all__ = ["Comparison", "Difference", "Side", "compare", "show"]

Verdict = Literal["a", "b", "not separable", "not confirmed", "other metrics", "same trial"]
ABSENT = "(absent)"


@dataclass(frozen=True, kw_only=True)
class Side:
    """A trial of a study: the one asked for, or its winner, or its best where none is confirmed."""

    study: str
    trial: int
    state: str
    objective: str
    params: Mapping[str, Any]
    value: float | None  # that the search saw
    beside: Mapping[str, float]  # other goals, of a COMPLETE trial
    fresh: tuple[float, ...]  # of trainings with fresh seeds
    failed: int  # trainings with fresh seeds that came to no end
    mean: float | None
    interval: Interval | None
    ties: int  # trials that it was chosen before by these numbers, and cannot be told apart from

    @property
    def name(self) -> str:
        return f"{self.study}:{self.trial}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not the same on both sides."""

    section: Literal["space", "parameters", "training"]
    what: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs, and what the numbers say."""

    a: Side
    b: Side
    differs: tuple[Difference, ...]
    verdict: Verdict
    better_by: float | None  # a over b by their means over fresh seeds, in the direction of the goal
    interval: Interval | None  # of `better_by`, 95%
    method: Literal["tukey", "welch"] | None  # of `interval`: Tukey's over all that was confirmed with the two
    first: tuple[str, ...]  # commands that train again what has no two numbers with fresh seeds
    failed: tuple[str, ...]  # why there are none, where trainings failed

    @property
    def other_data(self) -> bool:
        """Whether the two were trained and scored on other data."""
        return any(each.what == "data, fingerprint" for each in self.differs)

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"other_data": self.other_data, "says": self.says()}

    def says(self) -> str:
        """The verdict in words."""
        match self.verdict:
            case "a" | "b":
                said = self._lead("is better by")
            case "not separable":
                said = f"cannot be told apart: {self._lead('is ahead by')}, and the interval holds 0"
            case "not confirmed":
                first = "; ".join(f"`{each}`" for each in self.first) or "two trainings with fresh seeds on each side"
                said = "single numbers of a search do not decide, each has the luck of its seed; "
                said += "".join(f"{each}; " for each in self.failed) + f"first: {first}"
            case "other metrics":
                said = f"no saying: one is to {self.a.objective}, the other to {self.b.objective}"
            case "same trial":
                said = "they are the same trial"
        if self.better_by is None:
            return said
        better = self.a if self.better_by > 0 else self.b
        if self.method == "welch" and better.ties and self.verdict != "not separable":
            said += f"; {better.name} was chosen by them among {better.ties + 1} as good, which flatters it a little"
        caution = "; they saw other data, and compare only if both were scored on the same"
        return said + caution if self.other_data else said

    def _lead(self, verb: str) -> str:
        """Which has the better mean, and by how much."""
        assert self.better_by is not None
        assert self.interval is not None
        low, high = self.interval
        if self.better_by < 0:
            return f"{self.b.name} {verb} {number(-self.better_by)} (95% interval {_span((-high, -low))})"
        return f"{self.a.name} {verb} {number(self.better_by)} (95% interval {_span((low, high))})"


def compare(a: str, b: str, settings: Settings) -> Comparison:
    """Compare two studies or trials, each `NAME` or `NAME:N`. A study stands for its winner.

    Raises:
        SpecError: there is no such study or trial.
        NoUsableTrial: a study has no COMPLETE trial.
    """
    (one, mine), (other, yours) = (_side(each, settings) for each in (a, b))
    better_by, interval, found = None, None, None
    if mine.name == yours.name:
        verdict: Verdict = "same trial"
    elif mine.objective != yours.objective:
        verdict = "other metrics"
    elif (found := _apart(one, mine, yours)) is None:
        verdict = "not confirmed"
    else:
        low, high = found[1]
        assert mine.mean is not None
        assert yours.mean is not None
        sign = one.spec.metric.sign
        better_by = sign * (mine.mean - yours.mean)
        interval = (low, high) if sign > 0 else (-high, -low)
        verdict = "a" if interval[0] > 0 else "b" if interval[1] < 0 else "not separable"
    return Comparison(
        a=mine,
        b=yours,
        differs=tuple(_differences(one, mine, other, yours)),
        verdict=verdict,
        better_by=better_by,
        interval=interval,
        method=found[0] if found is not None else None,
        **(_lacking(one, mine, other, yours) if verdict == "not confirmed" else {"first": (), "failed": ()}),
    )


def _apart(study: Study, mine: Side, yours: Side) -> tuple[Literal["tukey", "welch"], Interval] | None:
    """The interval of the difference of two means; None where there are too few numbers.

    Of two trials of the same search what its confirmation says, which compares them together with all others.
    """
    if mine.study != yours.study:
        welch = difference(mine.fresh, yours.fresh)
        return ("welch", welch) if welch is not None else None
    confirmed = confirmation.find(study)
    tukey = simultaneous(confirmed.ranked).get((mine.trial, yours.trial)) if confirmed is not None else None
    return ("tukey", tukey) if tukey is not None else None


def _side(text: str, settings: Settings) -> tuple[Study, Side]:
    parts = named(text)
    if parts is None:
        raise SpecError(f"{text!r}: write the name of a study, or NAME:N for its trial N")
    name, wanted = parts
    study = Study.load(name, settings, reading=True)
    confirmed = confirmation.find(study)
    if wanted is None:
        if study.spec.several:
            there = ", ".join(f"{name}:{each.number}" for each in study.front())
            raise SpecError(
                f"study {name!r} has several goals: name a trial of its front, {there or 'which has none yet'}"
            )
        winner = confirmed.winner if confirmed is not None else None
        wanted = winner.trial if winner is not None else study.best_trial.number
    trials = {trial.number: trial for trial in study.frozen_trials()}
    if wanted not in trials:
        there = f"there are 0 to {max(trials)}" if trials else "there are none yet"
        raise SpecError(f"study {study.name!r} has no trial {wanted}: {there}")
    row = next(each for each in study.rows() if each["number"] == wanted)
    ranked = confirmed.ranked if confirmed is not None else ()
    standing = next((each for each in ranked if each.trial == wanted), Standing(trial=wanted, searched=0.0, fresh=()))
    return study, Side(
        study=study.name,
        trial=wanted,
        state=row["state"],
        objective=wanted_of(study.spec.metrics),
        params=study.params(trials[wanted]),
        value=row["value"] if row["value"] is not None and math.isfinite(row["value"]) else None,
        beside=dict(zip(_others(study), (trials[wanted].values or [])[1:], strict=False)),
        fresh=standing.fresh,
        failed=standing.failed,
        mean=standing.mean,
        interval=standing.interval,
        ties=len(confirmed.ties or ()) if confirmed and confirmed.winner and confirmed.winner.trial == wanted else 0,
    )


def _others(study: Study) -> list[str]:
    return [each.name for each in study.spec.metrics[1:]]


def _lacking(one: Study, mine: Side, other: Study, yours: Side) -> dict[str, tuple[str, ...]]:
    """What trains again, with fresh seeds, the sides that have no two numbers of them; and which trainings failed."""
    first: list[str] = []
    failed: list[str] = []
    unasked: dict[str, tuple[Study, list[int]]] = {}
    for study, side in ((one, mine), (other, yours)):
        if len(side.fresh) > 1:
            continue
        confirmed = confirmation.find(study)
        if side.failed and confirmed is not None and not confirmed.open:  # `hpo confirm` would find nothing to do
            why = study.settings.command("trials", confirmed.study.name)
            failed.append(f"trainings of {side.name} with fresh seeds failed, {side.failed} of them (`{why}`)")
            first.append(study.settings.command("resume", confirmed.study.name))
        else:
            unasked.setdefault(study.name, (study, []))[1].append(side.trial)
    first += [line for study, trials in unasked.values() for line in _confirm(study, trials)]
    return {"first": tuple(dict.fromkeys(first)), "failed": tuple(failed)}


def _confirm(study: Study, trials: Sequence[int]) -> Iterator[str]:
    """The command that trains these again with fresh seeds."""
    best = study.best_first()
    ranks = [1 + best.index(trial) for trial in trials if trial in best]
    # an unfinished trial cannot be confirmed, nor one of several goals
    if not ranks or study.spec.confirms is not None or study.spec.several:
        return
    wish = study.spec.winner or Winner()
    more = ["--top", str(max(ranks))] if max(ranks) > wish.top else []
    yield study.settings.command("confirm", study.name, *more, *(["--seeds", "3"] if wish.seeds < 2 else []))


def _differences(one: Study, mine: Side, other: Study, yours: Side) -> Iterator[Difference]:
    trees = [
        {key: value for key, value in each.spec.canonical().items() if key not in ("name", "notify")}
        for each in (one, other)
    ]
    spaces = differing(*trees)
    for path, (before, after) in spaces.items():
        yield Difference(section="space", what=path, a=before, b=after)
    for path, (before, after) in differing(*map(_confirmed_as, (one, other))).items():
        if path not in spaces and mine.fresh and yours.fresh:
            yield Difference(section="space", what=f"confirmed with {path}", a=before, b=after)
    for name in dict.fromkeys((*mine.params, *yours.params)):
        values = [each.params.get(name, ABSENT) for each in (mine, yours)]
        if not same(*values):
            yield Difference(section="parameters", what=name, a=literal(values[0]), b=literal(values[1]))
    for what, (before, after) in differences(*(_facts(*each) for each in ((one, mine), (other, yours)))).items():
        yield Difference(section="training", what=what, a=before, b=after)


def _confirmed_as(study: Study) -> dict[str, Any]:
    """What the trainings with fresh seeds were, which may be longer than those of the search."""
    found = confirmation.find(study)
    return {"trainer": found.study.spec.trainer} if found is not None else {}


def _facts(study: Study, side: Side) -> dict[str, Any]:
    row = study.ledger.trial(study.id, side.trial)
    return columns.facts(row) if row is not None else {}


def show(found: Comparison, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print(json.dumps(found.facts(), indent=2))
        return
    # a file or a pipe has no margin; a terminal's is kept by folding
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", found.a.name, found.b.name):
        table.add_column(Text(heading), overflow="fold")
    for what, one, other in _rows(found):
        table.add_row(*(Text(plain("" if each is None else str(each))) for each in (what, one, other)))
    console.print(table)
    if not found.differs:
        print("\nnothing differs in space, parameters, code, data, versions or device, as far as they are on record")
    print(f"\n{plain(found.says())}")


def _rows(found: Comparison) -> Iterator[tuple[str, Any, Any]]:
    sides = (found.a, found.b)
    yield "objective", found.a.objective, found.b.objective
    yield "state", found.a.state.lower(), found.b.state.lower()
    yield "search saw", number(found.a.value), number(found.b.value)
    for name in dict.fromkeys((*found.a.beside, *found.b.beside)):
        yield name, number(found.a.beside.get(name)), number(found.b.beside.get(name))
    means = [f"{number(each.mean)} ({_span(each.interval)})" if each.interval else number(each.mean) for each in sides]
    yield "mean of fresh seeds (95%)", means[0], means[1]
    counts = [f"{len(each.fresh)}" + (f", {each.failed} failed" if each.failed else "") for each in sides]
    yield "fresh seeds", counts[0], counts[1]
    for section in ("space", "parameters", "training"):
        differs = [each for each in found.differs if each.section == section]
        if differs:
            yield "", None, None
        for each in differs:
            yield each.what, each.a, each.b


def _span(interval: Interval | None) -> str:
    return f"{number(interval[0])} to {number(interval[1])}" if interval else "-"
