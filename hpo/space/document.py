"""A space file as a plain tree that still knows where each key and value stands.

Everything that finds fault with a space file says so through `Document.refuse`, so that one run reports every error.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import SpecError

__all__ = ["Document", "Place", "Trail", "dotted", "near", "printable", "shown"]

Trail = tuple[str | int, ...]
"""The keys and list indices that lead from the top of the tree to a value."""

_SHOWN = 60
_NUMBER = re.compile(r"[-+.0-9][-+.0-9eE_]*")


@dataclass(frozen=True, order=True)
class Place:
    """Where an error is reported: a position in the file, an override, or (from a mapping) a dotted path."""

    line: int
    column: int
    label: str


@dataclass(kw_only=True)
class Document:
    """The tree of one space file, the places in it, and the errors found in it so far."""

    text: str
    tree: dict[str, Any]
    keys: dict[Trail, Place] = field(default_factory=dict)
    """Where each key stands; empty when the tree did not come from a file."""
    values: dict[Trail, Place] = field(default_factory=dict)
    """Where each value begins; () is the beginning of the file."""
    problems: set[tuple[Place, str]] = field(default_factory=set)

    unreadable: set[Trail] = field(default_factory=set)
    """Values with a stand-in in the tree; their error is known, and nothing is said of the stand-in."""

    def refuse(self, trail: Trail, message: str, *, key: bool = False) -> None:
        """Record an error at the value, or at the key, that the trail leads to; its nearest known parent otherwise."""
        if trail not in self.unreadable:
            self.problems.add((self.place(trail, key=key), message))

    def place(self, trail: Trail, *, key: bool = False) -> Place:
        if () not in self.values:
            return Place(0, 0, dotted(trail) or "space")
        if key and trail in self.keys:
            return self.keys[trail]
        known = trail
        while known not in self.values:
            known = known[:-1]
        # A key that is missing from a section is reported where the section's own key stands.
        return self.keys[known] if key and known in self.keys else self.values[known]

    def replace(self, trail: Trail, value: Any, place: Place) -> None:
        """Put a value into the tree, with sections made on the way; what stood there loses its places."""
        section: dict[str, Any] = self.tree
        for depth, step in enumerate(trail[:-1], start=1):
            if not isinstance(section.get(str(step)), dict):
                section[str(step)] = {}
                self._claim(trail[:depth], place)
            section = section[str(step)]
        section[str(trail[-1])] = value
        self._claim(trail, place)

    def _claim(self, trail: Trail, place: Place) -> None:
        if () not in self.values:
            return
        for places in (self.keys, self.values):
            for inner in [known for known in places if known[: len(trail)] == trail]:
                del places[inner]
            places[trail] = place

    def check(self) -> None:
        """Raise SpecError with every error recorded so far, in the order of the file."""
        if not self.problems:
            return
        lines = [f"{place.label}: {message}" for place, message in sorted(self.problems)]
        if len(lines) > 1:
            lines.append(f"{len(lines)} errors")
        raise SpecError("\n".join(printable(line) for line in lines))


def dotted(trail: Trail) -> str:
    """Write a trail the way it is typed: parameters.lr.values[2]."""
    text = ""
    for step in trail:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Write a bad value in an error, shortened, the way YAML spells it: null, true, and "64" for text."""
    text = value if isinstance(value, str) and not _NUMBER.fullmatch(value) else json.dumps(value, default=repr)
    return f"`{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}`"


def near(word: str, valid: Iterable[str]) -> str:
    """Return the "did you mean" that ends an error, or nothing where no valid word is near."""
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def printable(text: str) -> str:
    """Write control characters as escapes, so that no file can steer the terminal that shows its errors."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
