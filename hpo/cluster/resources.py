"""Where trials run: the Ray cluster."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import ray
from ray.exceptions import RuntimeEnvSetupError

from hpo.cluster import code, guard, mps, nodes
from hpo.errors import SpecError, Unavailable
from hpo.masking import redacted
from hpo.settings import Settings, is_ray_job, ray_folder, without_secrets
from hpo.spec import SearchSpec

__all__ = ["cluster", "cpus_per_card", "is_up", "joining"]

T = TypeVar("T")

NICE = 5  # of 19
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


def cpus_per_card() -> float:
    """Processors for each card, on the machine that has fewest."""
    machines = [each["Resources"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("GPU")]
    return min((float(each.get("CPU", 0) / each["GPU"]) for each in machines), default=0.0)


def is_up() -> bool:
    """Whether this process is in a cluster already."""
    return bool(ray.is_initialized())


def joining(settings: Settings) -> str:
    """What is about to happen, in words."""
    return f"joining the Ray cluster at {settings.ray}" if settings.joins else "starting Ray"


@contextmanager
def cluster(
    space: SearchSpec,
    settings: Settings,
    meanwhile: Callable[[], T],
    *,
    say: Callable[[str], None] = print,
    on_tick: Callable[[], object] = lambda: None,
) -> Iterator[tuple[dict[str, float], T]]:
    """Join the cluster that `settings` name, or start one on this machine, and call `meanwhile` in a thread beside.

    Half of Ray's start is waiting for processes. Ray itself starts in the caller's thread, the main one: it hangs in
    any other. Yields what the cluster has, as {"CPU": 2.0, "GPU": 1.0}, and what `meanwhile` returned.
    A cluster that this process is in already is used and left running. One that starts here gets NVIDIA's service where
    trials may share cards and it can be had; `say` is told where it does not work. To one that is joined the search's
    code travels, and each of its machines has to see the checkpoint folder and the data; `on_tick` is called while they
    are asked.

    Raises:
        SpecError: the cluster asks for no token and need not, or asks for one and none is at hand; a machine of it does
            not see what it has to.
        Unavailable: nothing answers at the address.
        Whatever `meanwhile` raises.
    """
    address = settings.ray if settings.joins else None
    if is_up():
        yield ray.cluster_resources(), meanwhile()
        return
    shares = space.resources.may_share and not address
    with mps.service(say) if shares else nullcontext(), _session(address) as session:
        with ThreadPoolExecutor(1) as beside:
            result = beside.submit(_yielding, meanwhile)
            if address:
                _join(address, space, settings)
            else:
                _start(session)
        try:
            made = result.result()
            if address:
                nodes.check(space, settings.checkpoints, on_tick)
            yield ray.cluster_resources(), made
        finally:
            with _undisturbed():
                ray.shutdown()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nobody break off what takes a second or two and ends everything anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _yielding(work: Callable[[], T]) -> T:
    """Do work that may wait: it fills the pauses of Ray's start and must not lengthen it."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    return work()


@contextmanager
def _session(address: str | None) -> Iterator[str | None]:
    """A folder for what Ray writes in a cluster that starts here: what trials print too, in files that all may read.

    It lies in one that is this user's alone, because Ray opens its own to everybody, and both go at the end.
    """
    if address:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hpo-", dir=ray_folder(), ignore_cleanup_errors=True) as folder:
        yield f"{folder}/r"


def _join(address: str, space: SearchSpec, settings: Settings) -> None:
    guard.check(address, insecure=settings.insecure_cluster)
    # a job's code came with it, and Ray takes no other beside it
    travelling = {} if is_ray_job() else code.runtime_env(space, settings)
    _ray_environment()
    try:
        ray.init(address=address, runtime_env=travelling, **QUIET)
    except ConnectionError as error:
        raise Unavailable(f"no Ray cluster answers at {address!r}: {redacted(error)}") from error
    except (ValueError, TypeError, RuntimeEnvSetupError) as error:  # the file asks for it, or the folder is too large
        raise SpecError(f"ray.runtime_env: {redacted(error)}") from error
    _end_quietly()


def _start(session: str | None) -> None:
    _ray_environment()
    # workers inherit the environment of the Ray processes that start here
    with without_secrets(), guard.loopback(), guard.private_token():
        # the store holds no data sets: 100 MB are plenty, where Ray would take 30% of the memory
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            _temp_dir=session,
            **QUIET,
        )
    _end_quietly()


def _end_quietly() -> None:
    # Ray ends once more as Python does, and shows where it was interrupted; what is registered last comes first
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def tune_environment(slots: int) -> None:
    """Ray Tune's settings that exist as environment variables only."""
    os.environ.update(
        RAY_AIR_NEW_OUTPUT="0",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",  # the driver has its own
        TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
        TUNE_GLOBAL_CHECKPOINT_S="100000",  # its state is never read: SQL owns the truth
        TUNE_MAX_PENDING_TRIALS_PG=str(slots),  # 1 by default with an own searcher: slots would never fill
    )


def _ray_environment() -> None:
    """Ray's settings that exist as environment variables only; must be set before Ray starts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of what a worker prints, its last 10 to 20 MB are kept; without a limit all of it is.
    os.environ.setdefault("RAY_ROTATION_MAX_BYTES", str(10**7))
    os.environ.setdefault("RAY_ROTATION_BACKUP_COUNT", "1")
    # The monitor kills healthy workers too, and Ray Tune 2.60 ends the whole search over one that it killed. Without it
    # the kernel kills the worker that is largest, which is a lost worker like any other.
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    # The raylet looks for its object store before that listens, and by default looks again a whole second later, ten
    # times. Look often instead, for as long.
    os.environ.setdefault("RAY_raylet_client_connect_timeout_milliseconds", "20")
    os.environ.setdefault("RAY_raylet_client_num_connect_attempts", "500")
    # Workers come up while this process still waits for the node, and it does not wait for them.
    os.environ.setdefault("RAY_enable_worker_prestart", "1")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
