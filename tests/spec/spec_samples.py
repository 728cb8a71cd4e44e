"""A small good space, and texts made of it with some sections replaced."""

from __future__ import annotations

SECTIONS = {
    "name": "name: sample",
    "metric": "metric: val/accuracy",
    "sampler": "sampler: tpe",
    "parameters": "parameters:\n  lr: {min: 1e-3, max: 1.0, log: true}",
    "trainer": "trainer: {model: lightweight_cnn_gap, dataset: digits, epochs: 6}",
    "budget": "budget: {trials: 4}",
}


def space(**sections: str | None) -> str:
    """Return the sample with whole sections replaced, added, or, where None, left out."""
    return "\n".join(text for text in (SECTIONS | sections).values() if text is not None) + "\n"


def searching(entries: str, **sections: str | None) -> str:
    """Return the sample with these entries, one a line, as its parameters."""
    return space(parameters="parameters:\n" + "\n".join(f"  {line}" for line in entries.splitlines()), **sections)
