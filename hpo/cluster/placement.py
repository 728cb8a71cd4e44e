"""The share of a cluster that a trial gets, and how many fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hpo.errors import SpecError
from hpo.space.sections import Resources

__all__ = ["Placement", "place"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The share of every trial, and how many run at once."""

    cpu: float
    gpu: float
    slots: int
    note: str | None = None  # what differs from what was asked for, in a sentence

    @property
    def per_card(self) -> int:
        """Trials on a card at a time."""
        return math.floor(1 / self.gpu + 1e-9) if 0 < self.gpu < 1 else 1


def place(
    wanted: Resources, there: Mapping[str, float], concurrency: int | None, *, share: float | None = None
) -> Placement:
    """Fit the trials onto the cluster.

    `share` of a card, where there are any, comes before what the file says. `gpu: auto` is one GPU a trial where there
    are any, less where all trials together may have less. A GPU asked for and not there falls back to the CPU. What
    other searches hold does not count: their trials end.

    Raises:
        SpecError: not even one trial fits.
    """
    if concurrency is not None and concurrency < 1:
        raise SpecError(f"concurrency {concurrency} is below 1; leave it out for as many trials as fit")
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if wanted.gpu == "auto":
        gpu = (share or min(1.0, wanted.max_gpus or 1.0)) if gpus else 0.0
    else:
        gpu = share or float(wanted.gpu)
    note = None
    if gpu and not gpus:
        gpu, note = 0.0, f"resources.gpu is {wanted.gpu:g} and there is no GPU: trials run on the CPU"
    if wanted.cpu > cpus or gpu > gpus:
        raise SpecError(f"a trial asks for {wanted.cpu:g} CPUs and {gpu:g} GPUs; the cluster has {cpus:g} and {gpus:g}")
    fitting = math.floor(cpus / wanted.cpu + 1e-9)
    if gpu:
        # shares of one card never span two
        fitting = min(fitting, int(gpus) * math.floor(1 / gpu + 1e-9) if gpu <= 1 else math.floor(gpus / gpu + 1e-9))
    limits = [fitting, concurrency or fitting]
    for key, most, each in (("max_gpus", wanted.max_gpus, gpu), ("max_cpus", wanted.max_cpus, wanted.cpu)):
        if most is not None and each:
            limits.append(math.floor(most / each + 1e-9))
            if not limits[-1]:
                raise SpecError(f"resources.{key} is {most:g} and a trial takes {each:g}: --set resources.{key}=N")
    return Placement(cpu=wanted.cpu, gpu=gpu, slots=min(limits), note=note)
