"""All checks of a search: those of its stores here, those of its trainer where trials run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpo.audit import disk
from hpo.cluster.placement import Placement
from hpo.preflight import stores
from hpo.preflight.battery import Measured
from hpo.preflight.names import NAMES
from hpo.preflight.outlook import Outlook, judged, outlook
from hpo.settings import Settings
from hpo.spec import SearchSpec
from trainers.checks.finding import Finding

__all__ = ["Checked", "Checks"]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What all checks found."""

    findings: tuple[Finding, ...]
    outlook: Outlook | None
    measured: Measured | None
    page: Path | None = None
    unwritten: str | None = None  # why there is no page, where there should be one

    def of(self, verdict: str) -> list[Finding]:
        return [each for each in self.findings if each.verdict == verdict]

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        plain = [{**vars(each), "details": dict(each.details)} for each in self.findings]
        return {"checks": plain, "page": str(self.page) if self.page else None}


@dataclass(kw_only=True)
class Checks:
    """The checks of one search, which are told one by one to `say`."""

    space: SearchSpec
    settings: Settings
    placement: Placement
    concurrency: int | None  # as it was asked for
    skip: frozenset[str]
    say: Callable[[Finding], None]
    _found: list[Finding] = field(default_factory=list)

    def run(self, trainer: Iterable[Finding | Measured], *, ask_mlflow: bool) -> Checked:
        """Check the stores while `trainer` is at work, take in what that finds, then judge time and room."""
        if "database" not in self.skip:
            self._take(stores.studies(self.settings))
        if "mlflow" not in self.skip:
            self._take(stores.tracking(self.settings, ask=ask_mlflow))
        if "checkpoints" not in self.skip:
            self._take(stores.checkpoints(self.settings))
        if "notify" not in self.skip and self.space.notify is not None:
            self._take(stores.told(self.space.notify))
        measured = None
        for each in trainer:
            if isinstance(each, Measured):
                measured = each
            else:
                self._take(each)
        if "disk" not in self.skip:
            self._take(self._disk(measured))
        found = self._outlook(measured)
        for name in (each for each in NAMES if each in self.skip):
            self._take(Finding(name=name, verdict="skip", said="left out by --skip-check"))
        order = list(NAMES)
        ordered = sorted(self._found, key=lambda each: order.index(each.name))
        return Checked(findings=tuple(ordered), outlook=found, measured=measured)

    def _take(self, finding: Finding) -> None:
        """Add a finding; of several of one name the first counts, unless a later one fails."""
        before = next((each for each in self._found if each.name == finding.name), None)
        if before is not None:
            if finding.verdict != "fail":
                return
            self._found.remove(before)  # such as `trainer`, which was made, and whose process was lost since
        self._found.append(finding)
        self.say(finding)

    def _outlook(self, measured: Measured | None) -> Outlook | None:
        if measured is None:
            return None
        placement = self.placement
        found = outlook(
            self.space,
            epoch_seconds=measured.epoch_seconds,
            epochs=measured.epochs,
            slots=placement.slots,
            gpu=placement.gpu,
        )
        if "forecast" not in self.skip:
            self._take(judged(found, self.space, measured=measured.measured))
        return found

    def _disk(self, measured: Measured | None) -> Finding:
        one = measured.checkpoint_bytes if measured is not None else None
        if one is None:
            return Finding(name="disk", verdict="skip", said="how much a checkpoint takes is not known")
        ahead = disk.forecast(self.space, self.settings, None, concurrency=self.concurrency, one=one)
        details = {"need": ahead.need, "free": ahead.free}
        if ahead.warning is None:
            return Finding(name="disk", verdict="pass", said=disk.told(ahead), details=details)
        verdict: Any = "fail" if ahead.need is not None and ahead.need > ahead.free else "warn"
        do = "room in that folder, budget.disk, or --home on another disk"
        return Finding(name="disk", verdict=verdict, said=ahead.warning, do=do, details=details)
