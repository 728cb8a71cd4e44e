"""The machines of a cluster that runs already: whether each sees what trials read and write."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.errors import SpecError
from hpo.masking import redacted
from hpo.space.builtin import sources
from hpo.spec import SearchSpec
from hpo.wording import counted
from trainers.folders import private

__all__ = ["check"]

PATIENCE = 600.0  # seconds for a machine to prepare code and libraries and answer; one that is lost is told at once
VISIBLE = 10.0  # seconds until a file that was just written may be seen elsewhere: network file systems keep lists
LOOK = 0.5  # seconds between two looks whether all have answered
MARK = ".seen-"


def check(space: SearchSpec, checkpoints: Path, on_tick: Callable[[], object]) -> None:
    """Make sure that every machine that could train sees the checkpoint folder, which is one for all, and the data.

    `on_tick` is called while they are waited for, which may outlast a lease that nobody renews.

    Raises SpecError that names those that do not, with what they miss.
    """
    private(checkpoints)
    mark = checkpoints / f"{MARK}{secrets.token_hex(8)}"
    mark.write_text("")
    try:
        problems = _ask(mark, sources(space.trainer), on_tick)
    finally:
        for left in checkpoints.glob(f"{mark.name}*"):
            with contextlib.suppress(OSError):
                left.unlink()
    if problems:
        lines = "\n".join(f"  {address}: {problem}" for address, problem in problems)
        raise SpecError(
            f"{counted(len(problems), 'machine')} of the Ray cluster cannot train this search:\n{lines}\nEvery machine "
            "has to see the same files under the same paths, a network file system say: --home or HPO_HOME says where "
            "checkpoints are kept, the space file where data are"
        )


def _ask(mark: Path, paths: Sequence[str], on_tick: Callable[[], object]) -> list[tuple[str, str]]:
    """Return (address, what is wrong) of every machine with something wrong."""
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    machines = [each for each in ray.nodes() if each["Alive"] and each["Resources"].keys() & {"CPU", "GPU"}]
    asked: dict[Any, dict[str, Any]] = {}
    for each in machines:
        there = NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
        asked[look.options(scheduling_strategy=there).remote(str(mark), each["NodeID"], list(paths))] = each
    done, late, deadline = list[Any](), list(asked), time.monotonic() + PATIENCE
    while late and time.monotonic() < deadline:
        on_tick()
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK)
    problems = [(_name(asked[each]), f"no answer within {PATIENCE:.0f} s") for each in late]
    for each in done:
        machine = asked[each]
        try:
            missed = list(ray.get(each))
        except RayError as error:
            missed = [_why(error)]
        on_tick()
        if not missed and not _appears(Path(f"{mark}-{machine['NodeID']}")):
            missed = [f"what it writes into {mark.parent} is not seen here: that is another folder there"]
        problems += [(_name(machine), problem) for problem in missed]
    return sorted(problems)


def _why(error: RayError) -> str:
    """The last line that Ray says, where a cause stands: above it are its own words of where."""
    lines = redacted(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _look(mark: str, node: str, paths: Sequence[str]) -> list[str]:
    """What is wrong, seen from one machine; runs there."""
    folder = Path(mark).parent
    if not _appears(Path(mark)):
        return [f"the checkpoint folder {folder} {'is another one' if folder.is_dir() else 'is not there'}"]
    try:
        Path(f"{mark}-{node}").write_text("")
    except OSError as error:
        return [f"cannot write into the checkpoint folder {folder}: {error.strerror}"]
    return [f"{path} is not there" for path in paths if not Path(path).expanduser().exists()]


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + VISIBLE
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        if not path.parent.is_dir():
            return False
        time.sleep(0.1)
    return True


def _name(machine: dict[str, Any]) -> str:
    return f"{machine['NodeManagerAddress']} ({machine['NodeManagerHostname']})"
