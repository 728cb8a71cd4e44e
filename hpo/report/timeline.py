"""Which trial ran when: a bar an attempt, in as few rows as hold all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hpo.report.axes import label
from hpo.report.plots import COLOURS, Figure, figure, short
from hpo.report.rows import Attempt

__all__ = ["timeline"]

IDLE = 0.1  # of the time at work, after which a break is left out
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


@dataclass(frozen=True, kw_only=True)
class _Bar:
    attempt: Attempt
    slot: int  # from 1
    begins: float  # seconds since the search began, without its breaks


def timeline(runs: Sequence[Attempt]) -> Figure | None:
    """Attempts in slots, as many as trials ran at a time; None where none began."""
    if not runs:
        return None
    starts, breaks = _without_breaks(runs)
    bars = [_Bar(attempt=each, slot=slot, begins=at) for each, slot, at in zip(runs, _slots(runs), starts, strict=True)]
    longest = max(each.begins + each.attempt.ended - each.attempt.began for each in bars)
    scale, unit = next((each for each in UNITS if longest > 2 * each[0]), UNITS[-1])
    by_state = {state: [each for each in bars if each.attempt.state == state] for state in COLOURS}
    traces = [_trace(state, here, scale, unit) for state, here in by_state.items() if here]
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "$soft", "dash": "dot"}}
    count = max(each.slot for each in bars)
    note = "Slots are as few as hold all trials; they are not numbers of cards."
    return figure(
        traces,
        says="which trial ran when, one row a slot",
        x=f"{unit} of search",
        y={"title": {"text": "slot"}, "dtick": max(1, count // 8), "range": [count + 0.5, 0.5]},
        note=f"{note} Dotted lines: the search stood still there." if breaks else note,
        height=min(520, 110 + 26 * count),
        barmode="overlay",
        bargap=0.15,
        shapes=[{**line, "x0": at / scale, "x1": at / scale} for at in breaks],
    )


def _trace(state: str, bars: Sequence[_Bar], scale: float, unit: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": state.lower(),
        "y": [each.slot for each in bars],
        "base": [short(each.begins / scale) for each in bars],
        "x": [short((each.attempt.ended - each.attempt.began) / scale) for each in bars],
        "customdata": [[each.attempt.number, label(each.attempt.outcome[:120])] for each in bars],
        "hovertemplate": f"trial %{{customdata[0]}}, %{{x:.3g}} {unit}<br>%{{customdata[1]}}<extra></extra>",
        "marker": {"color": COLOURS[state], "line": {"color": "$paper", "width": 0.5}},
    }


def _slots(runs: Sequence[Attempt]) -> Iterator[int]:
    """The lowest slot, from 1, that is free when each begins."""
    free: list[float] = []  # since when each is
    for each in runs:
        place = next((place for place, since in enumerate(free) if since <= each.began), len(free))
        free[place : place + 1] = [each.ended]
        yield place + 1


def _without_breaks(runs: Sequence[Attempt]) -> tuple[list[float], list[float]]:
    """Seconds from the first start to each without long breaks, and where those were on that shorter axis."""
    spans: list[list[float]] = []  # in which anything ran
    for each in runs:
        if spans and each.began <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], each.ended)
        else:
            spans.append([each.began, each.ended])
    longest = IDLE * sum(end - begin for begin, end in spans)
    cuts = [(new[0], new[0] - old[1]) for old, new in pairwise(spans) if new[0] - old[1] > longest]

    def shown(at: float) -> float:
        return at - runs[0].began - sum(length for since, length in cuts if since <= at)

    return [shown(each.began) for each in runs], [shown(since) for since, _ in cuts]
