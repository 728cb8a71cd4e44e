"""The records that wait in the outbox for MLflow: what each kind holds, whoever posts it.

A driver posts them while it runs, the next one for what that left open, and `hpo.audit.rebuild` again from SQL. The
kinds are those of `hpo.tracking.projection`; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.goals import points, reached, span
from hpo.wording import assignments, csv_cell, words

if TYPE_CHECKING:
    from hpo.goals import Point
    from hpo.space.sections import Metric
    from hpo.spec import SearchSpec
    from hpo.study import Study

__all__ = [
    "LONGEST",
    "REPORTS",
    "Payload",
    "best",
    "end",
    "end_of_study",
    "epoch",
    "facts",
    "flat",
    "front",
    "history",
    "packing",
    "promoted",
    "report",
    "start",
    "table",
    "version",
    "warned",
    "winner",
]

Payload = dict[str, Any]

LONGEST = 5000
"""Characters of a tag; what is longer is cut."""

REPORTS = "reports"
"""Folder in the home folder in which reports lie."""

# MLflow's word for each of Optuna's states. SCHEDULED: interrupted, and in the queue to go on.
STATUS = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "WAITING": "SCHEDULED",
}


def start(
    number: int, *, seed: int, params: Mapping[str, Any], trainer: Mapping[str, Any], objective: Mapping[str, Any]
) -> Payload:
    """A trial begins; the ledger adds which attempt it is, and when. `objective`: what the search is after."""
    return {
        "params": dict(params),
        "config": {"trainer": dict(trainer), "seed": seed, **objective},
        "tags": {"hpo.trial": number, "hpo.seed": seed},
    }


def facts(said: Mapping[str, Any], *, params: Mapping[str, Any], config: Mapping[str, Any] | None) -> Payload:
    """What a trainer says of itself, with its configuration."""
    # MLflow takes a parameter once: what is searched is there already
    return {"facts": {name: fact for name, fact in flat(said).items() if name not in params}, "config": config}


def flat(said: Mapping[str, Any]) -> dict[str, Any]:
    """As MLflow shows it, which compares parameters one by one: `versions.torch` and so on; no commit where none is."""
    given = said.get("versions")
    versions = given if isinstance(given, Mapping) else {}
    absent = {name for name in ("git_commit", "git_dirty") if said.get(name) is None}
    kept = {name: fact for name, fact in said.items() if name not in absent and not (versions and name == "versions")}
    return kept | {f"versions.{package}": version for package, version in versions.items()}


def epoch(number: int, *, time: float, metrics: Mapping[str, float]) -> Payload:
    return {"epoch": number, "time": time, "metrics": dict(metrics)}


def warned(texts: Sequence[str]) -> Payload:
    """All that a trial was warned of so far."""
    return {"tags": {"hpo.warnings": "\n".join(texts)}}


def end(
    state: str, *, best_epoch: int | None = None, error: str | None = None, traceback: str | None = None
) -> Payload:
    """A trial has ended in `state`, or waits again: then nothing is said of how far it came."""
    said = {"hpo.best_epoch": best_epoch, "hpo.error": error} if state != "WAITING" else {}
    tags = {name: value for name, value in said.items() if value is not None}
    return {"status": STATUS[state], "tags": {"hpo.state": state, **tags}, "traceback": traceback}


def best(ended: int, *, metric: str, value: float, time: float) -> Payload:
    """The best value so far, once `ended` trials had ended; of several goals that of the first one."""
    return epoch(ended, time=time, metrics={f"best/{metric}": value})


def front(points: Sequence[Point], metrics: Sequence[Metric]) -> Payload:
    """For a study of several goals: which trials no other betters."""
    said = "; ".join(f"trial {each.number}: {reached(each.values, metrics)}" for each in points)
    return {"tags": {"hpo.front": said or "none"}}


def packing(per_card: int, reason: str) -> Payload:
    """How many trials share a card."""
    return {"tags": {"hpo.trials_per_card": per_card, "hpo.packing": reason}}


def history(lines: Sequence[str]) -> Payload:
    """What was done to a study beside running it; of more than a tag takes the oldest lines are left out."""
    kept = list(lines)
    while len(kept) > 1 and len("\n".join((_left_out(len(lines)), *kept))) > LONGEST:
        del kept[0]
    first = [_left_out(len(lines) - len(kept))] if len(kept) < len(lines) else []
    return {"tags": {"hpo.history": "\n".join((*first, *kept))}}


def _left_out(count: int) -> str:
    return f"({count} earlier, see `hpo status`)"


def winner(facts: Mapping[str, Any]) -> Payload:
    """What trainings with fresh seeds say of a search: the facts of `hpo.winner.confirmation.Confirmation`."""
    first = facts["trials"][0]
    said = {
        "hpo.winner": facts["winner"],
        "hpo.winner.mean": first["mean"],
        "hpo.winner.interval": first["interval"],
        "hpo.winner.seeds": len(first["fresh"]),
        "hpo.winner.flattery": first["flattery"],
        "hpo.winner.not_separable_from": facts["not_separable_from"],
        "hpo.winner.undecided": facts["undecided"] or None,
    }
    return {"tags": {name: value for name, value in said.items() if value is not None}}


def promoted(alias: str, version: int | None, trial: int | str) -> Payload:
    """For a study: which version an alias is at, and of which trial that is."""
    return {"tags": {f"hpo.promoted.{alias}": version, f"hpo.promoted.{alias}.trial": trial}}


def version(model: str, number: int) -> Payload:
    """For a training: the newest version that was made of its checkpoint."""
    return {"tags": {"hpo.model": model, "hpo.model.version": number}}


def table(study: Study) -> Payload:
    """The trials of a study: all as CSV, the ten best with their parameters."""
    values, best = study.complete(), study.best_first()[:10]
    points_ = {each.number: each for each in points(study.frozen_trials())}

    def beside(number: int) -> dict[str, str]:
        several = study.spec.several
        return {"reached": reached(points_[number].values, several)} if several else {}

    params = {trial.number: assignments(trial.params) for trial in study.frozen_trials()}
    return {
        "csv": study.trials.map(csv_cell).rename(columns=csv_cell).to_csv(index=False),
        "best": [{"number": each, "value": values[each], "params": params[each], **beside(each)} for each in best],
        "objective": ", ".join(each.name for each in study.spec.metrics),
        **({"limited": True} if study.spec.constraints else {}),
        **({"front": span(study.front(), study.spec.metrics)} if study.spec.several else {}),
        "text": study.row["text"],
        "counts": words(study.counts()),
        "next": [study.settings.command(each, study.name) for each in ("report", "ui", "resume")],
    }


def report(file: str) -> Payload:
    """A study's report, a file in REPORTS."""
    return {"file": file}


def end_of_study(
    counts: Mapping[str, int], space: SearchSpec, *, retried: int, time: float, over: bool = False
) -> Payload:
    """A run of the study has ended, with so many trials in each state, of which `retried` stand for failed ones.

    `over`: there is nothing more to try, whatever the budget.
    """
    goes_on = not over and _may_go_on(counts, space, retried)
    status = "SCHEDULED" if goes_on else "FINISHED" if counts.get("COMPLETE") else "FAILED"
    return {
        "status": status,
        "tags": {f"hpo.trials.{state.lower()}": count for state, count in counts.items()},
        "time": time,
    }


def _may_go_on(counts: Mapping[str, int], space: SearchSpec, retried: int) -> bool:
    """Whether trials wait, or may still be made: whatever else has ended the run, more of it may be given."""
    if any(counts.get(state) for state in ("WAITING", "PAUSED", "RUNNING")):
        return True
    if space.sampler.type == "grid":  # whose cells wait from the beginning
        return False
    return space.trials is None or sum(counts.values()) - retried < space.trials
