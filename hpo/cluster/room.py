"""What keeps work of ours from its place in a cluster that others use too."""

from __future__ import annotations

import time
from collections.abc import Mapping

import ray

__all__ = ["Room", "lacking"]

SOON = 5.0  # seconds in which a process starts where there is room
LATE = 30.0  # from which it is said even where there should be
AGAIN = 2.0  # seconds between two looks


class Room:
    """Asked again and again whether something waits for a place, says so once it has waited for a while."""

    def __init__(self, *, cpu: float, gpu: float) -> None:
        self._cpu, self._gpu = cpu, gpu
        self._since: float | None = None
        self._looked = 0.0
        self.waits: str | None = None
        """What is waited for, in a sentence; None: nothing is, or not for long."""

    def look(self, *, waiting: bool) -> None:
        """Take in whether it waits now; asks the cluster every few seconds at most, and only then."""
        now = time.monotonic()
        if not waiting:
            self._since = self.waits = None
            return
        self._since = self._since or now
        if now - self._since < SOON or now - self._looked < AGAIN:
            return
        self._looked = now
        self.waits = lacking(
            ray.cluster_resources(), ray.available_resources(), cpu=self._cpu, gpu=self._gpu, waited=now - self._since
        )


def lacking(
    there: Mapping[str, float], free: Mapping[str, float], *, cpu: float, gpu: float, waited: float
) -> str | None:
    """Why a share finds no place, of what the cluster has and what of that is free; None: it should find one soon."""
    needed = {"GPU": gpu, "CPU": cpu}
    share = _said({key: each for key, each in needed.items() if each})

    def short(of: Mapping[str, float]) -> bool:
        return any(of.get(key, 0.0) + 1e-9 < each for key, each in needed.items())

    def part(of: Mapping[str, float]) -> str:
        return _said({key: of.get(key, 0.0) for key, each in needed.items() if each})

    if short(there):
        return f"waiting for {share}: the cluster has no more than {part(there)} by now"
    if short(free):
        return f"waiting for {share}: other searches hold the cluster, free are {part(free)}"
    return f"waiting for {share} on one machine of the cluster" if waited >= LATE else None


def _said(amounts: Mapping[str, float]) -> str:
    return " and ".join(f"{each:g} {key}" for key, each in amounts.items())
