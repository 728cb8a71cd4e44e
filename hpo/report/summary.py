"""How a study stands, in a few lines: the first section of its report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from hpo.drawing import page
from hpo.goals import nearest
from hpo.report.rows import Trial
from hpo.store.history import gain
from hpo.store.lease import holder
from hpo.study import Study
from hpo.winner.confirmation import Confirmation
from hpo.wording import assignments, duration, number

__all__ = ["STATES", "summary"]

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "PAUSED", "WAITING")
"""In the order in which they are shown."""


def summary(
    study: Study, trials: Sequence[Trial], confirmed: Confirmation | None, winner: int | None
) -> Iterator[Markup]:
    """The winner, what was spent, how trials ended, and what a reader should be warned of."""
    owner = holder(study.row)
    if owner is not None:
        yield page.prose(f"The search runs ({owner}); this is how it stood when the page was made.", "warn")
    if caveat := study.spec.sampler.caveat:
        yield page.prose(f"{caveat[0].upper()}{caveat[1:]}.", "warn")
    if not study.front():
        none = "No trial is complete yet, so that none is best."
        if study.complete():
            none = f"No complete trial keeps the constraints; {nearest(study.frozen_trials(), study.spec.metrics)}."
        yield page.prose(none, "warn")
    best = _of_winner(study, trials, confirmed, winner) if winner is not None else {}
    yield page.facts({**best, **_spent(study, trials)})
    if trials:
        yield _states(trials)


def _of_winner(
    study: Study, trials: Sequence[Trial], confirmed: Confirmation | None, number_: int
) -> dict[str, object]:
    trial = next(each for each in trials if each.number == number_)
    metric, standing = study.spec.metric.name, confirmed.winner if confirmed is not None else None
    if standing is None:
        found: dict[str, object] = {"best trial": f"{number_}, {metric} {number(trial.value)}, not confirmed"}
    else:
        span = standing.interval
        interval = f", 95% interval {number(span[0])} to {number(span[1])}" if span else ""
        fresh = f"mean of {len(standing.fresh)} fresh seeds{interval}"
        found = {"winner": f"trial {number_}, {metric} {number(standing.mean)}, {fresh}"}
    if said := gain(study, number_, standing.mean if standing is not None else trial.value):
        found["gain"] = said
    return found | {"parameters": assignments(dict(trial.params))}


def _spent(study: Study, trials: Sequence[Trial]) -> dict[str, object]:
    hours, price = study.ledger.gpu_seconds(study.id) / 3600, study.spec.budget.price_per_gpu_hour
    packed = study.ledger.packings(study.id)
    found: dict[str, object] = {
        "begun": time.strftime("%Y-%m-%d %H:%M %z", time.localtime(study.row["created"])),
        "time of the search": duration(study.row["seconds"]),
        "training in all": duration(sum(each.seconds for each in trials)),
    }
    if hours:
        found["GPU-hours"] = f"{hours:.2f}" + (f", {hours * price:.2f} by the price given" if price is not None else "")
    if packed:
        found["trials a card"] = f"{packed[-1]['per_card']}: {packed[-1]['reason']}"
    return found


def _states(trials: Sequence[Trial]) -> Markup:
    lines = []
    for state in STATES:
        here = [each for each in trials if each.state == state]
        if here:
            epochs, seconds = sum(len(each.curve) for each in here), sum(each.seconds for each in here)
            share = f"{len(here) / len(trials):.0%}"
            lines.append([state.lower(), len(here), share, epochs, f"{epochs / len(here):.1f}", duration(seconds)])
    return page.table(("state", "trials", "share", "epochs", "epochs each", "training"), lines, name="states-table")
