"""The sections of a space file that say how to search, one frozen model each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "READ_BY",
    "SHORTHAND",
    "URLS",
    "Budget",
    "Confirms",
    "Gate",
    "Metric",
    "Notify",
    "Pruner",
    "Resources",
    "Sampler",
    "Winner",
    "variable_of",
]

SHORTHAND = {
    "metric": "name",
    "sampler": "type",
    "pruner": "type",
    "budget": "trials",
    "winner": "top",
    "ray": "address",
    "notify": "webhook",
}
"""Section -> the key that a scalar in the section's place stands for."""

URLS = ("storage", "mlflow", "ray")
"""Keys that say where a search keeps or runs things; environment and flags come before them."""

READ_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "sampler": {"startup_trials": ("tpe", "gp"), "order": ("staged",), "points": ("staged",)},
    "pruner": {
        "mode": ("asha",),
        "min_epochs": ("asha", "median", "hyperband"),
        "reduction": ("asha", "hyperband"),
        "startup_trials": ("median",),
    },
}
"""Section -> an option that only some types read -> those types."""

_TIME = re.compile(r"(?=.)(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_UNIT_SECONDS = (86400, 3600, 60, 1)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|TB)")
_UNIT_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_WEBHOOK = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_METRIC_NAME = re.compile(r"[A-Za-z0-9._/ -]{1,250}")


class Section(BaseModel):
    """Shared by all sections: no unknown keys, no conversion of text to numbers, no change once read."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Metric(Section):
    """The objective: which number of the last epoch ranks the trials, and which way."""

    name: str
    """As a trainer yields it: val/accuracy, val/loss, val/macro_f1 and so on."""
    goal: Literal["maximize", "minimize"]
    """Without a word about it: minimize where the name says loss or error, else maximize."""

    @property
    def sign(self) -> float:
        """1 or -1: of two values the better has the larger product with it."""
        return 1.0 if self.goal == "maximize" else -1.0

    @field_validator("name")
    @classmethod
    def _steers(cls, name: str) -> str:
        if not _METRIC_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metric name; one is written like val/accuracy")
        if name.startswith("test/"):
            raise ValueError("test data may not steer a search, only promotion reads it; use val/" + name[5:])
        return name

    @model_validator(mode="before")
    @classmethod
    def _infer_goal(cls, section: Any) -> Any:
        if not isinstance(section, Mapping) or not isinstance(section.get("name"), str):
            return section
        falls = any(word in section["name"].lower() for word in ("loss", "error"))
        return {"goal": "minimize" if falls else "maximize", **section}


class Sampler(Section):
    """Where the parameters of the next trial come from."""

    type: Literal["grid", "random", "tpe", "gp", "staged"] = "gp"
    """grid: every combination; random: drawn evenly; tpe: drawn where earlier trials were good; gp: where a Gaussian
    process of all that was trained, short or long, expects most; staged: one parameter after the other, each with the
    best values of those before it. Left out: gp, with several metrics tpe."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the draws, and of the trials: the same seed gives the same search."""
    startup_trials: int | None = Field(default=None, ge=0)
    """Random trials before tpe or gp begins to learn; None leaves the number to the sampler."""
    order: list[str] | None = None
    """Of staged: parameters, the most important first; those left out follow in the order of the file."""
    points: int = Field(default=5, ge=2)
    """Of staged: values that a range is tried at; of whole numbers and steps no more than there are."""

    @property
    def caveat(self) -> str | None:
        """What has to be said wherever the result of such a search is shown; None: nothing."""
        if self.type != "staged":
            return None
        return (
            "parameters were tuned one by one: how they act together was not searched, so that a better combination "
            "may have been passed over"
        )


class Pruner(Section):
    """What stops weak trials early."""

    type: Literal["none", "asha", "median", "hyperband"] = "none"
    """asha, hyperband: the best part goes on at each rung; median: what is below it stops. Left out: asha where random,
    tpe or gp searches and `trainer.epochs` is 3 or more, else none."""
    mode: Literal["promote", "stop"] = "stop"
    """Of asha. promote: a trial pauses at a rung, and goes on once it is among the best there; stop: it stops for good
    where it is not. Left out: promote, or stop with a trainer that keeps no state to go on from."""
    min_epochs: int = Field(default=1, ge=1)
    """No trial stops before, the first rung. Left out, asha takes a 27th of `trainer.epochs`, to stop a ninth."""
    reduction: int = Field(default=3, ge=2)
    """One trial of so many goes on at each rung."""
    startup_trials: int = Field(default=5, ge=0)
    """Trials that run to their end before the median means anything."""


class Budget(Section):
    """When the search ends: at whichever limit is reached first. None sets no limit."""

    trials: int | None = Field(default=None, ge=1)
    """That are begun; a grid takes the first cells."""
    time: float | None = Field(default=None, gt=0)
    """Seconds; in the file also 8h, 30m, 90s or 1h30m."""
    trial_time: float | None = Field(default=None, gt=0)
    """Of training, after which a trial is stopped with what it has reached."""
    epoch_time: float | None = Field(default=None, gt=0)
    """After which a trial hangs and is ended; None: ten times the median, at least a minute."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Over all trials, by the share of a GPU that each held."""
    with_winner: bool = False
    """Whether what `winner` trains again comes out of `trials` and `gpu_hours` too, and does not come on top."""
    price_per_gpu_hour: float | None = Field(default=None, gt=0)
    """In any currency; shown with what was spent."""
    cost: float | None = Field(default=None, gt=0)
    """Of GPU-hours at their price."""
    disk: float | None = Field(default=None, gt=0)
    """Bytes that the checkpoints of finished trials may take; in the file also 500MB or 20GB. The best stays anyhow."""
    failures: int | None = Field(default=None, ge=1)
    """So many failed trials end the search."""
    plateau: int | None = Field(default=None, ge=1)
    """So many trials in turn that came to their end, a rung or a stop without a new best end the search."""
    target: float | None = None
    """A trial that comes to this value of the metric, or a better one, at its end ends the search."""

    @field_validator("disk", mode="before")
    @classmethod
    def _bytes(cls, size: Any) -> Any:
        if not isinstance(size, str):
            return size
        match = _SIZE.fullmatch(size)
        if not match:
            raise ValueError(f"{size!r} is no size; write 500MB, 20GB, 1.5TB or a number of bytes")
        return float(match[1]) * _UNIT_BYTES[match[2]]

    @model_validator(mode="after")
    def _cost_has_a_price(self) -> Budget:
        if self.cost is not None and self.price_per_gpu_hour is None:
            raise ValueError(f"cost {self.cost:g} needs price_per_gpu_hour: what an hour of one GPU costs")
        return self

    @field_validator("time", "trial_time", "epoch_time", mode="before")
    @classmethod
    def _time(cls, time: Any) -> Any:
        return _seconds(time)


class Resources(Section):
    """What one trial may use, and all trials of the study together."""

    gpu: float | Literal["auto"] = "auto"
    """A share of one GPU, or a whole number of them; auto measures the first trial and chooses."""
    cpu: float = Field(default=1.0, gt=0)
    """Processors; the threads of a trial follow."""
    max_gpus: float | None = Field(default=None, gt=0)
    """GPUs that all trials of the study together hold at most, so that others have the rest; None: all there are."""
    max_cpus: float | None = Field(default=None, gt=0)
    """Processors likewise."""

    @field_validator("gpu", mode="before")
    @classmethod
    def _share(cls, gpu: Any) -> Any:
        number = isinstance(gpu, int | float) and not isinstance(gpu, bool)
        if gpu == "auto" or (number and gpu >= 0 and (gpu <= 1 or float(gpu).is_integer())):
            return float(gpu) if number else gpu
        raise ValueError(f"{gpu!r} is no number of GPUs; write auto, a share such as 0.25, or a whole number")

    @model_validator(mode="after")
    def _one_trial_fits(self) -> Resources:
        gpu = 0.0 if self.gpu == "auto" else self.gpu
        for key, most, needs in (("max_gpus", self.max_gpus, gpu), ("max_cpus", self.max_cpus, self.cpu)):
            if most is not None and most < needs:
                one = key.removeprefix("max_").removesuffix("s")
                raise ValueError(
                    f"{key} {most:g} is less than the {needs:g} that one trial takes; raise {key} or lower {one}"
                )
        return self

    @property
    def quota(self) -> str | None:
        """What all trials together hold at most, in words; None: no limit is set."""
        limits = {"GPU": self.max_gpus, "CPU": self.max_cpus}
        said = [f"{limit:g} {what}" for what, limit in limits.items() if limit is not None]
        return f"{' and '.join(said)} at most" if said else None

    @property
    def may_share(self) -> bool:
        """Whether trials may come to train on one card together."""
        return self.gpu == "auto" or 0 < self.gpu <= 0.5


class Winner(Section):
    """Ends a search by training its best trials again with fresh seeds."""

    top: int = Field(default=3, ge=1)
    """So many of the best trials are trained again."""
    seeds: int = Field(default=3, ge=1)
    """Fresh ones for each of them."""
    epochs: int | None = Field(default=None, ge=1)
    """Of each of these trainings; None: as many as in the search."""


class Gate(Section):
    """What a checkpoint has to reach to be promoted."""

    latency_ms: float = Field(default=100.0, gt=0)
    """That 95 of 100 single pictures are answered within."""
    size_mb: float = Field(default=500.0, gt=0)
    """Of 10**6 bytes: the weights as promoted."""
    quantised_mb: float = Field(default=100.0, gt=0)
    """The same in 8-bit integers."""
    gap: float = Field(default=0.2, ge=0)
    """Accuracy on training pictures less that on validation pictures, at most: what was learned by heart."""
    baseline: float | None = Field(default=None, ge=0, le=1)
    """Test accuracy to be beaten where no other model holds the alias."""


class Notify(Section):
    """Whom to tell of what happens while nobody looks: a command, a webhook, or both."""

    webhook: str | None = Field(default=None, repr=False)
    """Address that gets a POST of JSON with a `text`, as Slack's do; it is a secret, so better $HPO_WEBHOOK, a variable
    with the word WEBHOOK in its name."""
    command: list[str] | None = Field(default=None, min_length=1)
    """Program and arguments, run without a shell and kept on record, so no secret; the message is its standard input as
    JSON, and HPO_TEXT, HPO_EVENT, HPO_STUDY and so on in its environment."""
    on: list[Literal["end", "failure", "best"]] = Field(default=["end", "failure", "best"], min_length=1)
    """end: the search has ended, however; failure: a trial has failed for good, or the search by an error; best: a
    trial is better than all before."""
    every: float = Field(default=60.0, ge=0)
    """Seconds between two messages of failed trials or of new bests: the last of those between is told; also 5m."""

    @field_validator("webhook", mode="before")
    @classmethod
    def _address(cls, webhook: Any) -> Any:
        """The answer repeats nothing of it."""
        if webhook is None or (isinstance(webhook, str) and (_WEBHOOK.fullmatch(webhook) or variable_of(webhook))):
            return webhook
        raise ValueError(
            "this is no webhook: write $HPO_WEBHOOK, or another variable with WEBHOOK in its name, or https://..."
        )

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, command: Any) -> Any:
        if isinstance(command, str):
            raise ValueError(f"a command is a list, as no shell reads it: [{', '.join(command.split())}]")
        return command

    @field_validator("every", mode="before")
    @classmethod
    def _time(cls, time: Any) -> Any:
        return _seconds(time)

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Notify:
        if self.webhook is None and self.command is None:
            raise ValueError("nobody is told: give `webhook: $HPO_WEBHOOK`, or `command: [program, argument]`")
        return self

    @property
    def secret(self) -> str | None:
        """The address, where it stands here itself."""
        return self.webhook if self.webhook is not None and variable_of(self.webhook) is None else None


def variable_of(webhook: str) -> str | None:
    """The name of the variable that has the address, of `$NAME` or `${NAME}`; None of anything else."""
    match = _VARIABLE.fullmatch(webhook)
    return (match[1] or match[2]) if match and "WEBHOOK" in webhook.upper() else None


def _seconds(time: Any) -> Any:
    if not isinstance(time, str):
        return time
    match = _TIME.fullmatch(time)
    if not match:
        raise ValueError(f"{time!r} is no time; write 8h, 30m, 90s, 1h30m or a number of seconds")
    return math.fsum(float(part) * unit for part, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if part)


class Confirms(Section):
    """Makes a study the confirmation of a search: trials of that, each with every seed. `hpo confirm` writes it."""

    study: str
    uid: str
    """Of the search: another may have its name later."""
    points: dict[str, dict[str, Any]]
    """Number of a trial of the search -> its parameters."""
    seeds: list[int]
    top: int | None = None
    """So many of the best were asked for, at most so far; None: before this was kept."""
