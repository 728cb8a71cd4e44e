"""How the trials of a run share cards: as recorded, as measured with the first trial, fewer once memory ran out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict

from hpo import packing
from hpo.packing import Packing
from hpo.resources import Placement, place
from hpo.spec import SearchSpec
from hpo.study import Study
from hpo.trial import Assignment, Report

__all__ = ["Sharing"]

ACCELERATOR = "accelerator_type:"  # how Ray names a kind of card among a cluster's resources


class Sharing:
    """Gives the placement of the trials, and says when it should be another."""

    def __init__(self, study: Study, there: Mapping[str, float], concurrency: int | None) -> None:
        self._study, self._there, self._concurrency = study, dict(there), concurrency
        self._resources = study.spec.resources
        self._cards = int(there.get("GPU", 0))
        self._card = next((key.removeprefix(ACCELERATOR) for key in there if key.startswith(ACCELERATOR)), "GPU")
        self._share: float | None = None  # other than the file's
        self._open = self._resources.gpu == "auto" and self._cards > 0
        self._probed: tuple[Assignment, int] | None = None  # the trial to measure with, and how many copies
        self._crowded: int | None = None  # the trial that ran out of memory
        if self._open:
            self._recall()

    def _recall(self) -> None:
        """Take what an earlier run found on cards of this kind."""
        found = [row for row in self._study.ledger.packings(self._study.id) if row["card"] == self._card]
        if found:
            self._open, self._share = False, 1 / found[-1]["per_card"]

    @property
    def placement(self) -> Placement:
        """Where trials go now; raises SpecError when not even one fits."""
        return place(self._resources, self._there, self._concurrency, share=self._share)

    @property
    def unsettled(self) -> bool:
        """Whether the trials should be placed otherwise: what runs is to be stopped, and `settle` called."""
        return self._probed is not None or self._crowded is not None

    @property
    def measures(self) -> bool:
        """Whether settling will take a while."""
        return self._crowded is None and self._probed is not None

    def watch(self, report: Report, assignment: Assignment, trials_left: int | None) -> None:
        """Take in a report, the trial's assignment, and how many trials are still to be started."""
        if report.crowded:
            self._crowded = report.number
        elif self._open and report.epoch is not None:
            self._open = False
            most = self._most_copies(trials_left)
            epochs = assignment.trainer.get("epochs", report.epoch)
            trials = None if trials_left is None else trials_left + self._cards
            pays = packing.worth_measuring(
                trials=trials, epochs=epochs, epoch_seconds=report.seconds, cards=self._cards
            )
            if most > 1 and pays and "import" not in assignment.trainer:
                self._probed = (assignment, most)

    def _most_copies(self, trials_left: int | None) -> int:
        """Trials on a card that there are processors and trials for."""
        limits = [max(packing.LEVELS), int(self._there.get("CPU", 1.0) / self._resources.cpu / self._cards)]
        if trials_left is not None:
            limits.append(math.ceil((trials_left + self._cards) / self._cards))
        if self._concurrency is not None:
            limits.append(math.ceil(self._concurrency / self._cards))
        return min(limits)

    def settle(self, on_tick: Callable[[], None]) -> str:
        """Find the new placement and record it; returns what was decided, in a sentence.

        `on_tick` is called several times a second; what it raises ends the measuring, with nothing decided.
        """
        if self._crowded is not None:
            found = packing.lower(self.placement.per_card, self._crowded)
        else:
            found = self._measure(on_tick)
        self._probed = self._crowded = None
        self._share = 1 / found.per_card
        self._study.ledger.add_packing(self._study.id, card=self._card, **asdict(found))
        return f"{found.per_card} to a card: {found.reason}"

    def _measure(self, on_tick: Callable[[], None]) -> Packing:
        from hpo.probe import ProbeError, measure

        assert self._probed is not None
        assignment, most = self._probed
        try:
            growth = _growth(self._study.spec, assignment)
            measured, room = measure(assignment, most=most, growth=growth, on_tick=on_tick)
        except ProbeError as error:
            return Packing(per_card=1, reason=f"sharing could not be measured: {error}")
        return packing.choose(measured, room_mb=room, growth=growth)


def _growth(space: SearchSpec, assignment: Assignment) -> float:
    """How many times as much memory as this trial another may take: in proportion to the batch, which is the most."""
    batch, mine = space.parameters.get("batch_size"), assignment.trainer.get("batch_size")
    if batch is None or mine is None:
        return 1.0
    return max(float(size) for size in batch.probes().values()) / float(mine)
