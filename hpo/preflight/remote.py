"""The checks where trials run: in a process of the cluster, with a trial's share of it."""

from __future__ import annotations

from collections.abc import Iterator

import ray
from ray.exceptions import RayError, RayTaskError

from hpo.preflight.battery import Measured, Task, carry_out
from hpo.workers.imports import uncollected
from trainers.checks.finding import Finding

__all__ = ["Far"]


class Far:
    """The checks at work in the cluster; beside them another process gets ready for trials."""

    def __init__(self, task: Task, *, slots: int) -> None:
        work = ray.remote(carry_out).options(
            num_cpus=task.cpu, num_gpus=task.gpu, max_retries=0, num_returns="streaming"
        )
        self._stream = work.remote(task)
        # a process that has had a card is not used again, and one without a card does not come to have one
        spare = 0 if task.gpu else slots - 1
        self._warm = [ray.remote(_warm).options(num_cpus=task.cpu).remote() for _ in range(spare)]

    def __iter__(self) -> Iterator[Finding | Measured]:
        """Yield what `carry_out` does; the loss of the process is a finding too."""
        try:
            for reference in self._stream:
                yield ray.get(reference)
        except RayTaskError as error:
            said = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            yield Finding(name="trainer", verdict="fail", said=said, do="every trial would end like this")
        except RayError as error:
            said = f"the process that looked at it was lost ({type(error).__name__}): crashed, or out of memory"
            yield Finding(
                name="trainer", verdict="fail", said=said, do="a smaller batch_size or network, or more memory"
            )

    def close(self) -> None:
        """End what is still at work."""
        for each in (*self._warm, self._stream):
            ray.cancel(each, force=True)


def _warm() -> None:
    """Import what the first trial in this process will need."""
    with uncollected():
        import torch  # noqa: F401

        import trainers.train  # noqa: F401
