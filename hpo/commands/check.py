"""Commands before a search: what it would do and whether it can, and which learning rates are worth searching."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.commands.options import Concurrency, Home, Json, Mlflow, Ray, Set, SkipCheck, Space, Storage

__all__ = ["check", "lr_find"]


def check(
    space: Space,
    overrides: Set = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Validate and print the plan; run, fetch and write nothing.")
    ] = False,
    skip_check: SkipCheck = None,
    concurrency: Concurrency = None,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Validate a space file, print the plan, and check data, network, stores and budget; exit 3 where one fails."""
    import hpo
    from hpo import spec
    from hpo.preflight.names import left_out

    skip = left_out(skip_check or [])
    parsed = spec.load(space, overrides or [])
    settings = hpo.settings_for(parsed, home=home, storage=storage, mlflow=mlflow, ray=ray)
    from hpo.commands import plan  # a file with mistakes is answered without what a plan takes

    if plan_only:
        plan.plan(parsed, settings, concurrency=concurrency, as_json=as_json)
        return
    from hpo.preflight import here

    facts = plan.plan(parsed, settings, concurrency=concurrency, as_json=as_json, prints=not as_json)
    checked = here.check(parsed, settings, skip=skip, concurrency=concurrency)
    if as_json:
        print(json.dumps({**facts, **checked.facts()}, indent=2))
    else:
        print()
        here.show(checked)
    if checked.of("fail"):
        raise typer.Exit(3)


def lr_find(
    space: Space,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value to train with, such as batch_size=128."),
    ] = None,
    low: Annotated[float, typer.Option("--from", min=0, help="First learning rate.")] = 1e-7,
    high: Annotated[float, typer.Option("--to", min=0, help="Last learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, help="Batches between them.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the page goes.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Sweep the learning rate over some batches and propose a range for the space file."""
    import hpo
    from hpo import spec
    from hpo.model.lr_find import draw, find, show
    from hpo.model.training import split_overrides

    of_file, of_training = split_overrides(overrides or [])
    parsed = spec.load(space, of_file)
    parsed.require_sources()
    settings = hpo.settings_for(parsed, home=home)

    def say(done: dict[str, Any]) -> None:
        print("step {step:4}  lr {lr:.2e}  loss {loss:.4g}".format(**done), file=sys.stderr, flush=True)

    found = find(parsed, of_training, settings, low=low, high=high, steps=steps, seed=seed, say=say)
    path = draw(found, parsed, output or settings.home / "checks" / parsed.name / "lr-find.html")
    if as_json:
        print(json.dumps({**found.facts(), "page": str(path)}, indent=2))
        return
    show(found, parsed, path)
