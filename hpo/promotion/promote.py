"""From a search's winner to a version of a model in MLflow's registry, in an order in which a kill does no harm.

The alias moves last, to a version that was read back and answered. What is written before is found again and used by
the same command: the score on the test part, and a version of the same checkpoint that is whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.engine import RowMapping

from hpo.errors import SpecError, Unavailable
from hpo.model import openings
from hpo.promotion import gate
from hpo.promotion.card import card
from hpo.promotion.gate import Champion, Check
from hpo.promotion.journal import REFUSED, Promotions, alone, end, settle
from hpo.study import Study
from hpo.winner.candidate import Candidate, candidate, require_built_in
from trainers.folders import owner_only

if TYPE_CHECKING:
    from hpo.promotion.appraisal import Appraisal
    from hpo.promotion.registry import Registry, Version
    from hpo.promotion.release import Release

__all__ = ["Promotion", "Wish", "promote"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for."""

    trial: int | None = None  # None: the winner
    alias: str = "champion"
    waived: Mapping[str, str] = field(default_factory=dict)  # check -> reason
    device: str | None = None  # that scores and times it
    int8: bool = False  # whether an 8-bit file goes with it


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What came of it."""

    outcome: Literal["promoted", "refused", "unchanged"]
    model: str
    alias: str
    study: str
    trial: int
    sha256: str
    version: int | None  # None: none was made
    previous: int | None  # version that held the alias before
    checks: tuple[Check, ...]
    test: Mapping[str, Any] | None  # scores on the test part, with the number of its openings
    latency: Mapping[str, Any] | None

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def promote(study: Study, wish: Wish, say: Callable[[str], None]) -> Promotion:
    """Measure the winner of a search, put it through the gate, and give it the alias.

    `say` is told each step. Nothing is changed in the registry where the gate refuses.

    Raises:
        SpecError: the trainer is the user's own, or the study confirms another; pictures or device are not there.
        NoUsableTrial: there is no winner, or its checkpoint is damaged or gone.
        Unavailable: MLflow does not answer, or another promotion of the study is at work.
    """
    _require_search(study)
    found = candidate(study, wish.trial)
    with alone(study) as folder, owner_only():
        return _Work(study, found, wish, say, folder).run()


class _Work:
    """One promotion under way."""

    def __init__(self, study: Study, found: Candidate, wish: Wish, say: Callable[[str], None], folder: Path) -> None:
        from hpo.promotion.registry import Registry  # imports MLflow, which takes seconds

        self._study, self._found, self._wish, self._say, self._folder = study, found, wish, say, folder
        self._kept = Promotions(study.ledger)
        self._registry: Registry = Registry(study.settings, study.name, folder)
        self._champion = self._registry.pointed(wish.alias)

    def run(self) -> Promotion:
        ended = settle(self._study, self._kept, self._wish.alias, self._previous)
        if self._champion is not None and self._serves(self._champion):
            if self._is_as_promoted(self._champion):
                return self._already(self._champion, ended)
            self._say(f"the files of version {self._champion.number} are not those that were promoted: it is replaced")
        return self._attempt(
            self._kept.begin(
                study=self._study.id,
                trial=self._found.trial,
                runs=self._found.runs.name,
                run=self._found.run,
                sha256=self._found.sha256,
                model=self._study.name,
                alias=self._wish.alias,
            )
        )

    def _serves(self, version: Version) -> bool:
        """Whether a version is of this checkpoint, with the 8-bit file where one is wanted."""
        ours = version.tags.get("hpo.sha256") == self._found.sha256
        return ours and (not self._wish.int8 or "hpo.int8" in version.tags)

    def _is_as_promoted(self, version: Version) -> bool:
        from hpo.promotion import bundle

        row = self._kept.of_version(self._study.name, self._wish.alias, version.number)
        try:
            with self._registry.fetched(version) as folder:
                return row is not None and bundle.digest(folder) == row["digest"]
        except Unavailable:  # its files have gone; where it is MLflow that has, the upload will say so
            return False

    def _already(self, version: Version, ended: Sequence[RowMapping]) -> Promotion:
        """The alias is at a version of this checkpoint: it moved before a kill, or this was typed twice."""
        row = next((each for each in ended if each["version"] == version.number), None)
        if row is None:
            return self._result("unchanged", version=version.number, previous=None)
        self._say(f"version {version.number} has {self._wish.alias} since a promotion that was cut short; it ended now")
        checks = [Check(**each) for each in json.loads(row["checks"])]
        return self._result("promoted", version=version.number, previous=row["previous"], checks=checks)

    def _attempt(self, row: RowMapping) -> Promotion:
        from hpo.promotion.appraisal import Appraisal
        from hpo.promotion.release import Release

        self._flush()
        seen = Appraisal.of(self._found, self._study.settings, device=self._wish.device)
        self._say(f"trial {self._found.trial}: the checkpoint is the one on record, {self._found.sha256[:12]}")
        if not self._found.fresh:
            again = f"; `{self._study.settings.command('confirm', self._study.name)}` tells"
            tells = "" if self._study.spec.several else again
            self._say(f"it was not trained again with fresh seeds, so its number is too good by luck{tells}")
        release = Release(seen, self._folder / "release")
        release.weights(int8=self._wish.int8)
        checks, test = self._judge(seen, release, row)
        self._kept.update(row["id"], checks=json.dumps([each.facts() for each in checks]))
        if not gate.passed(checks):
            self._kept.end(row["id"], REFUSED)
            return self._result("refused", checks=checks, test=test, latency=release.latency)
        record = release.record(self._study.name, self._wish.alias, checks=checks, test=test)
        version = self._registered(release, record)
        self._move(row, version)
        end(self._study, self._kept, self._kept.row(row["id"]))
        more = {"checks": checks, "test": test, "latency": release.latency}
        return self._result("promoted", version=version.number, previous=self._previous, **more)

    def _flush(self) -> None:
        """Let MLflow have the run of the training, which the version links to."""
        runs = self._found.runs
        trial = runs.ledger.trial(runs.id, self._found.run)
        if trial is not None and trial["run_id"] is None:
            from hpo.tracking.delivery import deliver

            deliver(runs)

    # -- the gate -----------------------------------------------------------------------------------------------------

    def _judge(
        self, seen: Appraisal, release: Release, row: RowMapping
    ) -> tuple[list[Check], Mapping[str, Any] | None]:
        limits, waived = self._study.spec.gate, self._wish.waived
        measured = seen.measured(size=release.bytes, p95_ms=release.latency["p95_ms"], quantised=release.quantised)
        checks, champion = gate.judge(measured, limits, waived), self._rival()
        if not gate.passed(checks):
            return [*checks, gate.closed(champion, limits)], None
        try:
            test = self._scored(seen, row)
        except SpecError as error:
            return [*checks, gate.untested(str(error), champion, limits, waived)], None
        return [*checks, gate.judge_accuracy(test["accuracy"], test["data"], champion, limits, waived)], test

    def _rival(self) -> Champion | None:
        """What holds the alias, unless it is the same checkpoint."""
        version = self._champion
        if version is None or version.tags.get("hpo.sha256") == self._found.sha256:
            return None
        row = self._kept.of_version(self._study.name, None, version.number)
        scores = json.loads(row["scores"]) if row is not None and row["scores"] else {}
        return Champion(
            version=version.number,
            accuracy=scores.get("accuracy"),  # None: a version that somebody else has made, or that was not tested
            data=row["data"] if row is not None else None,
        )

    def _scored(self, seen: Appraisal, row: RowMapping) -> Mapping[str, Any]:
        """Scores on the test part: those on record where this checkpoint was scored on these pictures before."""
        part = seen.test_part()
        scores = self._kept.scores(self._found.sha256, part.fingerprint)
        if scores is None:
            self._say(f"opening the test part, {len(part.labels)} pictures")
            scores = {**seen.test(part), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        else:
            self._say(f"the test part stays closed: scored at {scores['time']}")
        self._kept.update(row["id"], data=part.fingerprint, scores=json.dumps(scores))
        return {
            **scores,
            "data": part.fingerprint,
            "openings": len(openings.of(self._study.settings, part.fingerprint)),
        }

    # -- the registry -------------------------------------------------------------------------------------------------

    def _registered(self, release: Release, record: Mapping[str, Any]) -> Version:
        """A version that says the same, was read back whole and answers as the checkpoint does; there or made."""
        tags = release.tags(record)
        for version in self._registry.versions():
            if release.is_same(version.tags, tags) and self._may_be_used(version, release):
                self._say(f"version {version.number} of this checkpoint is there and whole")
                return version
        bundle = release.bundle(record)
        tags |= {"hpo.digest": release.digest()}
        self._say("uploading")
        version = self._registry.add(bundle, run_id=self._run_id(), tags=tags, description=card(record))
        if not self._is_whole(version, release):
            raise Unavailable(
                f"version {version.number} of {self._study.name} came back otherwise than it was sent: the alias stays "
                "where it is; look at MLflow's artifact store, and promote again"
            )
        self._say(f"version {version.number} read back: it answers as the checkpoint does, bit for bit")
        return version

    def _may_be_used(self, version: Version, release: Release) -> bool:
        try:
            return self._is_whole(version, release)
        except Unavailable:  # its files have gone; where it is MLflow that has, the upload will say so
            return False

    def _is_whole(self, version: Version, release: Release) -> bool:
        with self._registry.fetched(version) as folder:
            return release.is_whole(folder, version.tags.get("hpo.digest"))

    def _run_id(self) -> str:
        runs = self._found.runs
        trial, row = runs.ledger.trial(runs.id, self._found.run), self._study.ledger.study(self._study.name)
        found = (trial and trial["run_id"]) or (row and row["run_id"])
        if not found:
            raise Unavailable(
                f"MLflow has no run of study {self._study.name!r} yet; `hpo doctor --fix` sends what waits"
            )
        return str(found)

    @property
    def _previous(self) -> int | None:
        return self._champion.number if self._champion is not None else None

    def _move(self, row: RowMapping, version: Version) -> None:
        """Give the alias to the version; which one had it is on record by then."""
        now = self._registry.aliases().get(self._wish.alias)
        if now != self._previous:
            raise Unavailable(
                f"{self._wish.alias} was moved from version {self._previous} to {now} meanwhile: promote again"
            )
        digest = version.tags["hpo.digest"]
        self._kept.update(row["id"], version=version.number, digest=digest, previous=self._previous)
        self._registry.point(self._wish.alias, version.number)

    def _result(self, outcome: Literal["promoted", "refused", "unchanged"], **more: Any) -> Promotion:
        given = {"version": None, "previous": self._previous, "checks": (), "test": None, "latency": None, **more}
        return Promotion(
            outcome=outcome,
            model=self._study.name,
            alias=self._wish.alias,
            study=self._study.name,
            trial=self._found.trial,
            sha256=self._found.sha256,
            **{**given, "checks": tuple(given["checks"])},
        )


def _require_search(study: Study) -> None:
    require_built_in(study, "promoted")
    if study.spec.confirms is not None:
        search = study.spec.confirms.study
        raise SpecError(f"study {study.name!r} confirms {search!r}: `{study.settings.command('promote', search)}`")
    if not study.knows_mlflow:
        raise SpecError(
            f"study {study.name!r} has its records in the MLflow at {study.row['mlflow']}, and a version is linked to "
            "them: promote there, without another --mlflow or MLFLOW_TRACKING_URI"
        )
