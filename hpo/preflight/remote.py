"""The checks where trials run: in a process of the cluster, with a trial's share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ray
from ray.exceptions import RayError, RayTaskError

from hpo.cluster.room import Room
from hpo.preflight.battery import Measured, Task, carry_out
from hpo.settings import drop_secrets
from trainers.checks.finding import Finding

__all__ = ["Far"]

LOOK = 0.5  # seconds between two looks, after each of which Ctrl-C is heard


class Far:
    """The checks at work in the cluster."""

    def __init__(self, task: Task, say: Callable[[str], None]) -> None:
        """`say` gets a sentence where the cluster has no room for a while."""
        work = ray.remote(_begun).options(num_cpus=task.cpu, num_gpus=task.gpu, max_retries=0, num_returns="streaming")
        self._stream = work.remote(task)
        self._room, self._say = Room(cpu=task.cpu, gpu=task.gpu), say

    def __iter__(self) -> Iterator[Finding | Measured]:
        """Yield what `carry_out` does; the loss of the process is a finding too."""
        try:
            self._wait()
            for reference in self._stream:
                if (found := ray.get(reference)) is not None:
                    yield found
        except RayTaskError as error:
            said = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            yield Finding(name="trainer", verdict="fail", said=said, do="every trial would end like this")
        except RayError as error:
            said = f"the process that looked at it was lost ({type(error).__name__}): crashed, or out of memory"
            yield Finding(
                name="trainer", verdict="fail", said=said, do="a smaller batch_size or network, or more memory"
            )

    def _wait(self) -> None:
        """Until it has begun, which may take as long as others hold the cluster."""
        said = None
        while not ray.wait([self._stream], timeout=LOOK, fetch_local=False)[0]:
            self._room.look(waiting=True)
            if self._room.waits is not None and said is None:
                said = self._room.waits
                self._say(said)

    def close(self) -> None:
        """End what is still at work."""
        if ray.is_initialized():  # else it has ended with the driver, and Ray would start anew to be asked
            ray.cancel(self._stream, force=True)


def _begun(task: Task) -> Iterator[Finding | Measured | None]:
    """Nothing first, which says that there was room."""
    yield None
    drop_secrets()
    yield from carry_out(task)
