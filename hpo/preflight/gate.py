"""The checks before a new search: a failure stops it, a warning is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from hpo.cluster.placement import Placement, place
from hpo.errors import CheckFailed
from hpo.preflight.battery import Measured, Task
from hpo.preflight.checks import Checked, Checks, task_of
from hpo.preflight.names import NAMES
from hpo.settings import Settings
from hpo.spec import SearchSpec
from hpo.wording import counted
from trainers.checks.finding import Finding

__all__ = ["gate"]


def gate(
    space: SearchSpec,
    settings: Settings,
    there: Mapping[str, float],
    *,
    concurrency: int | None,
    skip: frozenset[str],
    say: Callable[[str], None],
) -> None:
    """Check a search on the cluster that has what `there` says, as far as `skip` leaves something.

    Raises:
        CheckFailed: a check has failed.
        SpecError: not even one trial fits the cluster.
    """
    if skip >= set(NAMES):
        return
    placement = place(space.resources, there, concurrency)
    work = task_of(space, settings, placement, skip=skip, fetch=True)
    if isinstance(work, Task):
        say("checking pictures, network, stores and budget; --skip-check all leaves it out")

    def tell(finding: Finding) -> None:
        if finding.verdict == "warn":
            say(f"check {finding.name} warns: {finding.said}. To do: {finding.do}")

    checks = Checks(space=space, settings=settings, placement=placement, skip=skip, say=tell)
    with _at_work(work, placement) as found:
        checked = checks.run(found, ask_mlflow=False)
    if checked.measured is not None:
        from hpo.preflight.page import write

        checked = write(checked, space, settings)
    failed = checked.of("fail")
    if failed:
        raise CheckFailed(_refusal(failed, checked))
    if isinstance(work, Task):
        for line in _summary(checked):
            say(line)


@contextmanager
def _at_work(work: Task | Finding, placement: Placement) -> Iterator[Iterator[Finding | Measured]]:
    if isinstance(work, Finding):
        yield iter((work,))
        return
    from hpo.preflight.remote import Far  # imports Ray, which is up

    with closing(Far(work, slots=placement.slots)) as far:
        yield iter(far)


def _refusal(failed: list[Finding], checked: Checked) -> str:
    lines = [f"check {each.name} failed: {each.said}\n  to do: {each.do}" for each in failed]
    if checked.page is not None:
        lines.append(f"what was looked at: {checked.page}")
    names = " ".join(f"--skip-check {each.name}" for each in failed)
    return "\n".join([*lines, f"nothing was started; to run it all the same: {names}, which is kept on record"])


def _summary(checked: Checked) -> Iterator[str]:
    warned = checked.of("warn")
    names = f" ({', '.join(each.name for each in warned)})" if warned else ""
    said = f"checks: {len(checked.of('pass'))} passed, {counted(len(warned), 'warning')}{names}"
    yield f"{said}; {checked.page}"
    yield from (
        f"forecast: {each.said}" for each in checked.findings if each.name == "forecast" and each.verdict == "pass"
    )
