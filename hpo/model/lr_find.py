"""`hpo lr-find`: a sweep of the learning rate, the range it suggests for the space file, and its picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model.training import values
from hpo.settings import Settings
from hpo.space.parameters import FloatRange
from hpo.spec import SearchSpec
from hpo.wording import number, plain
from trainers.folders import private

if TYPE_CHECKING:
    from trainers.lr_finder import Point, Suggestion

__all__ = ["Found", "draw", "find", "line", "show"]

EVERY = 10  # steps between two lines of progress
TALLEST = 1.5  # times the first loss that the picture shows: above it everything diverges


@dataclass(frozen=True, kw_only=True)
class Found:
    """A sweep and what it says."""

    points: tuple[Point, ...]
    suggestion: Suggestion
    scale: float  # that the trainer multiplies the file's lr with: batch_size / reference_batch

    def facts(self) -> dict[str, Any]:
        """The same as plain values; rates as the space file has them."""
        said = {key: None if value is None else value / self.scale for key, value in asdict(self.suggestion).items()}
        curve = [{**asdict(each), "lr": each.lr / self.scale} for each in self.points]
        return {**said, "line": line(self), "curve": [_finite(each) for each in curve]}


def find(
    space: SearchSpec,
    overrides: Sequence[str],
    settings: Settings,
    *,
    low: float,
    high: float,
    steps: int,
    seed: int,
    say: Callable[[dict[str, Any]], None],
) -> Found:
    """Sweep with what is searched in the middle of its range, unless an override says otherwise.

    Raises:
        SpecError: the trainer is the user's own, an override or the pictures cannot be used, or nothing is to be seen.
    """
    if "import" in space.trainer:
        raise SpecError("hpo lr-find is for the built-in trainer: it has to raise the learning rate within an epoch")
    if not 0 < low < high:
        raise SpecError(f"--from {low:g} --to {high:g}: rates rise from a number above 0 to a larger one")
    from trainers import TrainConfig, Trainer
    from trainers.lr_finder import suggest, sweep

    section = values(_fixed(space), overrides)
    try:
        config = TrainConfig.model_validate({**section, "compile": "never"})
        trainer = Trainer(config, seed=seed, data_folder=settings.datasets)
        points = []
        for point in sweep(trainer, low=low, high=high, steps=steps):
            points.append(point)
            if point.step % EVERY == 0:
                say(asdict(point))
        suggestion = suggest(points)
    except (OSError, ValueError) as error:
        raise SpecError(str(error)) from error
    scale = config.batch_size / config.reference_batch if config.reference_batch is not None else 1.0
    return Found(points=tuple(points), suggestion=suggestion, scale=scale)


def _fixed(space: SearchSpec) -> SearchSpec:
    """The space with what is searched in the middle of its range, but for the learning rate."""
    from hpo.space.middle import middle

    section = space.resolve({name: value for name, value in middle(space).items() if name != "lr"})
    return space.model_copy(update={"trainer": section})


def line(found: Found) -> str:
    """What to paste into the space file's `parameters`."""
    low, high = (value / found.scale for value in (found.suggestion.low, found.suggestion.high))
    return f"lr: {{min: {_yaml(low)}, max: {_yaml(high)}, log: true}}"


def _yaml(value: float) -> str:
    """A float that YAML reads as one: 1.0e-05, for 1e-5 is text to it."""
    text = f"{value:.2g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if e else text


def _finite(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in row.items()}


def show(found: Found, space: SearchSpec, path: Path) -> None:
    """Print the suggestion."""
    said = found.facts()
    print(f"steepest    lr {number(said['steepest'])}: the loss falls fastest")
    print(f"least       lr {number(said['least'])}")
    last = number(found.points[-1].lr / found.scale)
    print(f"diverged    {f'never, up to lr {last}' if said['diverged'] is None else 'lr ' + number(said['diverged'])}")
    print(f"parameters  {said['line']}")
    searched = space.parameters.get("lr")
    if isinstance(searched, FloatRange):
        print(f"            the file has {number(searched.min)} to {number(searched.max)}")
    print(f"picture     {plain(str(path))}")


def draw(found: Found, space: SearchSpec, path: Path) -> Path:
    """Write the curve with the suggested range as a page; returns its path."""
    from hpo.drawing.page import Page, command, figure, prose
    from hpo.drawing.pictures import drawn, svg

    said = found.facts()
    page = Page(f"Learning rates of {space.name}", f"{len(found.points)} batches, each with a higher rate.")
    with drawn(7.0, 3.4) as canvas:
        axes = canvas.add_subplot()
        rates = [each.lr / found.scale for each in found.points]
        axes.plot(rates, [each.loss for each in found.points], linewidth=0.8, alpha=0.4, color="tab:blue")
        axes.plot(rates, [each.smoothed for each in found.points], linewidth=2, color="tab:blue")
        axes.axvspan(said["low"], said["high"], alpha=0.15, color="tab:green", linewidth=0)
        axes.axvline(said["steepest"], linestyle=":", color="tab:green")
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        shown = [each.smoothed for each in found.points if math.isfinite(each.smoothed)]
        lowest = min(each.loss for each in found.points if math.isfinite(each.loss))
        axes.set_ylim(0.9 * lowest, TALLEST * shown[0])
        picture = svg(canvas, f"Training loss over the learning rate, least at {number(said['least'])}")
    caption = "Bold: smoothed. Dotted: where it falls fastest. Shaded: the suggested range."
    how = "From a tenth of where the loss falls fastest to half of where it is least, after Smith (2017)."
    page.section("Loss over learning rate", figure(picture, caption))
    page.section("For the space file", command(str(said["line"])), prose(how, "soft"))
    private(path.parent)
    page.write(path)
    return path
