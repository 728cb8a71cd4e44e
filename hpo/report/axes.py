"""A searched parameter as an axis: where its values stand, and what is written there."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.space.parameters import Choice, Parameter, same
from hpo.wording import literal

__all__ = ["Axis", "label"]

LONGEST = 24  # characters of a choice that an axis shows


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter. Positions are numbers on the axis: a logarithm, a place in the list of choices, or the value."""

    name: str
    parameter: Parameter

    @property
    def log(self) -> bool:
        return not isinstance(self.parameter, Choice) and self.parameter.log

    @property
    def choices(self) -> list[Any]:
        """The values of a choice; empty for a range."""
        return list(self.parameter.values()) if isinstance(self.parameter, Choice) else []

    def position(self, params: Mapping[str, Any]) -> float | None:
        """Where a trial with these parameters stands; None where a condition kept the parameter out."""
        if self.name not in params:
            return None
        value = params[self.name]
        if isinstance(self.parameter, Choice):
            return next((float(place) for place, one in enumerate(self.choices) if same(one, value)), None)
        return math.log10(value) if self.log else float(value)

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last position there may be, never the same."""
        if isinstance(self.parameter, Choice):
            return -0.5, len(self.choices) - 0.5
        low, high = float(self.parameter.min), float(self.parameter.max)
        if self.log:
            low, high = math.log10(low), math.log10(high)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def ticks(self) -> list[tuple[float, str]]:
        """A few positions with what they stand for."""
        if isinstance(self.parameter, Choice):
            return [(float(place), _shortened(literal(each))) for place, each in enumerate(self.choices)]
        low, high = self.span
        if self.log and high - low >= 1:
            stride = max(1, round((high - low) / 5))
            return [(float(each), f"{10.0**each:g}") for each in range(math.ceil(low), math.floor(high) + 1, stride)]
        steps = [low + (high - low) * index / 4 for index in range(5)]
        return [(each, f"{10**each if self.log else each:.3g}") for each in steps]

    def layout(self) -> dict[str, Any]:
        """The axis for plotly."""
        low, high = self.span
        gap = 0.0 if self.choices else (high - low) * 0.03
        where: Sequence[tuple[float, str]] = self.ticks()
        return {
            "title": {"text": label(self.name)},
            "range": [low - gap, high + gap],
            "automargin": bool(self.choices),
            "tickvals": [position for position, _ in where],
            "ticktext": [label(text) for _, text in where],
        }


def label(text: object) -> str:
    """Text for plotly, which takes some HTML in it for markup."""
    return html.escape(str(text), quote=False)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
