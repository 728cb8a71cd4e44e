"""The process that trains: a Ray Tune trainable that stays warm from trial to trial.

Workers hold no credentials and open no database: they train, report through Ray, and write checkpoints.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from hpo.settings import drop_secrets
from hpo.workers.imports import uncollected
from hpo.workers.runner import Runner
from hpo.workers.trial import Assignment

with uncollected():
    import ray
    from ray import tune

__all__ = ["TrialWorker"]


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trials follow each other in one process and one thread, so that what they import or decode is done once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        drop_secrets()
        # set here and not by the driver, see hpo.search.tuner
        os.environ.update(RAY_CHDIR_TO_TRIAL_DIR="0", PL_DISABLE_FORK="1")
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="training")
        super().__init__(*arguments, **named)

    def setup(self, config: dict[str, Any]) -> None:
        self._assignment: Assignment = config["assignment"]
        if "working_dir" in ray.get_runtime_context().runtime_env:  # the code travelled, and lies on the path
            # at the driver's paths there may be an older copy on this machine
            self._assignment = replace(self._assignment, import_paths=())
        self._runner: Runner | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch. An exception becomes a report: raised, it would cost the warm process."""
        if self._runner is None:
            self._runner = Runner(self._assignment, self._pool)
        return {"report": self._runner.next_report()}

    def cleanup(self) -> None:
        if self._runner is not None:
            self._runner.stop()
