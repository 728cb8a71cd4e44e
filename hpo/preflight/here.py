"""The checks as a command: in this process, or in the cluster that an address names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.cluster.placement import place
from hpo.preflight.battery import Measured, Task, carry_out
from hpo.preflight.checks import Checked, Checks
from hpo.preflight.work import machine, task_of
from hpo.settings import Settings
from hpo.spec import SearchSpec
from hpo.tables import printed
from hpo.wording import counted, plain
from trainers.checks.finding import Finding

__all__ = ["check", "show"]

UNREAD = r"\d+ of \d+ pictures cannot be read"
"""A warning of the reader, which `files` tells."""
STYLES = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


def check(space: SearchSpec, settings: Settings, *, skip: frozenset[str], concurrency: int | None) -> Checked:
    """Check a search; nothing is fetched, no study is made. The page goes into the home folder.

    Raises:
        SpecError: not even one trial fits.
        Unavailable: the cluster does not answer.
    """
    console = Console(stderr=True, highlight=False)

    def tell(finding: Finding) -> None:
        console.print(Text(f"{finding.name}: {finding.verdict}", style="dim"))

    with _machine(space, settings) as there:
        placement = place(space.resources, there, concurrency)
        checks = Checks(
            space=space, settings=settings, placement=placement, concurrency=concurrency, skip=skip, say=tell
        )
        work = task_of(space, settings.datasets, placement, skip=skip, fetch=False)
        with _at_work(work, settings, lambda text: console.print(Text(text))) as found:
            checked = checks.run(found, ask_mlflow=True)
    if checked.measured is None:
        return checked
    from hpo.preflight.page import write

    return write(checked, space, settings)


@contextmanager
def _machine(space: SearchSpec, settings: Settings) -> Iterator[Mapping[str, float]]:
    """What there is to run trials on."""
    if settings.joins:
        from hpo.cluster.resources import cluster  # imports Ray

        with cluster(space, settings, lambda: None) as (there, _):
            yield there
        return
    yield machine(space)


@contextmanager
def _at_work(
    work: Task | Finding, settings: Settings, say: Callable[[str], None]
) -> Iterator[Iterable[Finding | Measured]]:
    if isinstance(work, Finding):
        yield (work,)
    elif settings.joins:
        from hpo.preflight.remote import Far

        with closing(Far(work, say)) as far:
            yield far
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=UNREAD, category=UserWarning)
            yield carry_out(work)


def show(checked: Checked) -> None:
    """Print the table of findings, then what failed in a line."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("check", "", "found"):
        table.add_column(column)
    for each in checked.findings:
        said = Text(plain(each.said))
        if each.do:
            said.append(plain(f"\nto do: {each.do}"), style="dim")
        table.add_row(each.name, Text(each.verdict, style=STYLES[each.verdict]), said)
    passed, warned, failed = (checked.of(verdict) for verdict in ("pass", "warn", "fail"))
    counts = f"{len(passed)} passed, {counted(len(warned), 'warning')}, {len(failed)} failed"
    printed(table, "", Text(counts, style="bold"))
    if checked.page is not None:
        print(f"pictures and labels: {plain(str(checked.page))}")
    if checked.unwritten is not None:
        print(f"the page of pictures and labels could not be written: {plain(checked.unwritten)}")
