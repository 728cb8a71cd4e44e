"""The checks where trials run: in a process of the cluster, with a trial's share of it."""

from __future__ import annotations

from collections.abc import Iterator

import ray
from ray.exceptions import RayError, RayTaskError

from hpo.preflight.battery import Measured, Task, carry_out
from hpo.settings import drop_secrets
from trainers.checks.finding import Finding

__all__ = ["Far"]


class Far:
    """The checks at work in the cluster."""

    def __init__(self, task: Task) -> None:
        work = ray.remote(_carry_out).options(
            num_cpus=task.cpu, num_gpus=task.gpu, max_retries=0, num_returns="streaming"
        )
        self._stream = work.remote(task)

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
        ray.cancel(self._stream, force=True)


def _carry_out(task: Task) -> Iterator[Finding | Measured]:
    drop_secrets()
    yield from carry_out(task)
