"""Whether Optuna, our tables, MLflow and the checkpoint files say the same of every trial; reads and writes nothing.

An independent look: what is compared is read back from each store, and what should be there is worked out here anew
instead of being asked of the code that wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from hpo.audit import checkpoints, leftovers, picture
from hpo.audit.finding import Finding, Kind
from hpo.audit.snapshot import Snapshot, tally
from hpo.errors import SpecError, Unavailable
from hpo.masking import masked
from hpo.settings import Settings
from hpo.store import columns
from hpo.store.opening import gone, open_ledger
from hpo.study import Study
from hpo.tracking.reach import Reach

__all__ = ["Audit", "audit", "examine"]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found of one study."""

    study: str
    owner: str | None  # the driver at work; only what has ended was looked at
    findings: tuple[Finding, ...]
    silent: str | None = None  # why MLflow could not be asked

    @property
    def agrees(self) -> bool:
        return not self.findings and self.silent is None


def examine(name: str, settings: Settings, reach: Reach | None = None) -> Audit:
    """The audit of a study that may be damaged as a whole. Nothing is written.

    Raises:
        SpecError: there is none of that name.
    """
    ledger = open_ledger(settings, reading=True)
    row = ledger.study(name)
    if row is not None and (damaged := _damaged(row)):
        return _only(name, Finding(study=name, trial=None, kind="study", what=damaged, mend=None))
    if row is not None and not _optuna_has(ledger.engine, name):
        begun = bool(ledger.trials(row["id"]))
        what, mend = (gone(name, settings), None) if begun else ("Optuna does not have it", "makes it")
        return _only(name, Finding(study=name, trial=None, kind="study", what=what, mend=mend))
    try:
        return audit(Study.load(name, settings, reading=True), reach=reach)
    except SpecError as error:
        if row is None:
            raise
        return _only(name, Finding(study=name, trial=None, kind="study", what=f"cannot be opened: {error}", mend=None))


def audit(study: Study, *, held: bool = False, reach: Reach | None = None) -> Audit:
    """Look at a study; `held`: the caller holds its lease. Of one that runs only what has ended is looked at.

    `reach` knows of MLflows that were asked before.
    """
    seen = Snapshot.take(study, held=held)
    files = list(checkpoints.compare(seen))
    files += leftovers.compare(seen, checkpoints.unsound(seen, files))
    findings = [*_outbox(seen), *_orphans(seen), *_trials(seen), *files]
    silent = None
    try:
        findings += picture.compare(seen, reach or Reach())
    except Unavailable as error:
        silent = str(error)
    return Audit(study=study.name, owner=seen.owner, findings=tuple(findings), silent=silent)


def _damaged(row: RowMapping) -> str | None:
    try:
        columns.canonical(row)
    except Unavailable as error:
        return str(error)
    return None


def _only(name: str, finding: Finding) -> Audit:
    return Audit(study=name, owner=None, findings=(finding,))


def _optuna_has(engine: sql.Engine, name: str) -> bool:
    """Looked for around Optuna, which would make its tables."""
    if not sql.inspect(engine).has_table("studies"):
        return False
    with engine.connect() as connection:
        return bool(
            connection.execute(sql.text("SELECT 1 FROM studies WHERE study_name = :name"), {"name": name}).first()
        )


def _outbox(seen: Snapshot) -> Iterator[Finding]:
    count = sum(seen.pending.values())
    if count and seen.owner is None:
        where = masked(seen.study.settings.mlflow)
        yield seen.finding(None, "outbox", f"{count} records wait for MLflow", "sends them", outbox=count, mlflow=where)


def _orphans(seen: Snapshot) -> Iterator[Finding]:
    if seen.owner is not None:
        return
    row = seen.study.row
    if seen.abandoned:
        gone = f"its driver, process {row['pid']} on {row['host']}, is gone"
        yield seen.finding(None, "orphan", gone, "gives the study back; its unfinished trials wait to go on")
    for number in sorted(seen.trials.keys() | seen.rows.keys()):
        if seen.is_open(number):
            trial, ours = seen.trials.get(number), seen.rows.get(number)
            optuna = trial.state.name if trial else "no such trial"
            tables = "no such trial" if ours is None else "open" if ours["ended"] is None else "closed"
            mend = None if trial is None else "puts it back into the queue" if optuna == "RUNNING" else "closes it"
            yield seen.finding(number, "orphan", "is open and has no driver", mend, optuna=optuna, ours=tables)


def _trials(seen: Snapshot) -> Iterator[Finding]:
    for number, what in sorted(seen.damaged.items()):
        yield seen.finding(number, "damaged", what, None)
    if seen.owner is None:
        for number, trial in seen.trials.items():
            if trial.state.is_finished() and number not in seen.rows:
                yield seen.finding(number, "trials", "is in Optuna only", None, optuna=trial.state.name)
        for number in sorted((seen.rows.keys() | seen.curves.keys()) - seen.trials.keys()):
            if not seen.is_open(number):
                yield seen.finding(number, "trials", "is in our tables only", None)
    for number in seen.settled:
        yield from _epochs(seen, number)
        yield from _tally(seen, number)
        yield from _values(seen, number)


def _epochs(seen: Snapshot, number: int) -> Iterator[Finding]:
    """Epochs that one side lacks, or of which they say different things."""
    trial, ours = seen.trials[number], seen.objective(number)
    theirs = trial.intermediate_values
    lacking = {epoch: ours[epoch] for epoch in sorted(ours.keys() - theirs.keys())}
    if lacking:
        mend = None if trial.state.is_finished() else "reports them to Optuna"  # which lets no finished trial change
        yield seen.finding(number, "epochs", f"Optuna lacks epochs {_listed(lacking)}", mend, ours=lacking)
    extra = {epoch: theirs[epoch] for epoch in sorted(theirs.keys() - ours.keys())}
    if extra:
        known = seen.curves.get(number, {}).keys() & extra.keys()
        mend = None if known else "records them with the objective alone"
        yield seen.finding(number, "epochs", f"our tables lack epochs {_listed(extra)}", mend, optuna=extra)
    for epoch in sorted(ours.keys() & theirs.keys()):
        if repr(ours[epoch]) != repr(theirs[epoch]):  # NaN is not equal to itself
            sides = {"optuna": theirs[epoch], "ours": ours[epoch]}
            yield seen.finding(number, "value", f"the objective of epoch {epoch} differs", None, **sides)


def _tally(seen: Snapshot, number: int) -> Iterator[Finding]:
    """What our tables add up of a trial against its epochs."""
    row, sign = seen.rows[number], seen.study.spec.metric.sign
    said_by_epochs = tally(seen.curves.get(number, {}), seen.objective(number), sign=sign)
    wrong = {name: value for name, value in said_by_epochs.items() if row[name] != value}
    if wrong:
        said = {name: row[name] for name in wrong}
        yield seen.finding(
            number, "tally", f"{_listed(wrong)} not as the epochs say", "corrects it", row=said, epochs=wrong
        )


def _values(seen: Snapshot, number: int) -> Iterator[Finding]:
    """How it ended."""
    trial, row = seen.trials[number], seen.rows[number]
    if trial.state.name == "COMPLETE":
        for each, value, last in zip(seen.study.spec.metrics, trial.values, seen.ended_at(number), strict=True):
            if value != last:
                of = f" of {each.name}" if seen.study.spec.several else ""
                said = f"the value{of} is not that of its last epoch"
                yield seen.finding(number, "value", said, None, optuna=value, ours=last)
    reason = trial.user_attrs.get("reason")
    if trial.state.name == "FAIL" and reason != row["error"]:
        mend = "takes Optuna's" if reason else None
        kind: Kind = "tally" if reason else "value"
        yield seen.finding(number, kind, "the reason of its failure differs", mend, optuna=reason, ours=row["error"])


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
