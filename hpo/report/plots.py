"""The course of a search as figures of plotly: values and curves. Plain data, which plotly.js draws in the browser.

A colour such as "$accent" is one of the page's, which follow light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report.axes import label
from hpo.report.rows import Trial
from hpo.space.sections import Metric
from hpo.wording import assignments, counted, number

__all__ = ["COLOURS", "Figure", "best_so_far", "curves", "figure", "history", "short", "window"]

COLOURS = {"COMPLETE": "$accent", "PRUNED": "$soft", "FAIL": "$bad", "RUNNING": "$good"}
COLOURS |= dict.fromkeys(("PAUSED", "WAITING"), "$line")
WINNER = "$warn"
CURVES = {"fewest": 10, "share": 20}  # a first epoch may well be far off
MOST_POINTS = 40_000  # of all learning curves, which a browser draws in half a second


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Traces and layout as plotly has them."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    says: str
    """what is to be seen, read to those who cannot see it"""
    note: str = ""
    """what a reader has to know of it"""
    height: int = 340


def figure(
    data: list[dict[str, Any]], *, says: str, x: Any, y: Any, note: str = "", height: int = 340, **more: Any
) -> Figure:
    """A figure in our style; `x` and `y` are the axes' titles or their layouts."""
    # no automargin, for which plotly lays all out anew
    lines = {"gridcolor": "$line", "zerolinecolor": "$line", "linecolor": "$line", "automargin": False}
    axes = [each if isinstance(each, dict) else {"title": {"text": label(each)}} for each in (x, y)]
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "$ink", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "$card", "bordercolor": "$line", "font": {"color": "$ink"}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 62, "r": 12, "t": 30 if len(data) > 1 else 8, "b": 44},
        "xaxis": {**lines, **axes[0]},
        "yaxis": {**lines, **axes[1]},
        "showlegend": len(data) > 1,
        "hovermode": "closest",
        **more,
    }
    return Figure(data=data, layout=layout, says=says, note=note, height=height)


def history(trials: Sequence[Trial], metric: Metric, winner: int | None) -> Figure | None:
    """Objective of each trial with the best so far; None where no trial has a value."""
    traces = []
    for state in ("PRUNED", "COMPLETE"):
        here = [each for each in trials if each.state == state and each.value is not None]
        if here:
            traces.append(_points(here, name=state.lower(), color=COLOURS[state], size=5 if state == "PRUNED" else 7))
    best = best_so_far(trials, metric)
    if best:
        x, y = [each for each, _ in best], [value for _, value in best]
        line = {"color": "$accent", "width": 2, "shape": "hv"}
        traces.append({**_trace(x, y, "best so far", "lines"), "line": line, "hoverinfo": "skip"})
    chosen = [each for each in trials if each.number == winner and each.value is not None]
    if chosen:
        traces.append(_points(chosen, name="winner", color=WINNER, size=12, symbol="star"))
    if not traces:
        return None
    spread, note = window([each.value for each in trials if each.value is not None])
    says = f"{metric.name} of each trial by its number, with the best so far"
    axis = {"title": {"text": label(metric.name)}, **spread}
    return figure(traces, says=says, x="trial", y=axis, note=note)


def best_so_far(trials: Sequence[Trial], metric: Metric) -> list[tuple[int, float]]:
    """Numbers at which the best value of COMPLETE trials changed, and the last one; with that value."""
    found: list[tuple[int, float]] = []
    for each in trials:
        if each.state != "COMPLETE" or each.value is None or each.missed:
            continue
        if not found or metric.sign * (each.value - found[-1][1]) > 0:
            found.append((each.number, each.value))
    if found and trials[-1].number > found[-1][0]:
        found.append((trials[-1].number, found[-1][1]))
    return found


def curves(trials: Sequence[Trial], metric: Metric, winner: int | None) -> Figure | None:
    """Objective by epoch, one trace a state with gaps between trials; None where no trial reported an epoch."""
    with_curves = [each for each in trials if each.curve]
    stride = max(1, -(-sum(len(each.curve) for each in with_curves) // MOST_POINTS))
    looks = {
        "PRUNED": {"color": "$soft", "width": 1, "dash": "4px,3px"},
        "COMPLETE": {"color": "$accent", "width": 1},
        "FAIL": {"color": "$bad", "width": 1},
        "RUNNING": {"color": "$good", "width": 1.5},
        "PAUSED": {"color": "$soft", "width": 1, "dash": "1px,3px"},
        "WAITING": {"color": "$good", "width": 1, "dash": "1px,3px"},
    }
    traces = []
    for state, line in looks.items():
        here = [each for each in with_curves if each.state == state and each.number != winner]
        if here:
            traces.append({**_curve(here, state.lower(), stride), "line": line, "opacity": 0.55})
    chosen = [each for each in with_curves if each.number == winner]
    if chosen:
        traces.append({**_curve(chosen, "winner", 1), "line": {"color": WINNER, "width": 3}})
    if not traces:
        return None
    spread, note = _window_of_curves(with_curves)
    if stride > 1:
        note = f"{note} Of each curve every {stride}th epoch and the last is drawn.".strip()
    says = f"learning curves: {metric.name} by epoch of all trials, the winner in its own colour, pruned ones dashed"
    axis = {"title": {"text": label(metric.name)}, **spread}
    return figure(traces, says=says, x="epoch", y=axis, note=note, height=400)


def window(values: Sequence[float]) -> tuple[dict[str, Any], str]:
    """The range of an axis where a few values are far off all others, with a word on it; empty where all fit."""
    return _shown(_near(values), values)


def _window_of_curves(trials: Sequence[Trial]) -> tuple[dict[str, Any], str]:
    """The same for whole curves: where some end far off all others, the axis is that of the others."""
    curves = [values for each in trials if (values := [value for _, value in each.curve if value is not None])]
    every = [value for values in curves for value in values]
    span = _near([values[-1] for values in curves])
    if span is None:
        return _shown(_near(every, **CURVES), every)
    sound = [value for values in curves if span[0] <= values[-1] <= span[1] for value in values]
    low, high = _near(sound, **CURVES) or (min(sound), max(sound))
    gap = 0.05 * (high - low)
    return _shown((low - gap, high + gap), every)


def _shown(span: tuple[float, float] | None, values: Sequence[float]) -> tuple[dict[str, Any], str]:
    out = sum(not span[0] <= each <= span[1] for each in values) if span is not None else 0
    if span is None or not out:
        return {}, ""
    said = f"{counted(out, 'value')} {'is' if out == 1 else 'are'} far off and out of the picture"
    return {"range": list(span)}, f"{said}; a double click shows all."


def _near(values: Sequence[float], *, fewest: int = 5, share: int = 10) -> tuple[float, float] | None:
    """The narrowest span of all values but one in `share`, one at least, and half as much again on either side.

    None of fewer than `fewest` values, and where all of them lie within 20 times that span.
    """
    ranked = sorted(values)
    kept = len(ranked) - max(1, len(ranked) // share)
    if len(ranked) < fewest:
        return None
    low, high = min(zip(ranked, ranked[kept - 1 :], strict=False), key=lambda span: span[1] - span[0])
    if high <= low or ranked[-1] - ranked[0] <= 20 * (high - low):
        return None
    gap = 0.5 * (high - low)
    return low - gap, high + gap


def _points(trials: Sequence[Trial], *, name: str, color: str, size: int, symbol: str = "circle") -> dict[str, Any]:
    marker = {"color": color, "size": size, "symbol": symbol, "opacity": 0.85}
    said = [label(f"trial {each.number}: {number(each.value)}") + _lines(each) for each in trials]
    trace = _trace([each.number for each in trials], [each.value for each in trials], name, "markers")
    return {**trace, "marker": marker, "text": said, "hovertemplate": "%{text}<extra></extra>"}


def _lines(trial: Trial) -> str:
    return "".join(f"<br>{label(assignments({name: value})[:80])}" for name, value in trial.params.items())


def _curve(trials: Sequence[Trial], name: str, stride: int) -> dict[str, Any]:
    x: list[int | None] = []
    y: list[float | None] = []
    whose: list[int | None] = []
    for each in trials:
        kept = [point for place, point in enumerate(each.curve) if place % stride == 0 or place == len(each.curve) - 1]
        x += [epoch for epoch, _ in kept] + [None]
        y += [short(value) for _, value in kept] + [None]
        whose += [each.number] * len(kept) + [None]
    lone = all(len(each.curve) == 1 for each in trials)  # a line of one point is none
    trace = _trace(x, y, name, "lines+markers" if lone else "lines")
    return {**trace, "customdata": whose, "hovertemplate": "trial %{customdata}, epoch %{x}: %{y}<extra></extra>"}


def _trace(x: Sequence[Any], y: Sequence[Any], name: str, mode: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": mode, "name": name, "x": list(x), "y": [short(each) for each in y]}


def short(value: float | None) -> float | None:
    """Six digits, which no screen shows more of: a page is half as large by it."""
    return None if value is None else float(f"{value:.6g}")
