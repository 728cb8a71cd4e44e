"""`hpo doctor`, and what every other command does first for studies whose driver died."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hpo.errors import SpecError
from hpo.options import Home, Json, Mlflow, Storage
from hpo.settings import Settings

__all__ = ["close_orphans", "doctor"]


def doctor(
    name: Annotated[str | None, typer.Argument(help="Name of the study; all studies without it.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is found, from what SQL says.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fix: only say what it would do.")] = False,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
) -> None:
    """Compare what Optuna, our tables, MLflow and the checkpoint files say; exit 0 only when all agree."""
    if dry_run and not fix:
        raise SpecError("--dry-run says what --fix would do: give both, or neither to see what there is to mend")
    from hpo import doctor as command
    from hpo.settings import resolve

    settings = resolve(home=home, storage=storage, mlflow=mlflow)
    code = command.doctor(name, settings, fix=fix, dry_run=dry_run, as_json=as_json)
    if code:
        raise typer.Exit(code)


def close_orphans(settings: Settings, *, but: str | None = None) -> Settings:
    """Close what drivers that died left open, and say so on stderr; a study that is about to be run is left to that."""
    from hpo import orphans

    for line in orphans.close(settings, but=but):
        print(line, file=sys.stderr)
    return settings
