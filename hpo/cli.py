"""The command line: parse, call, print. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.commands import archive as cli_archive
from hpo.commands import check as cli_check
from hpo.commands import data as cli_data
from hpo.commands import diagnose as cli_diagnose
from hpo.commands import doctor as cli_doctor
from hpo.commands import edit as cli_edit
from hpo.commands import export as cli_export
from hpo.commands import inspect as cli_inspect
from hpo.commands import listing as cli_listing
from hpo.commands import models as cli_models
from hpo.commands import promote as cli_promote
from hpo.commands import report as cli_report
from hpo.commands import submit as cli_submit
from hpo.commands import train as cli_train
from hpo.commands import winner as cli_winner
from hpo.commands.options import (
    Concurrency,
    Extend,
    Gpus,
    Home,
    Insecure,
    Json,
    Mlflow,
    Name,
    Quiet,
    Ray,
    SamplerType,
    Seed,
    Set,
    SkipCheck,
    Space,
    Storage,
    Trials,
    WarmStart,
    opened,
    overriding,
)
from hpo.errors import HpoError, Unavailable
from hpo.masking import masked, redacted
from hpo.wording import plain

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["app", "main"]

app = typer.Typer(
    help="Hyperparameter search: Optuna decides, Ray Tune places, MLflow records.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_data.app, name="data")
app.add_typer(cli_models.app, name="models")


@app.command()
def run(
    space: Space,
    overrides: Set = None,
    trials: Trials = None,
    sampler: SamplerType = None,
    seed: Seed = None,
    gpus: Gpus = None,
    concurrency: Concurrency = None,
    extend: Extend = None,
    warm_start: WarmStart = None,
    skip_check: SkipCheck = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and print the plan, or what --extend would change.")
    ] = False,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    ray: Ray = None,
    insecure_cluster: Insecure = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the search that a space file describes; resume it if it was begun."""
    everything = overriding(overrides, trials=trials, sampler=sampler, seed=seed, gpus=gpus)
    import hpo

    if dry_run:
        from hpo import spec

        parsed = spec.load(space, everything)
        where = hpo.settings_for(parsed, home=home, storage=storage, mlflow=mlflow, ray=ray)
        if extend is not None:
            from hpo.editing.extension import preview

            preview(extend, parsed, where, as_json=as_json)
            return
        first = None
        if warm_start is not None:
            from hpo.editing.warm_start import first_entry

            first = first_entry(warm_start, parsed, where)
        from hpo.commands.plan import plan

        plan(parsed, where, concurrency=concurrency, as_json=as_json)
        if first is not None:
            typer.echo("\n".join(f"warm start: {line}" for line in first.changes), err=True)
        return
    study = hpo.run(
        space,
        overrides=everything,
        home=home,
        storage=storage,
        mlflow=mlflow,
        ray=ray,
        insecure_cluster=insecure_cluster,
        concurrency=concurrency,
        progress=not quiet,
        extend=extend,
        warm_start=warm_start,
        skip_checks=skip_check or (),
    )
    from hpo.commands.summary import closing  # imports Optuna, which `hpo.run` does while Ray starts

    closing(study, as_json=as_json)


@app.command()
def resume(
    name: Name,
    overrides: Set = None,
    concurrency: Concurrency = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, and which checkpoints would be removed; change nothing.")
    ] = False,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    ray: Ray = None,
    insecure_cluster: Insecure = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with a study that was interrupted, killed, or has budget left."""
    if dry_run:
        from hpo import settings
        from hpo.commands.plan import plan_again

        where = settings.resolve(home=home, storage=storage, mlflow=mlflow, ray=ray, insecure_cluster=insecure_cluster)
        plan_again(name, where, overrides or [], concurrency=concurrency, as_json=as_json)
        return
    opened(home, storage, mlflow, but=name)
    import hpo
    from hpo.commands.summary import closing

    study = hpo.load(
        name,
        overrides=overrides or [],
        home=home,
        storage=storage,
        mlflow=mlflow,
        ray=ray,
        insecure_cluster=insecure_cluster,
    )
    closing(study.resume(concurrency=concurrency, progress=not quiet), as_json=as_json)


@app.command()
def stop(name: Name, home: Home = None, storage: Storage = None) -> None:
    """Ask the driver of a running study to stop; what it has recorded stays."""
    from hpo.store.lease import holder
    from hpo.study import Study

    study = Study.load(name, opened(home, storage))
    owner = holder(study.row)
    if owner is None:
        typer.echo(f"study {name} is not running")
        return
    study.ledger.update_study(study.id, stop=True)
    typer.echo(f"asked {owner} to stop")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the study; all studies without it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow a running search until it ends.")] = False,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show where a study stands; without a name as `hpo list`."""
    if watch:
        from hpo.commands.watch import watch as follow

        follow(name, opened(home, storage))
        return
    if name is None:
        cli_listing.list_studies(home, storage, as_json)
        return
    from hpo.commands import summary

    summary.status(name, opened(home, storage), as_json=as_json)


@app.command()
def trials(name: Name, home: Home = None, storage: Storage = None, as_json: Json = False) -> None:
    """List the trials of a study."""
    from hpo.commands import summary
    from hpo.study import Study

    summary.trials(Study.load(name, opened(home, storage)), as_json=as_json)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
) -> None:
    """Delete a study: its trials, its checkpoints, its runs in MLflow; with it what confirms its winner."""
    from hpo.study import Study
    from hpo.winner import confirmation

    study = Study.load(name, opened(home, storage, mlflow, but=name))
    if not yes:
        count = sum(study.counts().values())
        typer.confirm(f"Delete study {name} with {count} trials, its checkpoints and its runs in MLflow?", abort=True)
    confirmed = confirmation.find(study)
    for each in ([confirmed.study] if confirmed else []) + [study]:
        _delete(each)
        typer.echo(f"deleted study {each.name}")


def _delete(study: Study) -> None:
    from hpo.report.publish import place
    from hpo.store.lease import Lease
    from hpo.tracking.process import task_of
    from hpo.tracking.projection import Task, delete_runs
    from hpo.tracking.runs import answering
    from hpo.tracking.sender import only_one

    with Lease(study) as lease, only_one(Task(**task_of(study))):  # a sender would make the experiment anew
        lease.outcome = f"deleted in part: `{study.settings.command('delete', study.name)}` goes on with it"
        with answering(study.settings.mlflow):
            delete_runs(study.name, study.row["uid"], study.settings.mlflow)
        lease.renew()
        place(study).unlink(missing_ok=True)
        study.delete()


app.command("lr-find")(cli_check.lr_find)
app.command("list")(cli_listing.list_studies)
app.command("export-study")(cli_archive.export_study)
app.command("import-study")(cli_archive.import_study)
for command in (
    cli_submit.submit,
    cli_check.check,
    cli_winner.best,
    cli_winner.confirm,
    cli_winner.reproduce,
    cli_promote.promote,
    cli_promote.rollback,
    cli_winner.compare,
    cli_report.report,
    cli_report.ui,
    cli_edit.retry,
    cli_doctor.doctor,
    cli_train.train,
    cli_train.evaluate,
    cli_train.predict,
    cli_export.export,
    cli_inspect.inspect,
    cli_diagnose.diagnose,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        import hpo

        typer.echo(f"hpo {hpo.__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _debug
    _debug = debug


_debug = False


def _of_database(error: Exception) -> str | None:
    """What a database said that is damaged, away or not to be written to; Optuna raises an error of its own from it."""
    from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, ProgrammingError

    found = next((each for each in (error, error.__cause__) if isinstance(each, DatabaseError)), None)
    ours = isinstance(found, DataError | IntegrityError | ProgrammingError)  # a fault of the statement
    return None if found is None or ours else masked(str(found.orig).strip())


def main() -> None:
    """Run a command; an error becomes a message on stderr and its exit code."""
    try:
        app()
    except HpoError as error:
        _tell(error, str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever nobody foresaw, told without a traceback
        if said := _of_database(error):
            _tell(error, redacted(f"the database does not answer as it should: {said}"))
            sys.exit(Unavailable.exit_code)
        said = redacted(f"{type(error).__name__}: {error}")
        _tell(error, f"{said}\nThis is a fault of hpo; `hpo --debug ...` shows where.")
        sys.exit(HpoError.exit_code)


def _tell(error: Exception, text: str) -> None:
    if _debug:
        text = redacted("".join(traceback.format_exception(error)))
    print(plain(text), file=sys.stderr)
