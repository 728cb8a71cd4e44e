"""`hpo export-study` and `hpo import-study` as commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.commands.options import Home, Mlflow, Name, Storage, opened
from hpo.wording import counted, plain

__all__ = ["export_study", "import_study"]

CLOSING_SECONDS = 30.0  # for MLflow to take the records


def export_study(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="File or folder to write; by default NAME.hpo.zip here.")] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints/--no-checkpoints", help="Take the checkpoints along.")
    ] = True,
    home: Home = None,
    storage: Storage = None,
) -> None:
    """Write all of a study into one file: its space, trials, records and checkpoints, for `hpo import-study`."""
    from hpo.archive.export import export
    from hpo.study import Study

    found = export(Study.load(name, opened(home, storage)), out, checkpoints=checkpoints)
    for line in found.left_out:
        print(plain(f"left out: {line}"), file=sys.stderr)
    if not checkpoints:
        print("without checkpoints: trials that wait to go on will start over", file=sys.stderr)
    what = f"{counted(found.trials, 'trial')}, {counted(found.checkpoints, 'checkpoint')}"
    print(plain(f"{found.path}  {' and '.join(found.studies)}: {what}, {found.path.stat().st_size:,} bytes"))


def import_study(
    file: Annotated[Path, typer.Argument(help="What `hpo export-study` wrote.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name that the study is to have here.")
    ] = None,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
) -> None:
    """Put the study of a file into this database and MLflow; `hpo resume` goes on with it."""
    from hpo.archive.restore import restore
    from hpo.tracking.process import Tracking

    found = restore(file, opened(home, storage, mlflow), name)
    search = found.studies[0]
    for study in found.studies:
        print(plain(f"imported study {study.name}: {counted(len(study.frozen_trials()), 'trial')}"))
    print(f"            {counted(found.checkpoints, 'checkpoint')}")
    if waiting := sum(Tracking(study).close(CLOSING_SECONDS) for study in found.studies):
        again = search.settings.command("doctor", search.name, "--fix")
        print(plain(f"{waiting} records wait for MLflow; {again} sends them"), file=sys.stderr)
    print(f"next        {plain(search.settings.command('resume', search.name))}")
