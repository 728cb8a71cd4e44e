"""Commands about the winner of a search."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from hpo.commands.options import Concurrency, Home, Insecure, Json, Mlflow, Name, Quiet, Ray, Storage, opened

__all__ = ["best", "compare", "confirm", "reproduce"]


def best(
    name: Name,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Print the path of its checkpoint alone.")] = False,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show the winner of a study and its checkpoint, or its best trial where none is confirmed.

    Of several goals it is the front, and with --checkpoint a path for each of its trials.
    """
    from hpo.commands import summary
    from hpo.study import Study

    study = Study.load(name, opened(home, storage))
    if checkpoint:
        from hpo.winner.candidate import candidate

        which = [each.number for each in study.best_trials] if study.spec.several else [None]
        for number in which:
            typer.echo(candidate(study, number).checkpoint)
        return
    summary.best(study, as_json=as_json)


def confirm(
    name: Name,
    top: Annotated[
        int | None, typer.Option(min=1, help="So many of the best trials; 3, or what the file says.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each; 3, or what the file says.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each training; as many as in the search.")] = None,
    concurrency: Concurrency = None,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    ray: Ray = None,
    insecure_cluster: Insecure = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the best trials of a study again with fresh seeds, and choose the winner by the mean."""
    opened(home, storage, mlflow, but=name)
    import hpo
    from hpo.commands import summary
    from hpo.space.sections import Winner
    from hpo.winner.confirmation import confirm as run

    study = hpo.load(name, home=home, storage=storage, mlflow=mlflow, ray=ray, insecure_cluster=insecure_cluster)
    study.spec.require_sources()
    given = {key: value for key, value in (("top", top), ("seeds", seeds), ("epochs", epochs)) if value is not None}
    wish = (study.spec.winner or Winner()).model_copy(update=given)
    found = run(study, wish, concurrency=concurrency, progress=not quiet)
    summary.confirmed(found, metric=study.spec.metric.name, as_json=as_json)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A study, for its winner, or NAME:N for its trial N.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another study, or another trial.")],
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Tell what differs between two studies or trials, and which is better where that can be told."""
    from hpo.winner import comparison as command

    command.show(command.compare(a, b, opened(home, storage)), as_json=as_json)


def reproduce(
    name: Name,
    trial: Annotated[int, typer.Option(min=0, help="Number of the trial.", show_default=False)],
    home: Home = None,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a trial again from its record alone; tell whether the same comes of it, and what is not as it was."""
    from hpo.study import Study
    from hpo.winner import reproduce as command
    from hpo.wording import number

    study = Study.load(name, opened(home, storage))

    def say(epoch: int, value: float | None) -> None:
        if not quiet:
            print(f"epoch {epoch:4d}  {study.spec.metric.name} {number(value)}", file=sys.stderr)

    found = command.reproduce(study, trial, say)
    if as_json:
        print(json.dumps(found.facts(), indent=2))
    else:
        command.show(found)
    if found.verdict == "different":
        raise typer.Exit(3)
