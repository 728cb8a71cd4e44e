"""Commands for one model: train it, score it, ask it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.commands.options import Home, Json, Space

__all__ = ["evaluate", "predict", "train"]

Checkpoints = Annotated[
    list[Path],
    typer.Option("--checkpoint", "-c", help="State file of a trial or training; several are averaged."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over views of each picture; costs that many passes.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU where there is one.")]


def train(
    space: Space,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value to train with, such as lr=0.1.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the folder; by default that of the space.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training of that name, as begun.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train once, without a search; what the file searches keeps its default unless it is set."""
    import hpo
    from hpo import spec
    from hpo.model import training
    from hpo.wording import number

    of_file, of_training = training.split_overrides(overrides or [])
    parsed = spec.load(space, of_file)
    parsed.require_sources()
    settings = hpo.settings_for(parsed, home=home)
    values = training.values(parsed, of_training)
    run = training.Training(parsed, values, settings, name=name or parsed.name, seed=seed)
    run.open(resume=resume, as_recorded=not of_training)
    if run.journal.done:
        print(f"training {run.name} is complete", file=sys.stderr)

    def say(record: dict[str, Any]) -> None:
        shown = "  ".join(f"{key} {number(value)}" for key, value in record["metrics"].items())
        print(f"epoch {record['epoch']:3}  {shown}", file=sys.stderr, flush=True)

    journal = run.run(say)
    best = journal.best_value
    checkpoint = next((path for path in sorted(run.folder.glob("best.*"))), None)
    if as_json:
        facts = {"epochs": len(journal.epochs), "best_epoch": journal.best_epoch, "best_value": best}
        print(json.dumps({**facts, "checkpoint": str(checkpoint) if checkpoint else None, "facts": journal.facts}))
        return
    print(f"best epoch  {journal.best_epoch}: {journal.metric} {number(best)}")
    if checkpoint:
        print(f"checkpoint  {checkpoint}")
        print(f"next        {settings.command('evaluate', '--checkpoint', str(checkpoint))}")


def evaluate(
    checkpoint: Checkpoints,
    part: Annotated[str, typer.Option(help="val, or test: each opening of the test part is written down.")] = "val",
    tta: Tta = False,
    device: Device = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Score a trained network on the validation or test part of its own dataset."""
    from hpo.model import evaluation
    from hpo.settings import resolve

    result = evaluation.evaluate(checkpoint, part=part, tta=tta, device=device, settings=resolve(home=home))
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        evaluation.show(result)


def predict(
    checkpoint: Checkpoints,
    image: Annotated[list[Path], typer.Option("--image", "-i", help="Picture file; give it more than once for more.")],
    tta: Tta = False,
    device: Device = None,
) -> None:
    """Print the classes of pictures as JSON; exit 1 where a picture could not be read."""
    from hpo.model import evaluation

    rows = evaluation.predict(checkpoint, image, tta=tta, device=device)
    print(json.dumps(rows, indent=2))
    if any(row["error"] for row in rows):
        raise typer.Exit(1)
