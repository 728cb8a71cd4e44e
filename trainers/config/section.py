"""What all sections of a training's configuration share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Float", "Fraction", "Int", "Section"]


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is a switch, which this field does not take; write a number")
    return value


# pydantic reads true as 1, which nobody means who writes `lr: true`.
Int = Annotated[int, BeforeValidator(_no_switch)]
Float = Annotated[float, BeforeValidator(_no_switch)]
Fraction = Annotated[Float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Immutable, no unknown keys, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
