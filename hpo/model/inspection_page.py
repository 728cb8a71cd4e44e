"""An inspection as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hpo.drawing.calibration import calibration
from hpo.drawing.images import gallery, heat, image, strip
from hpo.drawing.page import Page, facts, figure, prose, table
from hpo.drawing.pictures import drawn, label, svg
from hpo.wording import counted, number

if TYPE_CHECKING:
    from markupsafe import Markup

    from hpo.model.inspection import Inspection

__all__ = ["drawn_page"]

FILTERS = 64
"""That are shown, the first ones."""
SIDE = 72
"""Of a map, in CSS pixels."""


def drawn_page(found: Inspection) -> Page:
    """The page of an inspection; it needs nothing from elsewhere."""
    source = found.subject.source
    of = f"trial {source.trial} of {source.study}" if source.study else str(source.checkpoint)
    page = Page(f"Inside {found.model}", of, footer="Made by hpo inspect. The test part was not opened.")
    page.section("The network", _about(found))
    page.section("Calibration", *_confidence(found))
    page.section("Most confident mistakes", *_mistakes(found))
    page.section("Saliency maps", *_saliency(found))
    page.section("Activations", *_stages(found))
    page.section("First-layer filters", *_filters(found))
    page.section("Predictions over epochs", *_epochs(found))
    return page


def _about(found: Inspection) -> Markup:
    source = found.subject.source
    return facts(
        {
            "model": found.model,
            "checkpoint": source.checkpoint,
            "trained": counted(found.trained, "epoch"),
            "classes": ", ".join(found.classes),
            "data": f"{found.data}, {found.validated} validation pictures",
            "accuracy": number(found.confidence["accuracy"]),
        }
    )


def _confidence(found: Inspection) -> list[Markup]:
    sure = found.confidence
    gap = sure["mean"] - sure["accuracy"]
    how = "more sure than it is right" if gap > 0 else "less sure than it is right"
    said = prose(
        f"On average it gives its answer a probability of {sure['mean']:.3f} and is right in {sure['accuracy']:.3f} of "
        f"{found.validated} pictures: {how}, by {abs(gap):.3f}."
    )
    named = {"mean when right": sure["of_right"], "mean when wrong": sure["of_wrong"]}
    shown = facts({name: number(value) for name, value in named.items()})
    rows = [[f"{mean:.3f}", f"{right:.3f}", count] for mean, right, count in sure["bins"]]
    caption = "On the dotted line a probability is worth what it says; below it the network is too sure."
    return [said, shown, figure(calibration(sure["bins"]), caption), table(["probability", "right", "pictures"], rows)]


def _mistakes(found: Inspection) -> list[Markup]:
    if not found.mistakes:
        return [prose(f"It is right about all {found.validated} validation pictures.", "good")]
    cells = [
        (
            image(each.pixels, f"a {each.true}, taken for {each.predicted}"),
            f"{each.predicted} {each.probability:.3f}; true: {each.true} {each.of_true:.3f} (val[{each.picture}])",
        )
        for each in found.mistakes
    ]
    said = (
        f"{found.wrong} of {found.validated} validation pictures are wrong. Those it is most sure of: first "
        "what it says, then what the label says. Some labels may be wrong: `hpo data report` looks for those."
    )
    return [prose(said), gallery(cells)]


def _saliency(found: Inspection) -> list[Markup]:
    said = (
        "Bright: where a small change of the pixel changes the score of the predicted class most. This is vanilla "
        "saliency (Simonyan et al., 2013): the gradient of that class's logit by the input, its largest size over the "
        "colours, each map on its own scale. It is noisy, and says where the network is sensitive, not why."
    )
    cells = []
    for index, pixels in enumerate(found.pixels):
        row = found.probabilities[index]
        best = int(np.argmax(row))
        pair = image(pixels, f"a {found.true[index]}"), image(heat(found.saliency[index]), "its gradient map")
        cells.append((strip(pair), f"true: {found.true[index]}; says {found.classes[best]} {row[best]:.3f}"))
    return [prose(said), gallery(cells)]


def _stages(found: Inspection) -> list[Markup]:
    if not found.stages:
        return [prose(f"{found.model} has no stages with maps: its answer is a weighted sum of the pixels.")]
    said = (
        "Mean size of the activations over the channels, each map on its own scale. Silent channels are 0 everywhere "
        "on all of these pictures: many of them are room that the network does not use, or has lost."
    )
    rows = [
        [image(pixels, f"a {found.true[index]}", side=SIDE), *(_map(each.maps[index]) for each in found.stages)]
        for index, pixels in enumerate(found.pixels)
    ]
    sizes = [[each.name, "x".join(map(str, each.shape)), f"{each.silent:.1%}"] for each in found.stages]
    most = max(len(each.strongest) for each in found.stages)
    channels = [[each.name, *map(_map, each.strongest), *[""] * (most - len(each.strongest))] for each in found.stages]
    return [
        prose(said),
        table(["picture", *(each.name for each in found.stages)], rows),
        table(["stage", "channels, height, width", "silent"], sizes),
        prose("The strongest channels of the first picture, the strongest first:"),
        table(["stage", *range(1, most + 1)], channels),
    ]


def _map(values: Any) -> Markup:
    return image(heat(values), "a map", side=SIDE)


def _filters(found: Inspection) -> list[Markup]:
    if found.filters is None:
        return [prose(f"{found.model} has no convolution, and so no filters.")]
    count, entering, height, width = found.filters.shape
    colour = entering == 3
    of = "in colour" if colour else "of the first channel that they read" if entering > 1 else "in grey"
    said = f"The {count} filters of the first convolution, {height}x{width}, {of}, each on its own scale."
    more = f" The first {FILTERS} are shown." if count > FILTERS else ""
    cells = [(image(_filter(each, colour), "a filter", side=48), "") for each in found.filters[:FILTERS]]
    return [prose(said + more), gallery(cells)]


def _filter(weights: Any, colour: bool) -> Any:
    shown = weights.transpose(1, 2, 0) if colour else weights[0]
    low, high = shown.min(), shown.max()
    scaled = (shown - low) / (high - low) if high > low else np.full(shown.shape, 0.5)
    return (255 * scaled).round().astype(np.uint8)


def _epochs(found: Inspection) -> list[Markup]:
    if not found.epochs:
        return [
            prose(
                "Not shown: a checkpoint keeps the last epoch alone. `hpo inspect ... --epochs N` trains the first N "
                f"of its {counted(found.trained, 'epoch')} again, from configuration and seed, and looks after each."
            )
        ]
    with drawn(7, 3.4) as plot:
        axes = plot.add_subplot()
        for index, true in enumerate(found.true):
            place = found.classes.index(true)
            values = [each.probabilities[index][place] for each in found.epochs]
            whose = label(f"{index}: {true}")
            axes.plot([each.epoch for each in found.epochs], values, marker=".", linewidth=1, label=whose)
        axes.set(xlabel="epoch", ylabel="probability of the true class", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        drawing = svg(plot, "probability of the true class by epoch, a line for each picture")
    heads = [f"{index}: {true}" for index, true in enumerate(found.true)]
    rows = [
        [each.epoch, number(each.objective), *(_said(found, row) for row in each.probabilities)]
        for each in found.epochs
    ]
    return [
        prose(_retrained(found)),
        figure(drawing, "One line for each of the pictures above, in their order."),
        table(["epoch", found.metric, *heads], rows),
    ]


def _said(found: Inspection, row: list[float]) -> str:
    best = int(np.argmax(row))
    return f"{found.classes[best]} {row[best]:.2f}"


def _retrained(found: Inspection) -> str:
    said = f"Trained again from the beginning for {counted(len(found.epochs) - 1, 'epoch')}, epoch 0 being untrained. "
    if found.same is not None:
        return said + (
            "After the last one its probabilities are those of the checkpoint."
            if found.same == 0
            else f"After the last one its probabilities differ from the checkpoint's by {found.same:.2g} at most."
        )
    curve = found.subject.curve
    apart = [
        abs(each.objective - curve[each.epoch])
        for each in found.epochs
        if each.objective is not None and each.epoch in curve
    ]
    if not apart:
        return said + "There is no record to compare with, so that these may be other epochs than the checkpoint's."
    if max(apart) == 0:
        return said + f"{found.metric} of each epoch is the one on record."
    return said + f"{found.metric} differs from the record by {max(apart):.2g} at most: these are close, not the same."
