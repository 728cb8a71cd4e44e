"""What was found in a dataset, as a page, as numbers, and in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from hpo.drawing.images import gallery, image, strip
from hpo.drawing.page import Page, figure, prose, table
from hpo.drawing.page import facts as listed
from hpo.drawing.pictures import drawn, svg
from hpo.wording import counted, number

if TYPE_CHECKING:
    from trainers.examine import Findings, Group

__all__ = ["drawn_page", "facts", "summary"]

CLASSES, SAMPLES = 40, 8
"""Shown of the classes, and pictures of each."""
SHOWN = 24
"""Groups, outliers and doubts that are shown."""
MEMBERS = 6
"""Pictures shown of a group."""
BARS = 40
"""Classes up to which each bar has its name."""


def facts(found: Findings) -> dict[str, Any]:
    """The findings as plain values, pictures by their names."""
    seen, doubted = found.seen, found.doubts
    return {
        "classes": list(seen.classes),
        "counts": found.counts,
        "imbalance": found.imbalance,
        "sizes": found.sizes,
        "unreadable": list(seen.skipped_files),
        "duplicates": [_group(found, each) for each in found.equal],
        "near_duplicates": [_group(found, each) for each in found.near],
        "outliers": [
            {
                "picture": seen.names[each.place],
                "measure": each.measure,
                "value": each.value,
                "median": each.usual,
                "deviations": each.deviations,
            }
            for each in found.outliers
        ],
        "label_model": {"accuracy": doubted.accuracy, "pictures": doubted.asked, "trusted": doubted.trusted},
        "doubtful_labels": [
            {
                "picture": seen.names[each.place],
                "label": _label(found, each.place),
                "suggested": seen.classes[each.suggested],
                "margin": each.margin,
            }
            for each in doubted.doubts
        ],
    }


def summary(found: Mapping[str, Any]) -> dict[str, str]:
    """The facts in a few lines."""
    sizes = [f"{size} ({count})" for size, count in list(found["sizes"].items())[:5]]
    model = found["label_model"]
    return {
        "pictures": ", ".join(f"{sum(each.values())} {part}" for part, each in found["counts"].items()),
        "classes": f"{len(found['classes'])}, imbalance {number(found['imbalance'])} to 1",
        "sizes": ", ".join(sizes) + (f" and {len(found['sizes']) - 5} others" if len(found["sizes"]) > 5 else ""),
        "unreadable": counted(len(found["unreadable"]), "file"),
        "duplicates": _of_groups(found["duplicates"]),
        "near": _of_groups(found["near_duplicates"]),
        "outliers": str(len(found["outliers"])),
        "labels": f"{len(found['doubtful_labels'])} in doubt" if model["trusted"] else _distrust(model),
    }


def _of_groups(groups: Sequence[Mapping[str, Any]]) -> str:
    leaks = sum(len(each["parts"]) > 1 for each in groups)
    differing = sum(len(each["labels"]) > 1 for each in groups)
    return f"{counted(len(groups), 'group')}, {leaks} in train and val both, {differing} labelled differently"


def _distrust(model: Mapping[str, Any]) -> str:
    if model["accuracy"] is None:
        return "not examined: a class has fewer than five pictures"
    return f"not examined: the cheap model is right about {model['accuracy']:.2f} of them only"


def _group(found: Findings, group: Group) -> dict[str, Any]:
    seen = found.seen
    return {
        "pictures": [seen.names[each] for each in group.places],
        "parts": sorted({seen.PARTS[seen.part[each]] for each in group.places}),
        "labels": [seen.classes[each] for each in group.labels],
    }


# -- the page ---------------------------------------------------------------------------------------------------------


def drawn_page(found: Findings, name: str) -> Page:
    """The page of the findings; it needs nothing from elsewhere."""
    page = Page(
        f"Data: {name}",
        "Training and validation pictures, as a training sees them before they are augmented.",
        footer="Made by hpo data report. The test part was not opened.",
    )
    page.section("In short", listed(summary(facts(found))), *_warnings(found))
    page.section("Samples", *_samples(found))
    page.section("Classes", *_classes(found))
    page.section("Light and sharpness", *_measures(found))
    page.section("Duplicates", *_equal(found))
    page.section("Near duplicates", *_near(found))
    page.section("Outliers", *_outliers(found))
    page.section("Labels in doubt", *_doubts(found))
    page.section("Files that cannot be read", *_unreadable(found))
    return page


def _warnings(found: Findings) -> list[Markup]:
    said = []
    leaks = sum(each.leaks for each in (*found.equal, *found.near))
    if leaks:
        groups = "1 group of pictures is" if leaks == 1 else f"{leaks} groups of pictures are"
        said.append(f"{groups} in both parts: validation then measures what was learned by heart.")
    if any(len(each.labels) > 1 for each in (*found.equal, *found.near)):
        said.append("Some pictures that are the same have different labels.")
    if found.imbalance is None:
        said.append("A class has no training picture.")
    elif found.imbalance >= 3:
        said.append(
            f"The largest class has {found.imbalance:.3g} times the pictures of the smallest: see "
            "trainer.loss.class_weights: balanced, and rank trials by val/macro_f1."
        )
    return [prose(each, "warn") for each in said]


def _samples(found: Findings) -> list[Markup]:
    labels, classes = found.seen.labels, found.seen.classes
    rows = []
    for label, name in enumerate(classes[:CLASSES]):
        places = np.flatnonzero(labels == label)
        spread = (
            places[np.linspace(0, len(places) - 1, min(SAMPLES, len(places))).astype(int)] if len(places) else places
        )
        rows.append([name, gallery([(_picture(found, int(each)), "") for each in spread])])
    more = [prose(f"{len(classes) - CLASSES} more classes are not shown.", "soft")] if len(classes) > CLASSES else []
    return [table(["class", "spread evenly over the class"], rows), *more]


def _classes(found: Findings) -> list[Markup]:
    counts, classes = found.counts, found.seen.classes
    named = len(classes) <= BARS
    with drawn(7, 0.8 + 0.22 * len(classes) if named else 3) as plot:
        axes = plot.add_subplot()
        places, before = np.arange(len(classes)), np.zeros(len(classes))
        for part, colour in zip(counts, ("#0b62c4", "#e08a1e"), strict=True):
            values = np.array(list(counts[part].values()))
            if named:
                axes.barh(places, values, left=before, color=colour, label=part)
            else:
                axes.bar(places, values, bottom=before, color=colour, label=part, width=1)
            before = before + values
        if named:
            axes.set_yticks(places, [_short(each) for each in classes])
            axes.invert_yaxis()
        axes.set(**{"xlabel" if named else "ylabel": "pictures"})
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        drawing = svg(plot, "pictures of each class by part")
    rows = [[name, *(each[name] for each in counts.values())] for name in classes]
    return [figure(drawing), table(["class", *counts], rows)]


def _measures(found: Findings) -> list[Markup]:
    with drawn(8, 2.4) as plot:
        for axes, name in zip(
            plot.subplots(1, 4, sharey=True), ("brightness", "contrast", "sharpness", "colour"), strict=True
        ):
            axes.hist(getattr(found.measures, name), bins=40, color="#0b62c4")
            axes.set_xlabel(name)
        drawing = svg(plot, "how many pictures are how bright, rich in contrast, sharp and colourful")
    caption = (
        "In levels of 255. Brightness: mean of all values; contrast: standard deviation of the grey picture; "
        "sharpness: mean difference of neighbouring grey pixels; colour: mean difference of a pixel's largest and "
        "smallest colour."
    )
    rows = [[size, count] for size, count in list(found.sizes.items())[:20]]
    return [figure(drawing, caption), table(["size as stored", "pictures"], rows)]


def _equal(found: Findings) -> list[Markup]:
    if not found.equal:
        return [prose("No two pictures have equal pixels.", "good")]
    return [prose("All pixels are equal, at the size that a training sees."), *_groups(found, found.equal)]


def _near(found: Findings) -> list[Markup]:
    from trainers.near import BITS_APART, LEVELS_APART

    how = (
        f"Near: of the 64 bits of a difference hash (grey, 9x8) at most {BITS_APART} differ, and at 16x16 pixels the "
        f"root of the mean square difference is at most {LEVELS_APART:g} of 255 levels. Mirrored or turned copies are "
        "not found."
    )
    if not found.near:
        return [prose("None was found.", "good"), prose(how, "soft")]
    return [prose(how), *_groups(found, found.near)]


def _groups(found: Findings, groups: Sequence[Group]) -> list[Markup]:
    made = [gallery([_together(found, each) for each in groups[:SHOWN]])]
    if len(groups) > SHOWN:
        made.append(prose(f"{len(groups) - SHOWN} more groups are in the output of --json.", "soft"))
    return made


def _together(found: Findings, group: Group) -> tuple[Markup, str]:
    names = [found.seen.names[each] for each in group.places[:MEMBERS]]
    more = [f"and {len(group.places) - MEMBERS} more"] * (len(group.places) > MEMBERS)
    labels = " or ".join(found.seen.classes[each] for each in group.labels)
    where = "train and val both" if group.leaks else found.seen.PARTS[found.seen.part[group.places[0]]]
    said = f"{labels}; {where}: {', '.join([*names, *more])}"
    return strip([_picture(found, each) for each in group.places[:MEMBERS]]), said


def _outliers(found: Findings) -> list[Markup]:
    from trainers.outliers import FAR

    how = (
        f"A measure is {FAR:g} robust deviations or more from the median of all pictures (1.4826 times the median "
        "distance from it; contrast, sharpness and colour by their logarithms). Far is not wrong: look at them."
    )
    if not found.outliers:
        return [prose("None was found.", "good"), prose(how, "soft")]
    cells = []
    for each in found.outliers[:SHOWN]:
        picture, said = _cell(found, each.place)
        cells.append((picture, f"{each.measure} {each.value:.1f}, median {each.usual:.1f}. {said}"))
    return [prose(f"{len(found.outliers)} of {len(found.seen.labels)} pictures. {how}"), gallery(cells)]


def _doubts(found: Findings) -> list[Markup]:
    doubted = found.doubts
    how = (
        "Asked is a linear model over 512 random features of 8x8 copies, about pictures that it has not seen "
        "(five-fold cross-validation)."
    )
    if not doubted.trusted:
        said = _distrust({"accuracy": doubted.accuracy})
        return [
            prose(said.capitalize() + ": what it disagrees with says nothing about the labels."),
            prose(how, "soft"),
        ]
    head = f"It is right about {doubted.accuracy:.3f} of {doubted.asked} pictures. {how}"
    if not doubted.doubts:
        return [prose("It is sure of another class for no picture.", "good"), prose(head, "soft")]
    cells = []
    for each in doubted.doubts[:SHOWN]:
        picture, said = _cell(found, each.place)
        cells.append((picture, f"taken for {found.seen.classes[each.suggested]}. {said}"))
    few = f"{counted(len(doubted.doubts), 'picture')} of which it is sure that another class is right: "
    return [prose(few + "candidates for a second look, not errors by themselves. " + head), gallery(cells)]


def _unreadable(found: Findings) -> list[Markup]:
    files = found.seen.skipped_files
    if not files:
        return [prose("None.", "good")]
    said = f"{counted(len(files), 'file')} cannot be read and will be left out by every training."
    return [prose(said, "warn"), table(["file"], [[each] for each in files])]


def _cell(found: Findings, place: int) -> tuple[Markup, str]:
    seen = found.seen
    return _picture(found, place), f"{_label(found, place)}, {seen.PARTS[seen.part[place]]}: {seen.names[place]}"


def _picture(found: Findings, place: int) -> Markup:
    stored = found.seen.take([place])[0]
    pixels = stored[0] if len(stored) == 1 else stored.transpose(1, 2, 0)
    return image(pixels, f"a {_label(found, place)}", side=72)


def _label(found: Findings, place: int) -> str:
    return str(found.seen.classes[found.seen.labels[place]])


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "..."
