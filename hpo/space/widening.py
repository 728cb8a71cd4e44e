"""Whether a changed space may follow on a search: every trial so far must be one that the new space could have had."""

from __future__ import annotations

from collections.abc import Mapping

from hpo.space.parameters import Choice, FloatRange, IntRange, Parameter, same
from hpo.wording import literal

__all__ = ["refusals"]

KINDS = {Choice: "a list of values", IntRange: "a range of whole numbers", FloatRange: "a range of floats"}


def refusals(old: Mapping[str, Parameter], new: Mapping[str, Parameter]) -> list[str]:
    """Every reason why the new parameters are no extension of the old ones; empty where they are."""
    gone = [f"parameters.{name}: is missing; its trials were searched over it" for name in old if name not in new]
    fresh = [f"parameters.{name}: is new; no trial so far has it" for name in new if name not in old]
    changed = [f"parameters.{name}{reason}" for name in old if name in new for reason in _reasons(old[name], new[name])]
    return [*gone, *fresh, *changed]


def _reasons(old: Parameter, new: Parameter) -> list[str]:
    if type(old) is not type(new):
        return [f": {KINDS[type(old)]} cannot become {KINDS[type(new)]}"]
    found = [".when: may not change"] if old.when != new.when else []
    if isinstance(old, Choice):
        assert isinstance(new, Choice)
        lost = [each for each in old.options if not any(same(each, other) for other in new.options)]
        return found + [f".values: {literal(each)} is missing; values can only be added" for each in lost]
    assert not isinstance(new, Choice)
    if new.min > old.min:
        found.append(f".min: {old.min} -> {new.min} is narrower; a range can only be widened")
    if new.max < old.max:
        found.append(f".max: {old.max} -> {new.max} is narrower; a range can only be widened")
    if old.log != new.log:
        found.append(".log: may not change")
    if old.step != new.step:
        found.append(f".step: {literal(old.step)} -> {literal(new.step)} may not change")
    elif old.step and new.min < old.min and not new.contains(old.min):
        found.append(f".min: from {new.min} no number of steps of {old.step} leads to the {old.min} that it was")
    return found
