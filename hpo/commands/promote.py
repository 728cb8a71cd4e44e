"""Commands that put a winner to use, and take it back."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated

import typer

from hpo.commands.options import Home, Json, Mlflow, Name, Quiet, Set, Storage, opened
from hpo.errors import SpecError

__all__ = ["promote", "rollback"]


def _checked(alias: str) -> str:
    """An alias that MLflow takes; it keeps `latest` and v1, v2... for itself."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias) and not re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        return alias
    raise SpecError(f"--alias {alias!r} is no alias: write letters, digits, _ and -, and neither latest nor v1")


Alias = Annotated[str, typer.Option(help="The alias that moves.", callback=_checked)]


def promote(
    name: Name,
    trial: Annotated[
        int | None, typer.Option(min=0, help="That trial, not the winner; several goals have none.")
    ] = None,
    alias: Alias = "champion",
    waive: Annotated[
        list[str] | None, typer.Option(metavar="CHECK=REASON", help="Pass over a check that fails; the reason is kept.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="An 8-bit ONNX file goes with it, and is checked.")] = False,
    device: Annotated[str | None, typer.Option(help="That scores and times it; a GPU where there is one.")] = None,
    overrides: Set = None,
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score the winner on the test part, put it through the gate, and register it in MLflow under an alias."""
    from hpo.promotion import gate
    from hpo.promotion.promote import Wish, promote
    from hpo.study import Study
    from hpo.wording import plain

    waived = gate.waivers(waive or [])
    for override in overrides or []:
        if not override.startswith("gate."):
            raise SpecError(f"--set {override}: a promotion reads gate.* alone, such as gate.latency_ms=200")
    study = Study.load(name, opened(home, storage, mlflow), overrides or [])
    wish = Wish(trial=trial, alias=alias, waived=waived, device=device, int8=int8)

    def say(text: str) -> None:
        if not quiet:
            print(plain(text), file=sys.stderr)

    found = promote(study, wish, say)
    if as_json:
        print(json.dumps(found.facts(), indent=2))
    else:
        from hpo.promotion import summary as promoted

        promoted.show(found, study.settings)
    if found.outcome == "refused":
        raise typer.Exit(3)


def rollback(
    name: Name,
    alias: Alias = "champion",
    home: Home = None,
    storage: Storage = None,
    mlflow: Mlflow = None,
    as_json: Json = False,
) -> None:
    """Move the alias of a promoted model back to the version that had it before."""
    from hpo.promotion.rollback import rollback as run
    from hpo.study import Study

    found = run(Study.load(name, opened(home, storage, mlflow)), alias)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['model']}@{found['alias']} is version {found['to']} again; it was version {found['from']}")
