"""The best trials of a search trained again with fresh seeds: a study of its own, a grid of trials and seeds.

It has its own name, group in SQL and experiment in MLflow, and is scheduled, resumed and audited as any other. The
search itself, which its sampler learns from, stays what it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo import spec
from hpo.errors import NoUsableTrial, SpecError
from hpo.search.notice import Notices
from hpo.search.progress import Progress
from hpo.search.searcher import CONFIRMATION, derive_seed
from hpo.space.sections import Winner
from hpo.spec import SearchSpec
from hpo.store import columns, records
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.tracking.process import Tracking
from hpo.winner.standing import Standing, rank, same_as_first
from hpo.wording import assignments, counted, number

__all__ = ["Confirmation", "confirm", "find", "prepare"]

SUFFIX = ".confirm"
LONGEST = 64 - len(SUFFIX)
MOST = 2**32 - 1  # number of a trial, and a seed
KEPT = ("epoch_time", "price_per_gpu_hour")
"""Of the search's budget, which was for the search. Not `disk`: what ranks single trainings would remove all of the
winner by mean, and promotion needs one."""
WINNER = "hpo:winner"  # attribute of Optuna's study: what was last told of the winner
CLOSING_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What is known of the trials that were trained again, the winner first."""

    study: Study  # of the trainings
    ranked: tuple[Standing, ...]
    ties: tuple[int, ...] | None  # trials that cannot be told apart from the winner; None: too few numbers to say
    sign: float
    open: int  # trainings that are still to be done
    top: int  # so many of the best were asked for
    missed: tuple[int, ...]  # trials that are among the best of the search since, and were not trained again

    @property
    def winner(self) -> Standing | None:
        """None before all trainings have ended, and where all have failed."""
        return self.ranked[0] if not self.open and self.ranked and self.ranked[0].fresh else None

    @property
    def undecided(self) -> tuple[int, ...]:
        """Trials that are no ties and not beaten: with fewer than two numbers, or, for its failures, a better mean."""
        first, *others = self.ranked
        return tuple(
            each.trial
            for each in others
            if each.trial not in (self.ties or ())
            and (len(each.fresh) < 2 or self.sign * ((each.mean or 0.0) - (first.mean or 0.0)) > 0)
        )

    def again(self, study: Study) -> str:
        """The command that trains again what was missed, of the search `study`."""
        enough = (study.spec.winner or Winner()).top >= self.top
        return study.settings.command("confirm", study.name, *([] if enough else ["--top", str(self.top)]))

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "study": self.study.name,
            "open": self.open,
            "winner": self.winner.trial if self.winner else None,
            "not_separable_from": list(self.ties) if self.ties is not None else None,
            "undecided": list(self.undecided),
            "missed": list(self.missed),
            "trials": [
                {
                    "trial": each.trial,
                    "searched": each.searched,
                    "mean": each.mean,
                    "interval": each.interval,
                    "fresh": each.fresh,
                    "failed": each.failed,
                    "flattery": each.flattery(self.sign),
                }
                for each in self.ranked
            ],
        }


def confirm(study: Study, wish: Winner, *, concurrency: int | None = None, progress: bool = True) -> Confirmation:
    """Train the best trials of a search again, as far as that is not done, and choose the winner.

    Raises:
        NoUsableTrial: the search has no complete trial, or no training came to its end.
        SpecError: the trainings that were begun have other values.
        and what `hpo.run` raises.
    """
    from hpo.search import driver

    shown = Progress.on_stderr() if progress else Progress.silent()
    runs = prepare(study, wish)
    if found := _look(study, runs).open:
        points, seeds = runs.spec.confirms.points, runs.spec.confirms.seeds  # type: ignore[union-attr]
        each = counted(len(seeds), "fresh seed")
        shown.note(f"confirming trials {', '.join(points)} with {each} each: {counted(found, 'training')}")
        driver.run(runs, concurrency=concurrency, progress=progress)
    result = _look(study, runs)
    if result.winner is None:
        reasons = runs.settings.command("trials", runs.name)
        raise NoUsableTrial(f"no training with a fresh seed came to its end; see {reasons}")
    _tell(study, result)
    if found:
        _announce(study, result.winner, shown)
    return result


def find(study: Study) -> Confirmation | None:
    """What there is of the confirmation of a search; None where none was begun."""
    if study.spec.confirms:
        return None
    row = study.ledger.study(study.name + SUFFIX)
    confirms = columns.canonical(row).get("confirms") if row is not None else None
    if confirms is None or confirms["uid"] != study.row["uid"]:
        return None
    return _look(study, Study.load(study.name + SUFFIX, study.settings, reading=study.reading))


def prepare(study: Study, wish: Winner) -> Study:
    """Make the study of the trainings or extend it, and train nothing; what was trained before counts.

    Raises:
        NoUsableTrial: the search has no complete trial.
        SpecError: it cannot be confirmed, or was confirmed with other values.
        StudyOwned: the trainings are at work.
    """
    if study.spec.confirms:
        raise SpecError(f"study {study.name!r} confirms {study.spec.confirms.study!r} itself; confirm that one")
    if study.spec.several:
        raise SpecError(
            f"study {study.name!r} has several goals, so that seeds choose no winner: `hpo best` shows its front, and "
            "`hpo promote --trial N` takes a trial of it"
        )
    if len(study.name) > LONGEST:
        raise SpecError(f"study {study.name!r} cannot be confirmed: its name has more than {LONGEST} letters")
    name = study.name + SUFFIX
    there = study.ledger.study(name)
    stored = columns.canonical(there) if there is not None else {}
    before = stored.get("confirms")
    if there is not None and (before is None or before["uid"] != study.row["uid"]):
        delete = study.settings.command("delete", name)
        raise SpecError(f"there is a study {name!r} that does not confirm this {study.name!r}: `{delete}` first")
    space = _space(study, wish, before or {"points": {}, "seeds": []})
    if there is not None and space.hash() != there["hash"]:
        lines = "; ".join(spec.changes({key: stored.get(key) for key in space.identity()}, space.identity()))
        delete = study.settings.command("delete", name)
        raise SpecError(f"{study.name!r} was confirmed otherwise: {lines}. To do it anew: `{delete}` first")
    runs = Study.open(space, study.settings)
    _share_cards(study, runs)
    return runs


def _share_cards(study: Study, runs: Study) -> None:
    """Let the trainings begin with what was found of how many share a card; under their lease, so once."""
    packings = study.ledger.packings(study.id)
    if not packings or runs.ledger.packings(runs.id):
        return
    with Lease(runs):
        if not runs.ledger.packings(runs.id):
            found = {key: packings[-1][key] for key in ("card", "asked", "per_card", "reason")}
            runs.ledger.add_packing(runs.id, **found, measured=json.loads(packings[-1]["measured"]))


def _space(study: Study, wish: Winner, before: Mapping[str, Any]) -> SearchSpec:
    study.best_trial  # noqa: B018 - says where there is none
    space, best = study.spec, study.best_first()[: wish.top]
    params = {trial.number: study.params(trial) for trial in study.frozen_trials() if trial.number in best}
    points = {str(number): params[number] for number in best}
    tree = space.canonical()
    for key in ("winner", "gate", "constraints", "baseline"):  # of the search, which kept them
        tree.pop(key, None)
    if space.notify is not None:  # with its address, which canonical() does not give
        tree["notify"] = space.notify.model_dump(exclude_defaults=True)
    if wish.epochs is not None:
        tree["trainer"]["epochs"] = wish.epochs
        points = {number: _without(point, "epochs") for number, point in points.items()}
    seeds = [derive_seed(space.sampler.seed, CONFIRMATION, index) for index in range(wish.seeds)]
    tree |= {
        "name": study.name + SUFFIX,
        "sampler": {"type": "grid", "seed": space.sampler.seed},
        # whole numbers and no choices, which Optuna lets nobody add to
        "parameters": {"trial": {"min": 0, "max": MOST}, "seed": {"min": 0, "max": MOST}},
        "pruner": {"type": "none"},
        "budget": {key: value for key, value in tree["budget"].items() if key in KEPT},
        "confirms": {
            "study": study.name,
            "uid": study.row["uid"],
            "points": {**points, **before["points"]},
            "seeds": max(seeds, before["seeds"], key=len),
            "top": max(wish.top, _top(before)),
        },
    }
    return spec.from_mapping(tree, folder=space.folder, trusted=True)


def _top(confirms: Mapping[str, Any]) -> int:
    return confirms.get("top") or len(confirms["points"])


def _without(point: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != name}


def _look(study: Study, runs: Study) -> Confirmation:
    confirms, searched = runs.spec.confirms, study.complete()
    assert confirms is not None
    fresh: dict[int, list[float]] = {int(number): [] for number in confirms.points}
    ended: dict[int, set[int]] = {number: set() for number in fresh}
    for trial in runs.frozen_trials():
        number = trial.params.get("trial")
        if number in fresh and trial.state.is_finished():
            ended[number].add(trial.params["seed"])
            if trial.state.name == "COMPLETE":
                fresh[number].append(trial.values[0])
    standings = [
        Standing(
            trial=number,
            searched=searched[number],
            fresh=tuple(values),
            failed=len(ended[number]) - len(values),
        )
        for number, values in fresh.items()
    ]
    sign = study.spec.metric.sign
    ranked = rank(standings, sign)
    ties, top = same_as_first(ranked), _top(confirms.model_dump())
    return Confirmation(
        study=runs,
        ranked=tuple(ranked),
        ties=None if ties is None else tuple(ties),
        sign=sign,
        open=len(runs.spec.grid()) - sum(map(len, ended.values())),
        top=top,
        missed=tuple(number for number in study.best_first()[:top] if number not in fresh),
    )


def _announce(study: Study, winner: Standing, shown: Progress) -> None:
    """Tell whoever is to be told of the search's end who has won."""
    params = study.params(study.frozen_trials()[winner.trial])
    mean = f"{study.spec.metric.name} {number(winner.mean)}, mean of {counted(len(winner.fresh), 'fresh seed')}"
    text = f"the winner is trial {winner.trial}, {mean}: {assignments(params)}"
    notices = Notices(study.spec, shown.note)
    notices.tell_end(text, trial=winner.trial, value=winner.mean, params=params)
    notices.close()


def _tell(study: Study, found: Confirmation) -> None:
    """Put the winner on record where people look at the search: in Optuna, and in MLflow."""
    told = json.dumps(found.facts(), sort_keys=True)
    if study.optuna.user_attrs.get(WINNER) == told:
        return
    study.ledger.post(study.id, None, "tags", records.winner(found.facts()))
    tracking = Tracking(study)
    tracking.wake()
    tracking.close(CLOSING_SECONDS)
    study.optuna.set_user_attr(WINNER, told)
