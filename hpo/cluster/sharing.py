"""How the trials of a run share cards: as recorded, as measured with the first trial, fewer once memory ran out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hpo.cluster import packing
from hpo.cluster.packing import Packing
from hpo.cluster.placement import Placement, place
from hpo.cluster.resources import cpus_per_card
from hpo.spec import SearchSpec
from hpo.study import Study
from hpo.workers.trial import Assignment, Report

__all__ = ["Sharing"]

ACCELERATOR = "accelerator_type:"  # how Ray names a kind of card among a cluster's resources


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial to measure with."""

    assignment: Assignment
    most: int  # copies that there are processors and trials for
    growth: float  # as for `packing.choose`


class Sharing:
    """Gives the placement of the trials, and says when it should be another."""

    def __init__(self, study: Study, there: Mapping[str, float], concurrency: int | None) -> None:
        self._study, self._there, self._concurrency = study, dict(there), concurrency
        self._resources = study.spec.resources
        most = self._resources.max_gpus
        # that the trials have when they fill one after the other
        self._cards = int(min(there.get("GPU", 0), math.inf if most is None else max(1.0, most)))
        kinds = [key.removeprefix(ACCELERATOR) for key in there if key.startswith(ACCELERATOR)]
        self._on = {"card": ", ".join(sorted(kinds)) or "GPU", "asked": str(self._resources.gpu)}
        self._share: float | None = None  # other than the file's
        self._whole = most is None or most >= 1  # a card is what it takes to measure
        self._open = self._resources.gpu == "auto" and self._cards > 0 and self._whole
        self._candidate: Candidate | None = None
        self._crowded: int | None = None  # the trial that ran out of memory
        self._recall()

    def _recall(self) -> None:
        """Take what an earlier run found for the same wish on cards of the same kind."""
        here = self._on.items()
        found = [row for row in self._study.ledger.packings(self._study.id) if here <= dict(row).items()]
        if found:
            self._open, self._share = False, 1 / found[-1]["per_card"]

    @property
    def placement(self) -> Placement:
        """Where trials go now; raises SpecError when not even one fits."""
        found = place(self._resources, self._there, self._concurrency, share=self._share)
        if self._resources.gpu != "auto" or found.per_card == 1 or not self._whole:
            return found
        # Ray fills a card before it takes the next: fewer on each where not all places can be taken
        needed = math.ceil(found.slots / self._cards)
        return place(self._resources, self._there, self._concurrency, share=max(found.gpu, 1 / needed))

    @property
    def unsettled(self) -> bool:
        """Whether the trials should be placed otherwise: what runs is to be stopped, and `settle` called."""
        return self._candidate is not None or self._crowded is not None

    @property
    def measures(self) -> bool:
        """Whether settling will take a while."""
        return self._crowded is None and self._candidate is not None

    def watch(
        self, report: Report, assignment: Assignment, *, trials_left: int | None, seconds_left: float | None
    ) -> None:
        """Take in a report, the trial's assignment, and what is left: trials to start, seconds of budget."""
        if report.full == "card":
            self._crowded = report.number
        elif self._open and report.config is not None:  # the built-in trainer's, with the first epoch of an attempt
            self._open = False
            trials = None if trials_left is None else trials_left + self._cards
            most = self._most_copies(trials)
            pays = packing.worth_measuring(
                trials=trials,
                epochs=report.config["epochs"],
                epoch_seconds=report.seconds,
                cards=self._cards,
                seconds_left=seconds_left,
            )
            if most > 1 and pays:
                growth = _growth(self._study.spec, report.config)
                self._candidate = Candidate(assignment=assignment, most=most, growth=growth)

    def _most_copies(self, trials: int | None) -> int:
        """Trials on a card that there are processors and trials for."""
        cpus = self._resources.max_cpus
        at_once = None if cpus is None else int(cpus / self._resources.cpu + 1e-9)
        wanted = [each for each in (trials, self._concurrency, at_once) if each is not None]
        limits = [math.ceil(each / self._cards) for each in wanted]
        return min(max(packing.LEVELS), int(cpus_per_card() / self._resources.cpu), *limits)

    def settle(self, on_tick: Callable[[], None]) -> str:
        """Find the new placement and record it; returns what was decided, in a sentence.

        `on_tick` is called several times a second; what it raises ends the measuring, with nothing decided.
        """
        from hpo.cluster.probe import ProbeError

        try:
            found = self._lower() if self._crowded is not None else self._measure(on_tick)
        except ProbeError as error:  # may be different next time: not for the record
            return f"1 to a card, for sharing could not be measured: {error}"
        finally:
            self._candidate = self._crowded = None
        self._share = 1 / found.per_card
        self._study.ledger.add_packing(self._study.id, card=self._on["card"], asked=self._on["asked"], **asdict(found))
        return f"{found.per_card} to a card: {found.reason}"

    def _lower(self) -> Packing:
        assert self._crowded is not None
        now = self.placement
        return packing.lower(min(now.per_card, now.slots), self._crowded)

    def _measure(self, on_tick: Callable[[], None]) -> Packing:
        from hpo.cluster.probe import probe

        assert self._candidate is not None
        growth = self._candidate.growth
        found = probe(self._candidate.assignment, most=self._candidate.most, growth=growth, on_tick=on_tick)
        return packing.choose(found.measured, room_mb=found.room_mb, growth=growth, problem=found.problem)


def _growth(space: SearchSpec, config: Mapping[str, Any]) -> float:
    """How many times as much memory as this trial another may take: in proportion to the batch, which is the most."""
    searched = space.parameters.get("batch_size")
    sizes = [float(size) for size in searched.probes().values()] if searched else []
    return max([*sizes, float(config["batch_size"])]) / float(config["batch_size"])
