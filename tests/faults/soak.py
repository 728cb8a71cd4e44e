"""Faults at random, for as long as one likes: `make soak`, or make soak SOAK="--rounds 20 --fault driver_killed".

Each round is a study of its own, with a seed that is printed and that draws the fault and its moment. After each the
journal of what was really trained is held against SQL and MLflow. Counts go to stdout, a JSON line a round to --out,
and --table writes them as the table of docs/reliability.md. Ctrl-C ends it. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import faults
import ray
from case import Case, Outcome, Size
from servers import MlflowServer, Postgres
from table import write_table

TESTS = Path(__file__).parents[1]


def main() -> None:
    arguments = _arguments()
    chosen = arguments.fault or list(faults.ALL)
    seed, rounds, broken = arguments.seed, 0, 0
    outcomes: list[Outcome] = []
    # for workers and drivers, which have folders of their own
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    with _cluster() as address:
        try:
            while arguments.rounds is None or rounds < arguments.rounds:
                fault = chosen[rounds % len(chosen)] if arguments.in_turn else random.Random(seed).choice(chosen)
                outcome = _round(fault, seed, address, arguments)
                broken += outcome is None or _breaks_promise(outcome)
                if outcome is not None:
                    outcomes.append(outcome)
                    if arguments.out:
                        with arguments.out.open("a") as file:
                            file.write(json.dumps(asdict(outcome)) + "\n")
                rounds, seed = rounds + 1, seed + 1
        except KeyboardInterrupt:
            print("ended after Ctrl-C")
    print(f"{rounds} rounds, {broken} broke a promise")
    if arguments.table:
        lines = arguments.out.read_text().splitlines() if arguments.out else []
        write_table([Outcome(**json.loads(line)) for line in lines] or outcomes, arguments.table)
    sys.exit(broken > 0)


def _breaks_promise(outcome: Outcome) -> bool:
    redone = 2 if outcome.fault == "trial_segfaults" else 1  # it dies in the same epoch each time
    wrong = outcome.lost or outcome.repeated or outcome.zombies or outcome.disagreements
    return bool(wrong) or outcome.redone > redone


def _round(fault: str, seed: int, address: str, arguments: argparse.Namespace) -> Outcome | None:
    """Run one study under one fault; None where it did not come to its end."""
    size = Size(trials=arguments.trials, epochs=arguments.epochs, sleep=arguments.sleep)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, _servers(fault, Path(name)) as (places, server, ray_too):
        folder = Path(name)
        case = Case(
            folder,
            fault=fault,
            seed=seed,
            size=size,
            storage=places.get("storage", f"sqlite:///{folder}/home/studies.db"),
            mlflow=places.get("mlflow"),
            ray=address if ray_too else None,
        )
        try:
            faults.ALL[fault](case, *([server] if server else []))
            outcome = case.outcome()
        except Exception:  # noqa: BLE001 - a round that breaks is a result, and the next one follows
            print(f"seed {seed:4d}  {fault:16}  BROKEN\n{traceback.format_exc()}", flush=True)
            return None
        finally:
            case.close()
    print(
        f"seed {seed:4d}  {fault:16}  lost {outcome.lost}  repeated {outcome.repeated}  redone {outcome.redone}  "
        f"zombies {outcome.zombies}  on after {outcome.seconds:5.1f} s  of {time.monotonic() - began:5.1f} s",
        *outcome.disagreements,
        flush=True,
    )
    return outcome


@contextmanager
def _servers(fault: str, folder: Path) -> Iterator[tuple[dict[str, str], Postgres | MlflowServer | None, bool]]:
    """What a fault needs besides: addresses, the server that it stops, whether it uses the shared cluster."""
    if fault == "postgres_stopped":
        programs = Postgres.find()
        assert programs is not None, "PostgreSQL is not installed"
        server = Postgres(programs)
        yield {"storage": server.database()}, server, True
        server.close()
    elif fault in ("mlflow_hangs", "mlflow_stopped"):
        tracking = MlflowServer(folder)
        yield {"mlflow": tracking.url}, tracking, True
        tracking.stop()
    elif fault == "disk_full":
        home = folder / "home"
        home.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", home], check=True)
        yield {}, None, True
        subprocess.run(["umount", "-l", home], check=True)
    else:
        yield {}, None, fault != "all_killed"


@contextmanager
def _cluster() -> Iterator[str]:
    """Ray for all rounds, as a team has it."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="without it until Ctrl-C")
    parser.add_argument("--fault", action="append", choices=faults.ALL, help="only this; may be given more than once")
    parser.add_argument("--in-turn", action="store_true", help="one fault after the other instead of at random")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--sleep", type=float, default=0.1, help="seconds an epoch")
    parser.add_argument("--out", type=Path, help="file of JSON lines")
    parser.add_argument("--table", type=Path, help="write what --out holds into docs/reliability.md, or another file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
