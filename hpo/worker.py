"""The process that trains: a Ray Tune trainable that stays warm from trial to trial.

Workers hold no credentials and open no database: they train, report through Ray, and write checkpoints.
"""

from __future__ import annotations

import os
from typing import Any

from hpo.imports import uncollected
from hpo.trial import Assignment, Attempt, failure

with uncollected():
    from ray import tune

__all__ = ["TrialWorker"]


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trials follow each other in one process, so that what they import or decode is done once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        # set here and not by the driver, see hpo.tuner
        os.environ.update(RAY_CHDIR_TO_TRIAL_DIR="0", PL_DISABLE_FORK="1")
        super().__init__(*arguments, **named)

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
