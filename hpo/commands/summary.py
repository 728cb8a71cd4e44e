"""What the commands print about studies and trials: tables for people, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.commands import front
from hpo.errors import NoUsableTrial
from hpo.goals import points, span, wanted
from hpo.masking import masked
from hpo.search import ahead
from hpo.settings import Settings
from hpo.store import history
from hpo.store.lease import state
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from hpo.winner.confirmation import Confirmation
from hpo.winner.standing import Standing
from hpo.wording import assignments, counted, number, plain, without_nan, words

__all__ = ["best", "closing", "confirmed", "status", "trials"]


def status(name: str, settings: Settings, *, as_json: bool) -> None:
    """One study in detail."""
    study = Study.load(name, settings)
    facts = _status(study) | {"history": history.facts(study)}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    facts["history"] = "\n".join(map(history.told, study.ledger.history(study.id))) or None
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        if value is not None or (key == "best" and "front" not in facts):
            table.add_row(key.replace("_", " "), Text(_cell(value)))
    Console(highlight=False, soft_wrap=True).print(table)


def trials(study: Study, *, as_json: bool) -> None:
    """All trials of a study."""
    rows = study.rows()
    if as_json:
        print(json.dumps(without_nan(rows), indent=2))
        return
    # a row has None for a parameter that is null, and for one that a condition kept out
    params = {trial.number: study.params(trial) for trial in study.frozen_trials()}
    for row in rows:
        row["parameters"] = assignments(params[row["number"]])
    beside = [f"value of {each.name}" for each in study.spec.metrics[1:]] + ["misses"] * bool(study.spec.constraints)
    shown = ("number", "state", "value", *beside, "epoch", "best_value", "seconds", "parameters", "error")
    _print(rows, (*shown, "origin") if any(row["origin"] for row in rows) else shown)


def best(study: Study, *, as_json: bool) -> None:
    """The best trial of the search, and the winner among those that were trained again with fresh seeds."""
    if study.spec.several:
        front.show(study, as_json=as_json)
        return
    confirmed = confirmation.find(study)
    found = _best(study, confirmed)
    if as_json:
        print(json.dumps(found | {"confirmation": confirmed.facts() if confirmed else None}, indent=2))
        return
    name = plain(study.spec.metric.name)
    if confirmed is not None and confirmed.winner is not None:
        _winner(name, confirmed, confirmed.winner)
        if confirmed.missed:
            print(f"            {_missed(study, confirmed)}")
    else:
        reached = f"{name} {number(found['value'])} after {counted(found['epoch'], 'epoch')}"
        if found["best_epoch"] != found["epoch"]:
            reached += f" ({number(found['best_value'])} at epoch {found['best_epoch']})"
        print(f"best trial  {found['number']}: {reached}")
    print(f"parameters  {plain(assignments(found['params']))}")
    if found["gain"]:
        print(f"gain        {found['gain']}")
    if left_out := [each.number for each in points(study.frozen_trials()) if each.excess]:
        print(f"left out    {_numbered(left_out)}, which miss a constraint")
    if found["checkpoint"]:
        print(f"checkpoint  {plain(found['checkpoint'])}")
    if study.spec.sampler.caveat:
        print(f"mind        {study.spec.sampler.caveat}")
    count = len(study.complete())
    if confirmed is None and study.spec.confirms is None and count > 1:
        again = study.settings.command("confirm", study.name)
        print(f"            the best of {count} numbers is too good by luck; `{plain(again)}` tells")


def confirmed(found: Confirmation, *, metric: str, as_json: bool) -> None:
    """The trials that were trained again, the winner first."""
    if as_json:
        print(json.dumps(found.facts(), indent=2))
        return
    rows = [
        {
            "trial": each.trial,
            "search": each.searched,
            "mean": each.mean,
            "95% interval": _span(each.interval),
            "fresh seeds": "  ".join(number(value) for value in each.fresh)
            + (f"  {each.failed} failed" * (each.failed > 0)),
            "search was better by": each.flattery(found.sign),
        }
        for each in found.ranked
    ]
    _print(rows, tuple(rows[0]))
    print()
    if found.winner is not None:
        _winner(plain(metric), found, found.winner)


def _winner(metric: str, found: Confirmation, winner: Standing) -> None:
    count = len(winner.fresh)
    mean = f"{metric} {number(winner.mean)}, mean of {count} fresh seed{'s' * (count > 1)}"
    span = f" (95% interval {_span(winner.interval)})" if winner.interval else ""
    print(f"winner      trial {winner.trial}: {mean}{span}")
    print(f"            {_flattered(number(winner.searched), winner.flattery(found.sign) or 0.0)}")
    print(f"            {_told_apart(found)}")


def _flattered(searched: str, flattery: float) -> str:
    if flattery > 0:
        return f"the search saw {searched}, which flattered it by {number(flattery)}"
    return f"the search saw {searched}, no better than it is"


def _told_apart(found: Confirmation) -> str:
    if len(found.ranked) == 1:
        return "it is the only one that was trained again"
    if found.ties is None:
        if any(each.failed for each in found.ranked):
            return "too many trainings failed to tell whether it is better than the others"
        return "one seed each does not tell whether it is better than the others: give winner.seeds"
    unclear = f"undecided: {_numbered(found.undecided)}, of which trainings failed" if found.undecided else None
    beaten = [each.trial for each in found.ranked[1:] if each.trial not in (*found.ties, *found.undecided)]
    if found.ties:
        first_two = "not separable: " if found.ranked[1].trial in found.ties else ""
        said = f"{first_two}it cannot be told apart from {_numbered(found.ties)} at 95%"
    elif unclear is None:
        said = "better than each of the others at 95%"
    else:
        said = f"better than {_numbered(beaten)} at 95%" if beaten else ""
    return "; ".join(filter(None, (said, unclear)))


def _numbered(numbers: Sequence[int]) -> str:
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _missed(study: Study, found: Confirmation) -> str:
    are = "are" if len(found.missed) > 1 else "is"
    return (
        f"{_numbered(found.missed)} {are} among the best {found.top} of the search since, and "
        f"{'were' if are == 'are' else 'was'} not trained again: `{plain(found.again(study))}`"
    )


def _span(interval: tuple[float, float] | None) -> str | None:
    return f"{number(interval[0])} to {number(interval[1])}" if interval else None


def closing(study: Study, *, as_json: bool) -> None:
    """The last words of a run: the best trial, where to look, what to type next."""
    if study.spec.confirms is not None:  # `hpo resume` of the trainings alone
        study = Study.load(study.spec.confirms.study, study.settings)
    best(study, as_json=as_json)
    if as_json:
        return
    name, settings = study.name, study.settings
    print(f"trials      {words(study.counts())}")
    row = study.ledger.study(name)
    outcome = plain(str(row["outcome"])) if row else ""
    spent = outcome.partition(" ")[0] if outcome.startswith("budget.") else None
    if spent:
        print(f"ended       {outcome}")
    print()
    print(f"look        {plain(settings.command('ui', name))}")
    print(f"            {plain(settings.command('report', name))}")
    print(f"next        {settings.command('trials', name)}")
    if not ahead.is_whole(study.spec, study.frozen_trials()):
        print(f"            {plain(settings.command('resume', name))} --set {spent or 'budget.trials'}=N")
    if "import" not in study.spec.trainer:
        print(f"            {settings.command('promote', name)}{' --trial N' if study.spec.several else ''}")


def _status(study: Study) -> dict[str, Any]:
    row = study.row
    counts = study.counts()
    leader = study.leader
    return {
        "study": study.name,
        "state": state(row, study.settings),
        "trials": counts,
        "best": study.complete()[leader] if leader is not None else None,
        "winner": _confirmed_in_words(study),
        **({"front": span(study.front(), study.spec.metrics)} if study.spec.several and study.front() else {}),
        "objective": wanted(study.spec.metrics),
        **({"constraints": "; ".join(map(str, study.spec.constraints))} if study.spec.constraints else {}),
        "wall_seconds": round(row["seconds"], 1),
        **_spent(study),
        **_packing(study),
        "quota": study.spec.resources.quota,
        "waiting_for_mlflow": study.ledger.pending_count(study.id),
        "storage": masked(study.settings.storage),
        "mlflow": masked(study.settings.mlflow),
    }


def _confirmed_in_words(study: Study) -> str | None:
    found = confirmation.find(study)
    if found is None:
        return None
    if found.winner is None:
        return f"not confirmed yet, {found.open} trainings are left"
    said = f"trial {found.winner.trial}, mean of fresh seeds {number(found.winner.mean)}"
    return f"{said}; {_missed(study, found)}" if found.missed else said


def _spent(study: Study) -> dict[str, Any]:
    """GPU-hours so far, and what they cost where a price is given."""
    hours, price = study.ledger.gpu_seconds(study.id) / 3600, study.spec.budget.price_per_gpu_hour
    return {"gpu_hours": round(hours, 3), "cost": round(hours * price, 2) if price is not None else None}


def _packing(study: Study) -> dict[str, Any]:
    """How many trials share a card, if that was ever decided, and why."""
    found = study.ledger.packings(study.id)
    return {
        "trials_per_card": found[-1]["per_card"] if found else None,
        "packing": found[-1]["reason"] if found else None,
    }


def _best(study: Study, confirmed: Confirmation | None) -> dict[str, Any]:
    """The winner's row of the trials table, or the best trial's; the checkpoint is one that a promotion takes."""
    winner = confirmed.winner if confirmed is not None else None
    best = study.best_trial.number if winner is None else winner.trial
    row = next(each for each in study.rows() if each["number"] == best)
    params = next(each.params for each in study.frozen_trials() if each.number == best)
    if winner is not None:
        with contextlib.suppress(NoUsableTrial):  # a trainer without a state has no checkpoint
            row["checkpoint"] = str(candidate(study).checkpoint)
    keys = ("number", "value", "epoch", "best_epoch", "best_value", "seconds", "checkpoint", "mlflow_run_id")
    value = row["value"] if winner is None else winner.mean
    return {**{key: row[key] for key in keys}, "params": params, "gain": history.gain(study, best, value)}


HEADS = {"best_value": "best value"}


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(HEADS.get(column, column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    # a file or a pipe has no margin; a terminal's is kept by folding, never by cutting
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return words(value)
    return number(value) if isinstance(value, float) else plain(str(value))
