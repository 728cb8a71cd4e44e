"""What is to be thought of a study or a trial, from its curves in SQL, and what to change."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hpo.errors import NoUsableTrial, SpecError
from hpo.report.advice import advise
from hpo.report.diagnosis import Curve, Judged, counted_verdicts, diagnose
from hpo.report.proposal import Proposal, propose, shown_folder
from hpo.rungs import states
from hpo.store import columns
from hpo.study import Study
from hpo.winner import confirmation
from hpo.wording import assignments, literal, number, plain

__all__ = ["Opinion", "form", "judged", "show"]

HOW = {
    "same": "this changes nothing that was searched: the study goes on",
    "extend": "this widens the space only: the study goes on over it",
    "new": "this is another space, and so another study, whose name the diff changes",
}


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """One trial judged, the others counted."""

    study: Study
    subject: Judged
    role: str  # "the winner by fresh seeds", "the best of the search"; "" for another trial
    other: int | None  # the best of the search, where the subject is the winner and another trial
    counts: dict[str, int]  # verdict -> trials
    proposal: Proposal | None  # None: the file cannot be read any more
    trouble: str | None = None  # why not

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        found, made = self.subject, self.proposal
        return {
            "study": self.study.name,
            "trial": found.number,
            "role": self.role or None,
            "best_of_the_search": self.other if self.other is not None else next(iter(self.study.best_first()), None),
            "verdict": found.verdict,
            "findings": [{"verdict": each.verdict, "reason": each.reason} for each in found.findings],
            "params": dict(found.params),
            "value": found.value,
            "epochs": len(found.curve.objective),
            "verdicts": self.counts,
            "edits": [
                {"path": ".".join(map(str, each.trail)), "value": each.value, "why": each.why}
                for each in (made.edits if made else ())
            ],
            "refused": list(made.refused) if made else [],
            "how": made.how if made else "none",
            "file": made.file if made else None,
            "diff": made.diff if made else "",
            "target": made.target if made and made.edits else None,
            "command": self.study.settings.command(*made.command) if made and made.command else None,
            "trouble": self.trouble,
        }


def judged(study: Study) -> list[Judged]:
    """Every trial with its curve and what the rules say of it."""
    rows: defaultdict[int, list[dict[str, float]]] = defaultdict(list)
    for row in study.ledger.epochs(study.id):
        rows[row["number"]].append(columns.metrics(row))
    ours = {each["number"]: each for each in study.ledger.trials(study.id)}
    metric, planned = study.spec.metric, study.spec.trainer.get("epochs")
    found = []
    trials = study.frozen_trials()
    for trial, state in zip(trials, states(study.spec, trials), strict=True):
        epochs, ended = rows[trial.number], ours.get(trial.number)
        names = dict.fromkeys(name for each in epochs for name in each)
        classes = columns.facts(ended).get("classes") if ended is not None else None
        curve = Curve(
            objective=[each.get(metric.name, math.nan) for each in epochs],
            sign=metric.sign,
            metrics={name: [each.get(name) for each in epochs] for name in names},
            state=state,
            planned=planned if isinstance(planned, int) else None,
            error=ended["error"] if ended is not None else None,
            classes=classes if isinstance(classes, int) else None,
        )
        value = trial.values[0] if trial.state.name == "COMPLETE" else None
        params = study.params(trial)
        found.append(Judged(number=trial.number, params=params, value=value, curve=curve, findings=diagnose(curve)))
    return found


def form(study: Study, trial: int | None) -> Opinion:
    """Judge a trial and propose what to change; by default the winner by fresh seeds.

    Where none is confirmed it is the best of the search, and where none is complete the first that has ended.

    Raises:
        SpecError: there is no such trial.
        NoUsableTrial: no trial has ended.
    """
    trials = judged(study)
    winner, best = _usual(study)
    subject = _subject(study, trials, trial, winner if winner is not None else best)
    known: dict[str, Any] = {
        "subject": subject,
        "role": {best: _best_of(study), winner: "the winner by fresh seeds"}.get(subject.number, ""),
        "other": best if subject.number == winner != best else None,
        "counts": counted_verdicts(trials),
    }
    edits = advise(study.spec, trials, subject, of_study=trial is None)
    names = [row["name"] for row in study.ledger.studies()]
    made, trouble = None, None
    if study.spec.confirms is not None:
        search = study.settings.command("diagnose", study.spec.confirms.study)
        trouble = f"this study trains the best of another again, whose space file is the one to change: `{search}`"
        return Opinion(study=study, **known, proposal=None, trouble=trouble)
    try:
        made = propose(study.spec, study.row["text"], edits, names=names)
    except SpecError as error:
        trouble = f"the space file of the study does not load any more, so that no change is proposed: {error}"
    return Opinion(study=study, **known, proposal=made, trouble=trouble)


def _best_of(study: Study) -> str:
    return f"of the front, best in {study.spec.metric.name}" if study.spec.several else "the best of the search"


def _usual(study: Study) -> tuple[int | None, int | None]:
    """The winner by fresh seeds, and the best of the search; None where there is none."""
    found = confirmation.find(study)
    winner = found.winner.trial if found is not None and found.winner is not None else None
    return winner, next(iter(study.best_first()), None)


def _subject(study: Study, trials: list[Judged], number: int | None, usual: int | None) -> Judged:
    by_number = {each.number: each for each in trials}
    if number is not None:
        if number not in by_number:
            last = f"0 to {len(trials) - 1}" if trials else "none yet"
            raise SpecError(f"study {study.name!r} has no trial {number}; there are: {last}")
        return by_number[number]
    if usual is not None:
        return by_number[usual]
    ended = next((each for each in trials if each.verdict != "unfinished"), None)
    if ended is None:
        raise NoUsableTrial(f"no trial of study {study.name!r} has ended yet: there is no curve to read")
    return ended


def show(opinion: Opinion) -> None:
    """Print it for people."""
    found, study, made = opinion.subject, opinion.study, opinion.proposal
    role = f", {opinion.role}" if opinion.role else ""
    print(f"trial       {found.number} of {plain(study.name)}{role}: {found.verdict}")
    for each in found.findings:
        print(plain(f"            {each.verdict}: {each.reason}"))
    print(plain(f"parameters  {assignments(dict(found.params))}"))
    print(plain(f"value       {study.spec.metric.name} {number(found.value)}, {len(found.curve.objective)} epochs"))
    if opinion.other is not None:
        again = study.settings.command("diagnose", study.name, "--trial", str(opinion.other))
        print(plain(f"            the search's best is trial {opinion.other}: {again}"))
    print(f"all trials  {', '.join(f'{count} {verdict}' for verdict, count in opinion.counts.items())}")
    print("            read from one training a trial: another seed may look otherwise")
    if made is None:
        print(plain(f"\n{opinion.trouble}"))
        return
    for line in made.refused:
        print(plain(f"left out    {line}"))
    if not made.edits:
        print("change      nothing to propose")
        return
    for edit in made.edits:
        name = ".".join(map(str, edit.trail))
        print(plain(f"change      {name}: {_shown(edit.value)} ({edit.why})"))
    print()
    print(plain(made.diff), end="")
    print()
    print(plain(f"so          {HOW[made.how]}"))
    ask = ("diagnose", study.name, *_again(opinion))
    print(plain(f"next        {study.settings.command(*ask, '--out', made.target)}"))
    print(plain(f"            {study.settings.command(*made.command)}"))
    if made.there:
        patch = f"{study.settings.command(*ask, '--diff')} | patch -p0{shown_folder(made.folder)}"
        print(plain(f"or          {patch}  # changes {made.file} itself"))
    else:
        print(plain(f"            {made.file} as the study read it is not there any more"))


def _again(opinion: Opinion) -> list[str]:
    """The trial, where it is not the one that is taken without a word."""
    winner, best = _usual(opinion.study)
    usual = winner if winner is not None else best
    return [] if opinion.subject.number == usual or usual is None else ["--trial", str(opinion.subject.number)]


def _shown(value: Any) -> str:
    return literal(value) if not isinstance(value, list | dict) else json.dumps(value)
