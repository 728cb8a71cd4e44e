"""The checks before a new search: a failure stops it, a warning is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from hpo.cluster.placement import place
from hpo.cluster.resources import is_up
from hpo.errors import CheckFailed
from hpo.preflight.beside import Beside
from hpo.preflight.names import NAMES
from hpo.settings import Settings
from hpo.spec import SearchSpec
from hpo.wording import counted
from trainers.checks.finding import Finding

if TYPE_CHECKING:
    from hpo.preflight.battery import Measured, Task
    from hpo.preflight.checks import Checked

__all__ = ["Gate"]


class Gate:
    """The checks of one search, begun before Ray is up where it will be this machine's."""

    def __init__(
        self,
        space: SearchSpec,
        settings: Settings,
        *,
        concurrency: int | None,
        skip: frozenset[str],
        say: Callable[[str], None],
    ) -> None:
        self._space, self._settings, self._skip, self._say = space, settings, skip, say
        self._concurrency = concurrency
        self._open = ExitStack()
        self._early: Beside | None = None
        local = not settings.joins and not is_up()
        if local and "import" not in space.trainer and not skip >= set(NAMES):
            early = Beside(space, settings, concurrency=concurrency, skip=skip)
            self._early = self._open.enter_context(closing(early))

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def check(self, there: Mapping[str, float]) -> None:
        """Check, as far as something is left to be checked, for a cluster that has what `there` says.

        Raises:
            CheckFailed: a check has failed.
            SpecError: not even one trial fits the cluster.
        """
        if self._skip >= set(NAMES):
            return
        from hpo.preflight.checks import Checks  # imports Optuna, which the search needs by now too
        from hpo.preflight.work import task_of

        placement = place(self._space.resources, there, self._concurrency)
        work = task_of(self._space, self._settings.datasets, placement, skip=self._skip, fetch=True)
        if not isinstance(work, Finding):
            self._say("checking pictures, network, stores and budget; --skip-check all leaves it out")
        checks = Checks(
            space=self._space,
            settings=self._settings,
            placement=placement,
            concurrency=self._concurrency,
            skip=self._skip,
            say=self._tell,
        )
        checked = checks.run(self._early or self._far(work), ask_mlflow=False)
        self._open.close()
        if checked.measured is not None:
            from hpo.preflight.page import write

            checked = write(checked, self._space, self._settings)
        if failed := checked.of("fail"):
            raise CheckFailed(_refusal(failed, checked))
        if not isinstance(work, Finding):
            for line in _summary(checked):
                self._say(line)

    def _far(self, work: Task | Finding) -> Iterable[Finding | Measured]:
        if isinstance(work, Finding):
            return (work,)
        from hpo.preflight.remote import Far  # imports Ray, which is up

        return self._open.enter_context(closing(Far(work, self._say)))

    def _tell(self, finding: Finding) -> None:
        if finding.verdict == "warn":
            self._say(f"check {finding.name} warns: {finding.said}. To do: {finding.do}")


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
    yield f"{said}; {checked.page}" if checked.page is not None else said
    if checked.unwritten is not None:
        yield f"the page of pictures and labels could not be written: {checked.unwritten}"
    yield from (f"forecast: {each.said}" for each in checked.of("pass") if each.name == "forecast")
