"""`hpo inspect` as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpo.commands.options import Home, Json, Storage, opened
from hpo.errors import SpecError
from hpo.wording import plain

__all__ = ["inspect"]


def inspect(
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", "-c", help="State file of a trial or training.", show_default=False)
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="The winner of a study instead.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With --study: that trial, not the winner.")] = None,
    pictures: Annotated[
        int, typer.Option(min=1, max=64, help="Validation pictures to look at, of all classes in turn.")
    ] = 8,
    epochs: Annotated[
        int, typer.Option(min=0, help="Train its first N epochs again, to see predictions change; 0: none.")
    ] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU where there is one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default in reports/ of the home folder.")] = None,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Look into a trained network: filters, activations, gradient maps, its most confident mistakes; one HTML page.

    Validation pictures are looked at, test pictures never.
    """
    from hpo import settings
    from hpo.model import inspection as command
    from hpo.model.export import of_file
    from hpo.model.inspection_page import drawn_page

    if (checkpoint is None) == (study is None):
        raise SpecError("give --checkpoint FILE, or --study NAME for the winner of a study")
    if trial is not None and study is None:
        raise SpecError("--trial chooses one of a study: give --study NAME too")
    if study is None:
        assert checkpoint is not None
        where = settings.resolve(home=home, storage=storage)
        subject, name = command.Subject(source=of_file(checkpoint)), f"{checkpoint.parent.name}-{checkpoint.stem}"
    else:
        from hpo.study import Study

        where = opened(home, storage)
        subject = command.of_trial(Study.load(study, where), trial)
        name = f"{study}-trial-{subject.source.trial}"
    found = command.inspect(subject, pictures=pictures, epochs=epochs, device=device, settings=where)
    path = out or where.home / "reports" / f"inspect-{name}.html"
    try:
        drawn_page(found).write(path)
    except OSError as error:
        raise SpecError(f"{path} cannot be written to: {error.strerror or error}") from error
    if as_json:
        print(json.dumps({"page": str(path), **found.facts()}, indent=2))
        return
    sure = found.confidence
    print(f"accuracy    {sure['accuracy']:.4f} of {found.validated} validation pictures, {found.wrong} wrong")
    print(f"confidence  {sure['mean']:.4f} on average")
    print(plain(f"page        {path}"))
