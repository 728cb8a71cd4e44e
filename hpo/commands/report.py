"""Commands to look at a study: its report, and the pages of MLflow and Optuna."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.commands.options import Home, Mlflow, Name, Quiet, Storage, opened

if TYPE_CHECKING:
    from hpo.report.ui import Pages
    from hpo.study import Study

__all__ = ["report", "ui"]

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="A free one by default.", show_default=False)]


def report(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page there, and nothing to MLflow.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the trials table instead; - prints it.", show_default=False),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same as JSON; - prints it.", show_default=False)
    ] = None,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Leave out the winner's network, which imports torch.")
    ] = False,
    no_mlflow: Annotated[
        bool, typer.Option("--no-mlflow", help="Do not put the page on the study's MLflow run.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N for the network; a GPU if there is one.")
    ] = None,
    home: Home = None,
    storage: Storage = None,
    quiet: Quiet = False,
) -> None:
    """Write what there is to see of a study into one HTML file that opens without a network."""
    from hpo.errors import SpecError
    from hpo.study import Study

    if csv is not None and csv == json:
        raise SpecError(f"--csv and --json would both go to {csv}: give one of them a file of its own, or run it twice")

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    study = Study.load(name, opened(home, storage))
    if csv is not None or json is not None:
        _tables(study, csv, json)
        return
    from hpo.report import publish
    from hpo.report.report import report as make

    path = out or publish.place(study)
    with _writing(path):
        make(study, path, say, model=not no_model, device=device)
    typer.echo(path)
    if out is None and not no_mlflow and publish.publish(study):
        say("it goes to MLflow too, as report.html of the study's run")


def _tables(study: Study, csv: Path | None, json: Path | None) -> None:
    from hpo.report import rows

    for path, table in ((csv, rows.as_csv), (json, rows.as_json)):
        if path == Path("-"):
            typer.echo(table(study), nl=False)
        elif path is not None:
            with _writing(path):
                path.write_text(table(study), encoding="utf-8")
            typer.echo(path, err=Path("-") in (csv, json))  # standard output is a table then


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file that the user named into a mistake of the command line."""
    from hpo.errors import SpecError

    try:
        yield
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror or error}") from error


def ui(
    name: Annotated[str | None, typer.Argument(help="Name of the study to open; all without it.")] = None,
    mlflow_port: Port = None,
    dashboard_port: Port = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the addresses, open nothing.")] = False,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
) -> None:
    """Open MLflow's UI and Optuna's dashboard on this machine; Ctrl-C stops both."""
    from hpo.report.ui import serve
    from hpo.study import Study

    settings = opened(home, storage, mlflow)
    study = Study.load(name, settings) if name is not None else None

    def show(pages: Pages) -> None:
        typer.echo(f"dashboard   {pages.dashboard}")
        typer.echo(f"MLflow      {pages.mlflow}")
        sys.stdout.flush()

    serve(
        study.settings if study is not None else settings,
        study,
        lambda text: print(text, file=sys.stderr, flush=True),
        show,
        mlflow_port=mlflow_port,
        dashboard_port=dashboard_port,
        browser=not no_browser,
    )
