"""Courses of the learning rate over a training, one section each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from trainers.config.section import Float, Fraction, Int, Section

__all__ = [
    "SCHEDULES",
    "ConstantSchedule",
    "CosineSchedule",
    "MultistepSchedule",
    "OnecycleSchedule",
    "PlateauSchedule",
    "Schedule",
    "ScheduleName",
    "StepSchedule",
]

ScheduleName = Literal["constant", "step", "multistep", "cosine", "onecycle", "plateau"]


class ConstantSchedule(Section):
    """The learning rate stays lr."""

    name: Literal["constant"] = "constant"


class StepSchedule(Section):
    """lr is multiplied by gamma after every step_epochs."""

    name: Literal["step"] = "step"
    step_epochs: Int = Field(default=5, ge=1, description="epochs between two drops, from 1")
    gamma: Float = Field(default=0.1, gt=0, le=1, description="factor of each drop, in (0, 1]")


class MultistepSchedule(Section):
    """lr is multiplied by gamma at each milestone."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Fraction, ...] = Field(
        default=(0.5, 0.75), min_length=1, description="when to drop, as fractions of all epochs, rising, in (0, 1)"
    )
    gamma: Float = Field(default=0.1, gt=0, le=1, description="factor of each drop, in (0, 1]")

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"milestones {list(value)} must rise, as [0.5, 0.75] does")
        return value


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine from lr down to final_lr_fraction * lr over the remaining epochs."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: Float = Field(default=0, ge=0, description="epochs of linear warm-up, less than epochs; 0: none")
    final_lr_fraction: Float = Field(default=0, ge=0, lt=1, description="where the cosine ends, as a fraction of lr")


class OnecycleSchedule(Section):
    """Half a cosine up from lr/25 to lr over the warm-up, then down to lr/250,000 at the last batch."""

    name: Literal["onecycle"] = "onecycle"
    warmup_epochs: Float = Field(default=1, gt=0, description="epochs until lr is reached, less than epochs")


class PlateauSchedule(Section):
    """lr is multiplied by gamma when the validation loss has not fallen for more than patience_epochs."""

    name: Literal["plateau"] = "plateau"
    patience_epochs: Int = Field(default=5, ge=0, description="epochs without a lower validation loss, from 0")
    gamma: Float = Field(default=0.1, gt=0, lt=1, description="factor of each drop, in (0, 1)")


Schedule = ConstantSchedule | StepSchedule | MultistepSchedule | CosineSchedule | OnecycleSchedule | PlateauSchedule
SCHEDULES: dict[str, type[Section]] = {
    "constant": ConstantSchedule,
    "step": StepSchedule,
    "multistep": MultistepSchedule,
    "cosine": CosineSchedule,
    "onecycle": OnecycleSchedule,
    "plateau": PlateauSchedule,
}
