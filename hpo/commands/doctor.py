"""`hpo doctor` as a command."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.commands.options import Home, Json, Mlflow, Storage
from hpo.errors import SpecError
from trainers.folders import owner_only

__all__ = ["doctor"]


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
    from hpo.audit import doctor as command
    from hpo.settings import resolve

    settings = resolve(home=home, storage=storage, mlflow=mlflow)
    with owner_only():  # as the sender: what it makes anew in MLflow is this user's alone
        code = command.doctor(name, settings, fix=fix, dry_run=dry_run, as_json=as_json)
    if code:
        raise typer.Exit(code)
