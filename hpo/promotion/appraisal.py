"""A candidate for promotion, measured: what is on record of it, size, latency, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.errors import NoUsableTrial, SpecError
from hpo.model import openings
from hpo.promotion.gate import Measured
from hpo.settings import Settings
from hpo.store import columns
from hpo.winner.candidate import Candidate

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.data import Split, TestSplit
    from trainers.predict import Predictor

__all__ = ["Appraisal"]

EXAMPLES = 2
"""Validation pictures that a promoted model carries: a batch of one would not show which dimension it is."""


@dataclass(frozen=True, kw_only=True)
class Appraisal:
    """A checkpoint that was read and checked against its hash, with what is known of it."""

    found: Candidate
    settings: Settings
    predictor: Predictor
    split: Split
    facts: Mapping[str, Any]  # what its trainer said of itself
    records: Mapping[str, Any]  # what has to be on record; None: is not
    metrics: Mapping[str, float]  # of its epoch
    epoch: int | None

    @classmethod
    def of(cls, found: Candidate, settings: Settings, *, device: str | None) -> Appraisal:
        """Read the checkpoint of a candidate, and the pictures that it was trained and validated on.

        Raises:
            NoUsableTrial: the file is damaged, or not the one on record.
            SpecError: it is no network of ours, the device is not there, or the pictures are not.
        """
        from trainers.data import load

        predictor = _predictor(found, device)
        member = predictor.members[0]
        try:
            split = load(member.config.dataset, settings.datasets, str(predictor.device))
        except (OSError, ValueError) as error:
            raise SpecError(f"the pictures of the training are needed: {error}") from error
        runs = found.runs
        row = runs.ledger.trial(runs.id, found.run)
        assert row is not None  # its checkpoint is on record
        epoch, facts = row["checkpoint_epoch"], columns.facts(row)
        metrics: Mapping[str, float] = next(
            (columns.metrics(each) for each in runs.ledger.epochs(runs.id, found.run) if each["epoch"] == epoch), {}
        )
        fingerprint = facts.get("dataset_fingerprint")
        records = {
            "code": _code(facts),
            "versions": facts.get("versions"),
            "device": facts.get("device"),
            "data digest": fingerprint if fingerprint == member.data else None,
            "seed": row["seed"],
            "checkpoint hash": row["sha256"],
            "metrics of its epoch": metrics or None,
            "MLflow run": row["run_id"],
        }
        return cls(
            found=found,
            settings=settings,
            predictor=predictor,
            split=split,
            facts=facts,
            records=records,
            metrics=metrics,
            epoch=epoch,
        )

    @property
    def parameters(self) -> int:
        return sum(each.numel() for each in self.predictor.members[0].model.parameters())

    @cached_property
    def served(self) -> Predictor:
        """The network where a served model computes: on a GPU where there is one, wherever it was measured."""
        from trainers.predict import chosen_device

        here = self.predictor.device.type == chosen_device(None).type
        return self.predictor if here else _predictor(self.found, None)

    @property
    def examples(self) -> Tensor:
        """Validation pictures (2, C, H, W), uint8 on the CPU."""
        return self.split.val_images[:EXAMPLES].cpu()

    def latency(self) -> dict[str, Any]:
        """How long single pictures take, as `trainers.latency.Latency`."""
        from trainers.latency import measure

        return asdict(measure(self.predictor))

    def measured(self, *, size: int, p95_ms: float, quantised: int | None = None) -> Measured:
        """What the gate asks for before the test part is opened."""
        both = [self.metrics.get(f"{part}/accuracy", math.nan) for part in ("train", "val")]
        gap = both[0] - both[1]
        return Measured(
            records=self.records,
            gap=gap if math.isfinite(gap) else None,
            size=size,
            quantised=quantised,
            p95_ms=p95_ms,
        )

    def validation(self) -> dict[str, Any] | None:
        """Scores on the validation part; None where that is not what was held back from this training."""
        if self.split.fingerprint != self.predictor.members[0].data:
            return None
        return self._scores(self.split.val_images, self.split.val_labels)

    def test_part(self) -> TestSplit:
        """The test pictures, which no network has seen by that.

        Raises:
            SpecError: there are none, or they are of other classes.
        """
        from trainers.data import load_test

        config = self.predictor.members[0].config.dataset
        try:
            test = load_test(config, self.settings.datasets, str(self.predictor.device))
        except (OSError, ValueError) as error:
            raise SpecError(f"a promotion needs test pictures: {error}") from error
        if test.classes != self.predictor.classes:
            trained = ", ".join(self.predictor.classes)
            raise SpecError(f"the test part has classes {', '.join(test.classes)}; trained were {trained}")
        return test

    def test(self, part: TestSplit) -> dict[str, Any]:
        """Open the test part: it is written down, then the network is scored on it."""
        found = self.found
        openings.note(
            self.settings,
            command="promote",
            data=part.fingerprint,
            checkpoints={found.checkpoint: found.sha256},
            study=found.study.name,
            trial=found.trial,
        )
        return self._scores(part.images, part.labels)

    def _scores(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        from trainers.evaluate import evaluate

        scores = evaluate(
            self.predictor.log_probabilities,
            images,
            labels,
            classes=len(self.predictor.classes),
            device=self.predictor.device,
        )
        return {
            "accuracy": scores.accuracy,
            "interval": list(scores.interval()),
            "pictures": scores.count,
            "loss": scores.loss,
            "macro_f1": scores.macro_f1,
            "calibration_error": scores.calibration_error,
            "device": str(self.predictor.device),
        }


def _code(facts: Mapping[str, Any]) -> str | None:
    """What names the code that trained: its commit, or the version of a package that was installed without one."""
    commit, version = facts.get("git_commit"), (facts.get("versions") or {}).get("hpo")
    return commit or (f"hpo {version}" if version else None)


def _predictor(found: Candidate, device: str | None) -> Predictor:
    from trainers.checkpoint import CheckpointError
    from trainers.predict import Member, Predictor, chosen_device

    try:
        return Predictor([Member.load(found.checkpoint, found.sha256, device=chosen_device(device))])
    except CheckpointError as error:
        said = str(error).partition(":")[0].partition(" (")[0]
        raise NoUsableTrial(
            f"{said}: restore the file from a copy (the best trial's is among its artifacts in MLflow), "
            "or name another trial with --trial"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise SpecError(str(error)) from error
