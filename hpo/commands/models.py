"""`hpo models`: the networks that a space file can name, and what one of them is made of and costs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.commands.options import Json
from hpo.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from trainers.describe import Description

__all__ = ["app"]

app = typer.Typer(help="List the networks; describe one.", invoke_without_command=True)

LISTED_SHAPE = (3, 32, 32)
LISTED_CLASSES = 10


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the networks with their parameters for pictures of 3x32x32 in 10 classes; `describe` shows one."""
    if context.invoked_subcommand is not None:
        return
    from trainers.config import model_names
    from trainers.describe import count_parameters

    counts = {name: count_parameters(name, LISTED_SHAPE, LISTED_CLASSES) for name in model_names()}
    if as_json:
        print(json.dumps([{"model": name, "parameters": count} for name, count in counts.items()], indent=2))
        return
    table = _table("model", right="parameters")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    _print(table)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name of the network.", show_default=False)],
    shape: Annotated[
        str, typer.Option("--input", metavar="CxHxW", help="Colours, height and width of a picture.")
    ] = "3x32x32",
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = LISTED_CLASSES,
    depth: Annotated[int | None, typer.Option(help="Of densenet_bc: layers with weights, 6n + 4.")] = None,
    growth: Annotated[int | None, typer.Option(min=1, help="Of densenet_bc: channels that each layer adds.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Of the lightweight CNNs: channels of the first convolution.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a network's layers with shapes and parameters, its operations, and the memory that training it takes."""
    options = {"depth": depth, "growth": growth, "width": width}
    given = {key: value for key, value in options.items() if value is not None}
    _check(name, given)
    sides = _shape(shape)
    from trainers.describe import describe as described

    try:
        found = described(name, sides, classes, **given)
    except ValueError as error:
        raise SpecError(str(error)) from error
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


def _check(name: str, given: dict[str, int]) -> None:
    """Refuse a name that does not exist, and options that this network does not read, before torch is imported."""
    from hpo.space.document import near
    from trainers.config import model_names, unread_paths

    if name not in model_names():
        raise SpecError(
            f"there is no network {name!r}; choose one of {', '.join(model_names())}{near(name, model_names())}"
        )
    unread = unread_paths({"model": name, **given})
    if unread:
        raise SpecError("\n".join(f"--{option}: {reason}" for option, reason in unread.items()))


def _shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise SpecError(
            f"--input {text!r} is no size of a picture: write colours, height and width, 1 to 9999, such as 3x32x32"
        )
    colours, height, width = map(int, match.groups())
    return colours, height, width


def _show(found: Description) -> None:
    table = _table("layer", "kind", "output", right="parameters")
    for layer in found.layers:
        shape = "x".join(map(str, layer.output_shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}" if layer.parameters else "")
    _print(table)
    memory = found.memory
    print()
    print(f"parameters   {found.parameters:,}, of which {found.trainable:,} are trained")
    print(f"operations   {found.flops / 1e6:,.2f} MFLOP forward for a picture; multiplying and adding count as two")
    print(f"weights      {_megabytes(memory.weights)}, in float32 as all below")
    print(f"gradients    {_megabytes(memory.gradients)}")
    print(
        f"optimizer    {_megabytes(memory.sgd_state)} sgd with momentum, {_megabytes(memory.adam_state)} adam or adamw"
    )
    print(f"activations  {_megabytes(memory.activations)} kept in training for each picture of a batch")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"


def _table(*left: str, right: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in left:
        table.add_column(column, overflow="fold")
    table.add_column(right, justify="right")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    # a file or a pipe has no margin; a terminal's is kept by folding, never by cutting
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)
