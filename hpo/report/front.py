"""The front of a search with several goals, in its report: a picture of each pair of goals, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from hpo.drawing import page
from hpo.goals import Point, in_words, points, reached, span
from hpo.report import embed
from hpo.report.axes import label
from hpo.report.plots import WINNER, Figure, figure, short, window
from hpo.space.sections import Metric
from hpo.store.history import defaults
from hpo.study import Study
from hpo.wording import assignments, number

__all__ = ["front", "scatter"]

CAPTION = "Every complete trial; those of the front have none that is as good in every goal and better in one."


def front(study: Study) -> Iterator[Markup]:
    """The front as pictures and a table, and what to type; a word where there is none."""
    metrics, complete = study.spec.metrics, points(study.frozen_trials())
    best = study.front()
    if not complete:
        yield page.prose("No trial is complete yet, so that there is no front.", "soft")
        return
    yield page.prose(f"{span(best, metrics)}." if best else "No complete trial keeps the constraints.")
    if (tried := defaults(study)) is not None:
        yield page.prose(f"The defaults, trial {tried.number}, came to {reached(tried.values, metrics)}.")
    params = {trial.number: assignments(study.params(trial)) for trial in study.frozen_trials()}
    for other in range(1, len(metrics)):
        yield embed.plot(scatter(complete, best, metrics, params, other), CAPTION)
    if best:
        names = [each.name for each in metrics]
        lines = [[each.number, *map(number, each.values), params[each.number]] for each in best]
        yield page.table(("trial", *names, "parameters"), lines, name="front")
        yield page.command(study.settings.command("promote", study.name, "--trial", str(best[0].number)))


def scatter(
    complete: Sequence[Point], best: Sequence[Point], metrics: Sequence[Metric], params: dict[int, str], other: int
) -> Figure:
    """The first goal over another one; the front of two goals as a line, beyond which nothing was found."""
    on_front = {each.number for each in best}
    kinds = (
        (
            "misses a constraint",
            [each for each in complete if each.excess],
            {"color": "$bad", "size": 7, "symbol": "x"},
        ),
        (
            "complete",
            [each for each in complete if not each.excess and each.number not in on_front],
            {"color": "$accent", "size": 7},
        ),
        ("front", sorted(best, key=lambda each: each.values[other]), {"color": WINNER, "size": 11, "symbol": "star"}),
    )
    traces = []
    for name, here, marker in kinds:
        if here:
            drawn = _trace(here, metrics, params, other)
            mode = "lines+markers" if name == "front" and len(metrics) == 2 else "markers"
            line = {"color": WINNER, "width": 2, "shape": "hv" if metrics[other].sign < 0 else "vh"}
            traces.append({**drawn, "name": name, "mode": mode, "marker": marker, "line": line})
    axes, notes = [], []
    for place in (other, 0):
        spread, note = window([each.values[place] for each in complete])
        better = "more" if metrics[place].sign > 0 else "less"
        axes.append({"title": {"text": label(f"{metrics[place].name} ({better} is better)")}, **spread})
        notes.append(note)
    says = f"{metrics[0].name} over {metrics[other].name} of each complete trial, the front in its own colour"
    return figure(
        traces, says=says, x=axes[0], y=axes[1], note=" ".join(dict.fromkeys(filter(None, notes))), height=420
    )


def _trace(here: Sequence[Point], metrics: Sequence[Metric], params: dict[int, str], other: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [short(each.values[other]) for each in here],
        "y": [short(each.values[0]) for each in here],
        "text": [_said(each, metrics, params) for each in here],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _said(point: Point, metrics: Sequence[Metric], params: dict[int, str]) -> str:
    lines = [f"trial {point.number}: {reached(point.values, metrics)}", params[point.number][:120]]
    missed = in_words(point.missed)
    return "<br>".join(map(label, [*lines, *([f"misses {missed}"] if missed else [])]))
