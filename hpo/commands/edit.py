"""Commands that change what a study has still to do."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpo.commands.options import Home, Json, Name, Storage, opened
from hpo.wording import plain

__all__ = ["retry"]


def retry(
    name: Name,
    trial: Annotated[
        list[int] | None, typer.Option(min=0, help="Number of a failed trial; all of them by default.")
    ] = None,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Put failed trials into the queue once more, with the same parameters; the next resume runs them."""
    from hpo.editing import retry as command
    from hpo.study import Study

    study = Study.load(name, opened(home, storage))
    found, again = command.retry(study, trial), study.settings.command("resume", name)
    if as_json:
        print(json.dumps({"study": name, "retried": found, "next": again if found else None}, indent=2))
        return
    for failed, number in found.items():
        print(f"trial {failed} waits in the queue again, as trial {number}")
    print(f"next        {plain(again)}" if found else f"study {name}: no trial has failed that was not run again")
