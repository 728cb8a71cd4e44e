"""A promotion as people see it."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.masking import masked
from hpo.promotion.gate import Check
from hpo.promotion.promote import Promotion
from hpo.settings import Settings
from hpo.wording import number, plain

__all__ = ["serving", "show"]


def show(found: Promotion, settings: Settings) -> None:
    """Print what the gate said, and what to type next."""
    if found.checks:
        _table(found.checks)
        print()
    if found.test is not None:
        low, high = found.test["interval"]
        print(
            f"test        accuracy {number(found.test['accuracy'])} (95% interval {number(low)} to {number(high)}) on "
            f"{found.test['pictures']} pictures; this test part was opened {_times(found.test['openings'])}"
        )
    if found.outcome == "refused":
        failed = [each.name for each in found.checks if each.outcome == "fail"]
        print(
            f"refused     trial {found.trial} of {plain(found.study)}: {', '.join(failed)}; the registry is as it was"
        )
        print(f"            `--waive {failed[0]}=REASON` passes over a check, and the reason is kept")
        return
    already = " already" if found.outcome == "unchanged" else ""
    print(
        f"promoted    version {found.version} of {plain(found.model)}, trial {found.trial}, has the alias "
        f"{plain(found.alias)}{already}"
    )
    if found.outcome == "promoted":
        before = f"version {found.previous} had it before" if found.previous else "nothing had it before"
        print(f"            {before}")
    print(f"serve       {serving(found.model, found.alias, settings)}")
    if found.previous:
        other = () if found.alias == "champion" else ("--alias", found.alias)
        print(f"back        {settings.command('rollback', found.model, *other)}")


def serving(model: str, alias: str, settings: Settings) -> str:
    """The line that serves a promoted model, for a shell."""
    # MLflow calls uvicorn by its name, which only an activated environment has
    path = "" if shutil.which("uvicorn") else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    serve = ["mlflow", "models", "serve", "-m", f"models:/{model}@{alias}", "--env-manager", "local"]
    return f"{path}MLFLOW_TRACKING_URI={shlex.quote(masked(settings.mlflow))} {shlex.join(serve)}"


def _table(checks: tuple[Check, ...]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("check", "outcome", "measured", "limit", ""):
        table.add_column(column, overflow="fold")
    for each in checks:
        said = f"{each.note}; waived: {each.waiver}" if each.waiver else each.note
        table.add_row(*map(Text, (each.name, each.outcome, _cell(each.measured), _cell(each.limit), plain(said))))
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _cell(value: float | str | None) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)
