"""`hpo diagnose` as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpo.commands.options import Home, Json, Name, Storage, opened
from hpo.errors import SpecError
from hpo.wording import without_nan

__all__ = ["diagnose"]


def diagnose(
    name: Name,
    trial: Annotated[int | None, typer.Option(min=0, help="Number of a trial; by default the winner.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print the diff alone, for `patch -p0`.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the changed space file there; nothing is overwritten.")
    ] = None,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Read the curves of a study: diverged, overfit, slow, healthy and so on; propose a change of its space file.

    The diff is of the file as the study read it; nothing is changed.
    """
    from hpo.report import opinion as command
    from hpo.study import Study

    found = command.form(Study.load(name, opened(home, storage)), trial)
    if out is not None:
        text = found.proposal.after if found.proposal is not None and found.proposal.edits else None
        if text is None:
            raise SpecError(found.trouble or f"there is nothing to propose for {name}, so that {out} is not written")
        try:
            with out.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError as error:
            raise SpecError(f"{out} cannot be written: {error.strerror or error}") from error
    if as_json:
        print(json.dumps(without_nan(found.facts()), indent=2))
    elif diff:
        print(found.proposal.diff if found.proposal is not None else "", end="")
    else:
        command.show(found)
