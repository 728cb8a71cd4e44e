"""From a checked space to its search, without waiting where nothing has to be waited for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from hpo.cluster.resources import cluster, joining
from hpo.errors import HpoError, Interrupted, SpecError, StudyOwned
from hpo.preflight.gate import Gate
from hpo.preflight.names import left_out
from hpo.search.progress import Progress
from hpo.settings import Settings, is_ray_job
from hpo.spec import SearchSpec
from hpo.workers.imports import uncollected

if TYPE_CHECKING:
    from hpo.store.history import Entry
    from hpo.study import Study

__all__ = ["go", "run"]


def run(
    space: SearchSpec,
    settings: Settings,
    *,
    concurrency: int | None,
    progress: bool,
    extend: str | None = None,
    warm_start: str | None = None,
    skip_checks: Sequence[str] = (),
) -> Study:
    """Create, open or extend the study and run it, a new one after its checks; arguments and errors: `hpo.run`."""
    left_out(skip_checks)  # which may name none that there is
    settings.make_home()
    shown = Progress.on_stderr() if progress else Progress.silent()
    for line in _close_others(space, settings):
        shown.note(line)
    if extend is not None and warm_start is not None:
        raise SpecError("--warm-start is for a new study, --extend for one that exists: give one of them")
    first = _first(warm_start, space, settings) if warm_start is not None else None
    for line in first.changes if first is not None else ():
        shown.note(f"warm start: {line}")
    if extend is not None:
        for line in _extend(extend, space, settings):
            shown.note(line)
    known, new = None, _is_new(space, settings)
    if not new or settings.storage_file is None:  # Ray's start hides passwords, which must be there to open a server's
        # it may be finished, owned, or over another space: that is answered at once, without Ray
        known = _open(space, settings, first)
        if known.ledger.trials(known.id):  # what has begun was checked
            return go(known, concurrency=concurrency, progress=progress)
    shown.note(joining(settings))
    return _begin(
        space,
        settings,
        lambda: known or _open(space, settings, first),
        new=new,
        skip_checks=skip_checks,
        concurrency=concurrency,
        progress=progress,
        shown=shown,
    )


def _begin(
    space: SearchSpec,
    settings: Settings,
    opened: Callable[[], Study],
    *,
    new: bool,
    skip_checks: Sequence[str],
    concurrency: int | None,
    progress: bool,
    shown: Progress,
) -> Study:
    """Bring up Ray while the study is opened, check, run; a `new` study is removed where it does not come to that."""
    checked = False
    made: list[Study] = []

    def prepared() -> Study:
        made.append(opened())
        return made[0]

    try:
        with (
            _listening() as heard,
            Gate(space, settings, concurrency=concurrency, skip=left_out(skip_checks), say=shown.note) as gate,
            cluster(space, settings, prepared, say=shown.note) as (there, study),
        ):
            if heard:
                raise KeyboardInterrupt
            _check(gate, study, there, given=skip_checks)
            checked = True
            if heard:
                raise KeyboardInterrupt
            return go(study, concurrency=concurrency, progress=progress)
    except BaseException as error:
        if new and not checked:
            for each in made:
                _forget(each)
        if isinstance(error, HpoError) and not checked and is_ray_job():  # nobody sees what it prints
            _tell_refusal(space, error, shown)
        if not isinstance(error, KeyboardInterrupt):  # before the driver took over Ctrl-C
            raise
        if new and not checked:
            raise Interrupted("interrupted before its checks had ended: type the same again") from error
        raise Interrupted(
            f"interrupted before the first trial; go on with: {settings.command('resume', space.name)}"
        ) from error


def _tell_refusal(space: SearchSpec, error: HpoError, shown: Progress) -> None:
    from hpo.search.notice import Notices

    notices = Notices(space, shown.note)
    notices.broke_off(str(error), error)
    notices.close()


def _check(gate: Gate, study: Study, there: Mapping[str, float], *, given: Sequence[str]) -> None:
    """Check a study before its first trial."""
    from hpo.store import history
    from hpo.store.lease import Lease

    gate.check(there)
    if given:
        with Lease(study) as lease:
            entry = history.Entry(what="ran without checks", changes=sorted(set(given)))
            history.add(study, lease, entry)


def _forget(study: Study) -> None:
    """Remove a study, so that a mended file may have its name, unless another driver was quicker to use it."""
    from hpo.store.lease import Lease

    with suppress(StudyOwned, SpecError), Lease(study):
        if not study.ledger.trials(study.id):
            study.delete()


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Note Ctrl-C besides raising: what is raised in a callback of Ray's start is swallowed there."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def handle(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _extend(name: str, space: SearchSpec, settings: Settings) -> list[str]:
    from hpo.editing.extension import extend  # imports Optuna

    changes = extend(name, space, settings)
    return [f"extended: {line}" for line in changes] or [f"study {name} is over this space already"]


def _first(wish: str, space: SearchSpec, settings: Settings) -> Entry | None:
    from hpo.editing.warm_start import first_entry  # imports SQLAlchemy

    return first_entry(wish, space, settings)


def _close_others(space: SearchSpec, settings: Settings) -> list[str]:
    """Close what dead drivers of other studies left; a line for each."""
    if settings.storage_file is not None and not settings.storage_file.exists():
        return []
    from hpo.audit import orphans  # imports SQLAlchemy

    return orphans.close(settings, but=space.name)


def _is_new(space: SearchSpec, settings: Settings) -> bool:
    """Whether there is no study of that name yet."""
    file = settings.storage_file
    if file is not None and not file.exists():
        return True
    from hpo.store.ledger import Ledger  # imports SQLAlchemy

    ledger = Ledger.open(settings.storage)
    try:
        return ledger.study(space.name) is None
    finally:
        ledger.engine.dispose()  # else a server's connection stays open as long as the process


def _open(space: SearchSpec, settings: Settings, first: Entry | None) -> Study:
    with uncollected():
        from hpo.study import Study

        study = Study.open(space, settings, first)
        from hpo.search import driver, tuner  # noqa: F401 - what the search will need next
    return study


def go(study: Study, *, concurrency: int | None, progress: bool) -> Study:
    """Run what is left of a study, and what confirms its winner where the file asks for that."""
    from hpo.search import driver

    driver.run(study, concurrency=concurrency, progress=progress)
    if study.spec.winner is not None:
        from hpo.winner.confirmation import confirm

        confirm(study, study.spec.winner, concurrency=concurrency, progress=progress)
    return study
