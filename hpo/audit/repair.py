"""`hpo doctor --fix`: what an audit found, mended from SQL, under the study's lease."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence

from hpo.audit import checkpoints, leftovers, picture, rebuild
from hpo.audit.agreement import Audit, audit
from hpo.audit.finding import Finding
from hpo.audit.orphans import put_back
from hpo.audit.rebuild import Record
from hpo.audit.snapshot import Snapshot, tally
from hpo.errors import Unavailable
from hpo.search.recovery import report_missing
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.tracking.process import task_of
from hpo.tracking.projection import Projection, Task
from hpo.tracking.reach import Reach
from hpo.tracking.runs import Run, Shown, answering
from hpo.tracking.sender import only_one

__all__ = ["mend"]

PASSES = 4  # mending one thing may show another, such as a run that was restored and lacks its last epochs
DRAWN = ("experiment", "run", "picture", "replace")  # what is wrong in MLflow


def mend(study: Study, reach: Reach | None = None) -> tuple[list[Finding], Audit]:
    """Mend what can be mended; returns what was, and the audit of what is left.

    Raises:
        StudyOwned: a driver is at work on it; nothing was written.
        Unavailable: the database does not answer.
    """
    reach = reach or Reach()
    found: list[Finding] = list(audit(study, reach=reach).findings)
    cleared: set[int | None] = set()  # a repair removes no file of a trial whose record it has cleared
    with Lease(study):
        if any(each.kind == "orphan" for each in found):
            with contextlib.suppress(Unavailable):  # an epoch that cannot be read, which the audit says
                put_back(study)
        for _ in range(PASSES):
            answers = _send(study, reach)
            there = audit(study, held=True, reach=reach).findings
            now = [each for each in there if _is_to_mend(each, cleared)]
            found += [each for each in now if each not in found]
            if not now or not (answers or any(each.kind not in DRAWN for each in now)):
                break
            cleared |= {each.trial for each in now if each.kind == "checkpoint"}
            _act(study, reach, now, cleared | {each.trial for each in there if each.kind == "checkpoint"})
        left = audit(study, held=True, reach=reach)
    remain = {_key(each) for each in left.findings}
    return [each for each in found if each.mend and _key(each) not in remain], left


def _is_to_mend(finding: Finding, cleared: Collection[int | None]) -> bool:
    return (
        bool(finding.mend) and finding.kind != "outbox" and (finding.kind != "leftover" or finding.trial not in cleared)
    )


def _key(finding: Finding) -> tuple[int | None, str, str]:
    # how many records wait may have changed, and they still do
    return finding.trial, finding.kind, "" if finding.kind == "outbox" else finding.what


def _send(study: Study, reach: Reach) -> bool:
    """Send what waits in the outbox; returns whether MLflow answers."""
    if not study.knows_mlflow:
        return False
    if not study.ledger.pending_count(study.id):
        return True
    task = Task(**task_of(study))
    try:
        reach.require(task.mlflow)
        with answering(task.mlflow), only_one(task):
            projection = Projection(task)
            while projection.send():
                pass
    except Unavailable:  # the audit will say so
        return False
    return True


def _act(study: Study, reach: Reach, found: Sequence[Finding], doubtful: Collection[int | None]) -> None:
    seen = Snapshot.take(study, held=True)
    for each in found:
        if each.kind == "checkpoint" and each.trial is not None:
            study.ledger.forget_checkpoint(study.id, each.trial)
    for number in {each.trial for each in found if each.kind in ("epochs", "tally")}:
        if number is not None:
            _agree(seen, number)
    if any(each.kind == "leftover" for each in found):
        _remove(seen, doubtful)
    drawn = [each for each in found if each.kind in DRAWN]
    if drawn:
        _draw(seen, picture.show(seen, reach), drawn)


def _agree(seen: Snapshot, number: int) -> None:
    """Give each side the epochs that it lacks, and our tables their sums."""
    study, trial = seen.study, seen.trials[number]
    if not trial.state.is_finished():
        report_missing(study, trial)
    known, name = seen.curves.get(number, {}), study.spec.metric.name
    curve = seen.objective(number)
    for epoch, value in sorted(trial.intermediate_values.items()):
        if epoch not in known:
            attempt = seen.rows[number]["attempt"]
            study.ledger.add_epoch(study.id, number, epoch=epoch, attempt=attempt, metrics={name: value})
            curve[epoch] = value
    reason = trial.user_attrs.get("reason") or seen.rows[number]["error"]
    study.ledger.update_trial(study.id, number, error=reason, **tally(known, curve, sign=study.spec.metric.sign))


def _remove(seen: Snapshot, doubtful: Collection[int | None]) -> None:
    for path in list(leftovers.worthless(seen, {*doubtful, *checkpoints.unsound(seen, ())})):
        path.unlink()
        with contextlib.suppress(OSError):  # other files are in it
            path.parent.rmdir()


# -- MLflow -----------------------------------------------------------------------------------------------------------


def _draw(seen: Snapshot, shown: Shown, found: Sequence[Finding]) -> None:
    """Bring MLflow's runs in order, and post again what they lack."""
    study = seen.study
    restore = [run for each in found for run in _restored(seen, shown, each)]
    delete = {run.id: run for each in found for run in _deleted(seen, shown, each)}
    shown.restore_and_delete(restore, list(delete.values()))
    if any(each.kind == "experiment" for each in found):
        numbers: set[int | None] = set() if shown.deleted else {*seen.settled, None}
    else:
        done = {each.trial for each in found if each.kind == "run"} - _missing(shown, found)
        numbers = {each.trial for each in found} - done
    for number in sorted(each for each in numbers if each is not None):
        study.ledger.post_all(study.id, number, rebuild.of_trial(study, seen.trials[number], seen.rows[number]))
    if None in numbers:
        study.ledger.post_all(study.id, None, [*_best_so_far(seen, shown), *rebuild.of_study(study)])


def _missing(shown: Shown, found: Iterable[Finding]) -> set[int | None]:
    """Of whom MLflow has no run at all, deleted ones included."""
    numbers = {each.trial for each in found}
    return {number for number in numbers if not shown.of(number) and not shown.of(number, deleted=True)}


def _restored(seen: Snapshot, shown: Shown, finding: Finding) -> Iterator[Run]:
    binned = shown.of(finding.trial, deleted=True)
    if finding.kind == "run" and binned and not shown.of(finding.trial):
        yield picture.keep(seen, binned, finding.trial)


def _deleted(seen: Snapshot, shown: Shown, finding: Finding) -> list[Run]:
    active = shown.of(finding.trial)
    if finding.kind == "replace":
        return active
    if finding.kind != "run" or not active:
        return []
    if finding.trial is not None and finding.trial not in seen.rows:
        return active
    stays = picture.keep(seen, active, finding.trial)
    return [run for run in active if run.id != stays.id]


def _best_so_far(seen: Snapshot, shown: Shown) -> list[Record]:
    """The points of the best value's curve that the study's run lacks."""
    active = shown.of(None)
    there = shown.curve(active[0], f"best/{seen.study.spec.metric.name}") if active else []
    points = rebuild.best_points(seen.study)
    lacking = [point for point in points if (point["epoch"], *point["metrics"].values()) not in there]
    last = max([step for step, _ in there] + [point["epoch"] for point in lacking], default=0)
    if points and points[-1]["epoch"] < last:  # what others wrote after it cannot be unsaid
        lacking.append({**points[-1], "epoch": last + 1})
    return [("epoch", point) for point in lacking]
