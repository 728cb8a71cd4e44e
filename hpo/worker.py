"""The process that trains: a Ray Tune trainable that stays warm from trial to trial.

Workers hold no credentials and open no database: they train, report through Ray, and write checkpoints.
"""

from __future__ import annotations

from typing import Any

from ray import tune

from hpo.trial import Assignment, Attempt, failure

__all__ = ["TrialWorker"]


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trials follow each other in one process, so that what they import or decode is done once."""

    def setup(self, config: dict[str, Any]) -> None:
        self._assignment: Assignment = config["assignment"]
        self._attempt: Attempt | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch. An exception becomes a report: raised, it would cost the warm process."""
        try:
            if self._attempt is None:
                self._attempt = Attempt(self._assignment)
            report = self._attempt.next_report()
        # whatever the user's code raises is the trial's result, sys.exit() included
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # noqa: BLE001
            report = failure(self._assignment, error)
        return {"report": report}
