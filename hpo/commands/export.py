"""`hpo export` as a command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.commands.options import Home, Json, Storage
from hpo.errors import SpecError
from hpo.wording import plain

if TYPE_CHECKING:
    from hpo.model.export import Source
    from hpo.settings import Settings

__all__ = ["export"]


def export(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="State file of a trial or training.", show_default=False)
    ] = None,
    named: Annotated[
        Path | None, typer.Option("--checkpoint", "-c", help="The same, as other commands have it.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="The winner of a study instead.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With --study: that trial, not the winner.")] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="model.onnx: pictures in, probabilities out; compared with PyTorch.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="model.int8.onnx beside it, with size, latency and accuracy measured.")
    ] = False,
    torch: Annotated[bool, typer.Option("--torch", help="model.safetensors and config.json.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write into; by default one in exports/.")] = None,
    home: Home = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write a trained network to files for use elsewhere: ONNX, 8-bit ONNX, safetensors."""
    from hpo import settings
    from hpo.model import export as command

    given = [each for each in (checkpoint, named, study) if each is not None]
    if len(given) != 1:
        raise SpecError(
            "give a checkpoint, or --study NAME for the winner of a study"
            + (f"; given were {', '.join(map(str, given))}" if given else "")
        )
    if trial is not None and study is None:
        raise SpecError("--trial chooses one of a study: give --study NAME too")
    where = settings.resolve(home=home, storage=storage)
    path = checkpoint or named
    source = command.of_file(path) if path else _of_study(str(study), trial, where)
    wanted = {"onnx": onnx, "int8": int8, "torch": torch}
    result = command.export(source, [name for name in wanted if wanted[name]], folder=out, settings=where)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        command.show(result)


def _of_study(name: str, trial: int | None, where: Settings) -> Source:
    from hpo.audit import orphans
    from hpo.model.export import of_study
    from hpo.study import Study

    for line in orphans.close(where):
        print(plain(line), file=sys.stderr)
    return of_study(Study.load(name, where), trial)
