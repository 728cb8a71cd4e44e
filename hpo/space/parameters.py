"""What a search may vary: ranges and choices, each perhaps on a condition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Choice", "Conditional", "FloatRange", "IntRange", "Parameter", "grid", "kind_of", "same"]


class Conditional(BaseModel):
    """A searched value that exists in every trial, or only where other parameters have the values in `when`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)

    when: dict[str, list[Any]] | None = None
    """Another parameter -> the values it must have; a single value in the file is a list of one."""

    @field_validator("when", mode="before")
    @classmethod
    def _listed(cls, when: Any) -> Any:
        if not isinstance(when, Mapping):
            return when
        if not when or [] in when.values():
            raise ValueError("`when` names a parameter and the values it must have, as in {optimizer: [sgd]}")
        return {key: value if isinstance(value, list) else [value] for key, value in when.items()}

    def active(self, params: Mapping[str, Any]) -> bool:
        """Whether the parameter exists beside these; a condition on an absent parameter does not hold."""
        conditions = (self.when or {}).items()
        return all(name in params and any(same(params[name], each) for each in allowed) for name, allowed in conditions)


class FloatRange(Conditional):
    """Floats from min to max, both included; even in the logarithm with `log`, in steps with `step`."""

    min: float
    max: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_range(self.min, self.max, self.log, self.step)
        return self

    @property
    def enumerable(self) -> bool:
        return self.step is not None

    @property
    def size(self) -> int:
        return len(_steps(self.min, self.max, self.step)) if self.step else 0

    def values(self) -> list[float]:
        """Every value of a range with a step, exact in decimals: 0.3, never 0.30000000000000004.

        Raises:
            ValueError: the range has no step.
        """
        if self.step is None:
            raise ValueError("a range of floats has no list of values without `step`")
        low, step = Decimal(str(self.min)), Decimal(str(self.step))
        return [float(low + step * index) for index in _steps(self.min, self.max, self.step)]

    def contains(self, value: Any) -> bool:
        """Whether a trial may have this value; samplers hit a step to a rounding error only."""
        return _is_number(value) and self.min <= value <= self.max and _on_step(value, self.min, self.step)

    @property
    def probe(self) -> float:
        """The first of `probes`."""
        return self.min

    def probes(self) -> dict[str, float]:
        """Values worth checking, by the key that is at fault: the bounds, and one between that is no integer."""
        inner = self.min + (self.step or (self.max - self.min) * 0.382)
        return {"min": self.min, "max": self.max, "step" if self.step else "": inner}


class IntRange(Conditional):
    """Whole numbers from min to max, both included."""

    min: int
    max: int
    log: bool = False
    step: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> IntRange:
        _check_range(self.min, self.max, self.log, self.step)
        return self

    @property
    def enumerable(self) -> bool:
        return True

    @property
    def size(self) -> int:
        return len(_steps(self.min, self.max, self.step or 1))

    def values(self) -> list[int]:
        step = self.step or 1
        return [self.min + step * index for index in _steps(self.min, self.max, step)]

    def contains(self, value: Any) -> bool:
        return _is_number(value) and self.min <= value <= self.max and _on_step(value, self.min, self.step or 1)

    @property
    def probe(self) -> int:
        return self.min

    def probes(self) -> dict[str, int]:
        return {"min": self.min, "max": self.max}


class Choice(Conditional):
    """One of a list of values: text, numbers, booleans or null."""

    options: tuple[Any, ...] = Field(alias="values")

    @field_validator("options", mode="before")
    @classmethod
    def _distinct(cls, options: Any) -> Any:
        if not isinstance(options, list | tuple):
            raise ValueError("`values` is a list, as in [64, 128]")
        if not options:
            raise ValueError("`values` holds at least one value")
        for option in options:
            if isinstance(option, Mapping):
                raise ValueError("a mapping cannot be a choice; search its keys by their dotted paths")
            if isinstance(option, list | tuple):  # Optuna's database has no column for it
                raise ValueError(f"the list {option!r} cannot be a choice; give it a name that the trainer knows")
        seen = set()
        for option in options:
            alike = isinstance(option, bool), option  # two of a kind are the `same`
            if alike in seen:
                raise ValueError(f"{option!r} stands twice in `values`")
            seen.add(alike)
        return tuple(options)

    @property
    def enumerable(self) -> bool:
        return True

    @property
    def size(self) -> int:
        return len(self.options)

    def values(self) -> list[Any]:
        return list(self.options)

    def contains(self, value: Any) -> bool:
        return any(same(value, each) for each in self.options)

    @property
    def probe(self) -> Any:
        return self.options[0]

    def probes(self) -> dict[str, Any]:
        return {f"values[{index}]": option for index, option in enumerate(self.options)}


Parameter = FloatRange | IntRange | Choice


def kind_of(entry: Mapping[str, Any]) -> type[Parameter]:
    """Tell a choice from a range by its keys, and whole numbers from floats by the numbers themselves."""
    if "values" in entry:
        return Choice
    numbers = [entry[key] for key in ("min", "max", "step") if entry.get(key) is not None]
    return IntRange if all(isinstance(number, int) for number in numbers) else FloatRange


def same(one: Any, other: Any) -> bool:
    """Equality that keeps true apart from 1, as the file does; 1 and 1.0 are the same number."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def grid(parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Yield every combination once, the last parameter varying fastest; parents must stand before their dependants."""
    yield from _extend({}, list(parameters.items()))


def _extend(point: dict[str, Any], rest: list[tuple[str, Parameter]]) -> Iterator[dict[str, Any]]:
    if not rest:
        yield point
        return
    (name, parameter), *later = rest
    if not parameter.active(point):
        yield from _extend(point, later)
        return
    for value in parameter.values():
        yield from _extend({**point, name: value}, later)


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low >= high:
        raise ValueError(f"min {low!r} is not below max {high!r}; one fixed value belongs in `trainer`")
    if log and step is not None:
        raise ValueError("`log` and `step` exclude each other; use `values` for chosen points")
    if log and low <= 0:
        raise ValueError(f"`log` needs min above 0, not {low!r}")
    if step is None:
        return
    span, width = Decimal(str(high)) - Decimal(str(low)), Decimal(str(step))
    if span % width:
        last = Decimal(str(low)) + span // width * width
        raise ValueError(
            f"max {high!r} is no whole number of steps of {step!r} above min; use {last} or {last + width}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_step(value: float, low: float, step: float | None) -> bool:
    count = (value - low) / step if step else 0.0
    return abs(count - round(count)) < 1e-8


def _steps(low: float, high: float, step: float) -> range:
    return range(int((Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))) + 1)
