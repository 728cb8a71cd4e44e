"""The objective over the searched parameters: where it is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hpo.report.axes import Axis, label
from hpo.report.plots import Figure, figure, short, window
from hpo.report.rows import Trial
from hpo.space.sections import Metric
from hpo.wording import number

__all__ = ["contour", "parallel", "slices"]

DENSE = 10  # places with trials, below which little lies between them
CELLS = 40  # of a contour, in each direction


def slices(trials: Sequence[Trial], axes: Sequence[Axis], metric: Metric) -> list[Figure]:
    """The objective of complete trials over each parameter; later trials have more colour."""
    complete = [each for each in trials if each.state == "COMPLETE" and each.value is not None]
    spread, note = window([each.value for each in complete if each.value is not None])
    found = []
    for axis in axes:
        here = [(each, at) for each in complete if (at := axis.position(each.params)) is not None]
        if not here:
            continue
        marker = {
            "size": 6,
            "opacity": 0.8,
            "color": [each.number for each, _ in here],
            "colorscale": [[0, "$soft"], [1, "$accent"]],
            "showscale": False,
        }
        trace = {
            "type": "scatter",
            "mode": "markers",
            "x": [short(at) for _, at in here],
            "y": [short(each.value) for each, _ in here],
            "text": [_said(each, axis) for each, _ in here],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": marker,
        }
        y = {"title": {"text": label(metric.name)}, **spread}
        says = f"{metric.name} over {axis.name}"
        found.append(figure([trace], says=says, x=axis.layout(), y=y, note=note, height=260))
    return found


def contour(trials: Sequence[Trial], x: Axis, y: Axis, metric: Metric) -> Figure | None:
    """The objective over two parameters, between trials too where that can be; None where no two trials have both."""
    places: dict[tuple[float, float], list[float]] = {}
    for each in trials:
        at = x.position(each.params), y.position(each.params)
        if each.state == "COMPLETE" and each.value is not None and at[0] is not None and at[1] is not None:
            places.setdefault((at[0], at[1]), []).append(each.value)
    if len(places) < 2:
        return None
    values = {at: fmean(each) for at, each in places.items()}
    low, high = window(list(values.values()))[0].get("range", (None, None))  # None: of all values
    scale = [[0, "$card"], [1, "$accent"]] if metric.sign > 0 else [[0, "$accent"], [1, "$card"]]
    marker: dict[str, Any] = {
        "color": [short(each) for each in values.values()],
        "colorscale": scale,
        "cmin": low,
        "cmax": high,
        "size": 7,
        "line": {"color": "$ink", "width": 0.5},
    }
    bar = {"title": {"text": label(metric.name), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    surface = _surface(values, x, y)
    if surface is None:
        marker |= {"colorbar": bar, "showscale": True}
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [short(at[0]) for at in values],
        "y": [short(at[1]) for at in values],
        "text": [label(number(each)) for each in values.values()],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": marker,
        "showlegend": False,
    }
    shape = {"type": "contour", "colorscale": scale, "colorbar": bar, "hoverinfo": "skip", "ncontours": 12}
    shape |= {"zmin": low, "zmax": high, "zauto": low is None}
    between = [{**surface, **shape, "line": {"width": 0.5, "color": "$line"}}] if surface is not None else []
    note = (
        "" if surface is not None else "The trials lie too thin, or the values are choices, to draw anything between."
    )
    if low is not None:
        note = f"{note} Values far off have the colour of the scale's end.".strip()
    says = f"{metric.name} over {x.name} and {y.name}"
    wanted: dict[str, Any] = {"x": x.layout(), "y": y.layout(), "note": note, "height": 400}
    return figure([*between, points], says=says, **wanted, showlegend=False)


def _surface(values: Mapping[tuple[float, float], float], x: Axis, y: Axis) -> dict[str, Any] | None:
    """Values between the trials, linear between neighbours; None for choices and for trials that lie on a line."""
    if x.choices or y.choices or len(values) < DENSE:
        return None
    import numpy as np
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    grids = [np.linspace(*axis.span, CELLS) for axis in (x, y)]
    sizes = [axis.span[1] - axis.span[0] for axis in (x, y)]
    points = np.array(list(values)) / sizes  # neighbours are those on the picture
    wide, high = np.meshgrid(grids[0] / sizes[0], grids[1] / sizes[1])
    try:
        found = griddata(points, np.array(list(values.values())), (wide, high), method="linear")
    except QhullError:
        return None
    cells = [[short(float(each)) if each == each else None for each in row] for row in found]
    return {"x": [short(float(each)) for each in grids[0]], "y": [short(float(each)) for each in grids[1]], "z": cells}


def parallel(
    trials: Sequence[Trial], axes: Sequence[Axis], metric: Metric, winner: int | None
) -> dict[str, Any] | None:
    """What `report.js` draws parallel coordinates of, the winner first, then the best.

    Positions are from 0 to 1, None where a condition kept a parameter out.
    """
    complete = [each for each in trials if each.state == "COMPLETE" and each.value is not None]
    values = [each.value for each in complete if each.value is not None]
    if len(complete) < 2 or not axes:
        return None
    spread, _ = window(values)
    low, high = spread.get("range", (min(values), max(values)))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    ranked = sorted(complete, key=lambda each: (each.number != winner, -metric.sign * (each.value or 0.0), each.number))
    ticks = [[index / 4, number(low + (high - low) * index / 4)] for index in range(5)]
    columns: list[dict[str, Any]] = [
        {
            "name": axis.name,
            "ticks": [[_share(at, axis.span), text] for at, text in axis.ticks()],
            "at": [_share(axis.position(each.params), axis.span) for each in ranked],
        }
        for axis in axes
    ]
    columns.append({"name": metric.name, "ticks": ticks, "at": [_share(each.value, (low, high)) for each in ranked]})
    return {"axes": columns, "trials": [each.number for each in ranked]}


def _share(at: float | None, span: tuple[float, float]) -> float | None:
    return None if at is None else round(min(1.0, max(0.0, (at - span[0]) / (span[1] - span[0]))), 4)


def _said(trial: Trial, axis: Axis) -> str:
    return label(f"trial {trial.number}: {number(trial.value)}") + f"<br>{label(str(trial.params[axis.name])[:80])}"
