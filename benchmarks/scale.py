"""What a study costs as it grows: trials a minute, memory, database, commands, with 64 simulated slots.

python -m benchmarks.scale --out scale.jsonl

The product's own Searcher, Scheduler and Search write to a real PostgreSQL, under the lease, in a process of its own;
there is no Ray, no worker and no training. At each size the search pauses as between two passes, and the commands run
in processes of their own. One line of JSON a size is written as soon as it is known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import sqlalchemy as sql

from benchmarks import postgres
from benchmarks.copies import copy_trials
from benchmarks.tables import conditions, table
from hpo import settings, spec
from hpo.cluster.placement import Placement
from hpo.settings import Settings, driver_url
from hpo.store import history
from hpo.store.lease import Lease
from hpo.store.storage import alone
from hpo.study import Study

if TYPE_CHECKING:
    from benchmarks.slots import Times

SPACE = Path(__file__).parent / "synthetic.yaml"
NAME = "synthetic"
SIZES = (100, 300, 1000, 2000, 4000, 6000, 8000, 10000)
WINDOW = 500  # trials before each size over which figures are taken


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _search(arguments)
        return
    if arguments.reopen:
        _reopen(arguments)
        return
    if arguments.send:
        _send(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="hpo-scale-") as home, postgres.server() as url:
        arguments.home, arguments.storage = Path(home), url
        print(conditions("optuna", "sqlalchemy", "psycopg"), arguments, flush=True)
        rows = list(_measure(arguments))
    print(_table(rows))


def _measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each size, written to `--out` as it comes."""
    if arguments.copied is None:
        yield from _run(arguments, arguments.sizes)
        return
    yield from _run(arguments, arguments.sizes[:1])
    copy_trials(arguments.storage, arguments.copied)
    yield from _run(arguments, arguments.sizes[1:])


def _run(arguments: argparse.Namespace, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One driver through some of the sizes."""
    command = [*_again(arguments), "--child", "--sizes", *map(str, sizes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            row = {**vars(arguments), "server_processor": _server_seconds(arguments.storage), **json.loads(line)}
            row |= _commands(arguments) | _database(arguments.storage)
            if row["size"] == arguments.sizes[0]:  # the records of later trials wait
                row["sender"] = _timed([*_again(arguments), "--send"])
            row |= {"at": time.strftime("%F %T"), "load": os.getloadavg()[0]}
            with arguments.out.open("a") as file:
                file.write(json.dumps(row, default=str) + "\n")
            print(json.dumps(row, default=str), file=sys.stderr, flush=True)
            yield row
            child.stdin.write("go on\n")
            child.stdin.flush()
    if child.returncode:
        raise SystemExit(f"the search ended with {child.returncode}")


def _again(arguments: argparse.Namespace) -> list[str]:
    """This program with the same arguments; the storage's address holds no password."""
    words = [sys.executable, "-m", "benchmarks.scale"]
    for name in ("sampler", "pruner", "epochs", "slots", "epoch_seconds", "home", "storage"):
        words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return words


# -- the search -------------------------------------------------------------------------------------------------------


def _where(arguments: argparse.Namespace) -> Settings:
    return settings.resolve(home=arguments.home, storage=arguments.storage)


def _search(arguments: argparse.Namespace) -> None:
    """Run the study from size to size; after each, print what it took and wait for a line."""
    from rich.console import Console

    from benchmarks.slots import Slots
    from hpo.search.progress import Progress

    overrides = [f"sampler.type={arguments.sampler}", f"trainer.epochs={arguments.epochs}"]
    overrides += [f"budget.trials={arguments.sizes[-1] + arguments.slots}"]  # so that slots have work to the end
    if arguments.pruner != "asha":  # which is the file's
        overrides.append(f"pruner={arguments.pruner}")
    study = Study.open(spec.load(SPACE, overrides), _where(arguments))
    with Path(os.devnull).open("w") as nowhere, Lease(study) as lease, alone(study.storage):
        study.begin()
        progress = Progress(Console(file=nowhere))
        progress.begin(study, Placement(cpu=1, gpu=0, slots=arguments.slots))
        search = Slots(study, lease, progress, slots=arguments.slots, seconds=arguments.epoch_seconds)
        ended = sum(trial.state.is_finished() for trial in study.frozen_trials())
        for before, size in itertools.pairwise((ended, *arguments.sizes)):
            search.run(size - before, over=min(WINDOW, size - before))
            print(json.dumps({"size": size, **_figures(search.times, arguments.slots)}), flush=True)
            sys.stdin.readline()


def _figures(times: Times, slots: int) -> dict[str, Any]:
    """What the driver took. A trial is put together from its calls: at the window's ends trials are cut."""
    wall = {name: statistics.fmean(each) for name, each in times.wall.items()}
    processor = {name: seconds / len(times.wall[name]) for name, seconds in times.cpu.items()}
    memory = psutil.Process().memory_info().rss
    epochs = times.epochs / times.ended
    return {
        "milliseconds": {name: round(1000 * each, 3) for name, each in wall.items()},
        "milliseconds_median": {name: round(1000 * statistics.median(each), 3) for name, each in times.wall.items()},
        "milliseconds_processor": {name: round(1000 * each, 3) for name, each in processor.items()},
        "trial_wall": round(_trial(wall, epochs), 5),
        "trial_processor": round(_trial(processor, epochs), 5),
        "trials_a_minute": round(60 / _trial(wall, epochs), 1),
        "busy": round(times.busy / (slots * (times.clock - times.began)), 4),
        "epochs_a_trial": round(epochs, 2),
        "driver_mb": round(memory / 2**20, 1),
    }


def _trial(mean: Mapping[str, float], epochs: float) -> float:
    """Seconds that the driver has to do for a trial of so many epochs."""
    return mean["ask and start"] + epochs * mean["turn"] + (epochs - 1) * mean["report"] + mean["end"]


# -- what stands beside it --------------------------------------------------------------------------------------------


def _commands(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of wall and processor time, and the peak memory, of commands in processes of their own."""
    page = arguments.home / "report.html"
    hpo = [sys.executable, "-m", "hpo"]
    place = ["--home", str(arguments.home), "--storage", arguments.storage]
    commands = {
        "status": [*hpo, "status", NAME, *place],
        "report": [*hpo, "report", NAME, "--no-model", "--out", str(page), *place],
        "reopen": [*_again(arguments), "--reopen"],
    }
    found: dict[str, Any] = {name: _timed(command) for name, command in commands.items()}
    found["page_mb"] = round(page.stat().st_size / 2**20, 2)
    return found


def _timed(command: Sequence[str]) -> dict[str, Any]:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}: {said}")
    row = {
        "wall": round(time.perf_counter() - began, 2),
        "cpu": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
    }
    return row | (json.loads(said) if said.startswith("{") else {})


def _reopen(arguments: argparse.Namespace) -> None:
    """What `hpo resume` does between its imports and its first question, and prints how long it took."""
    from hpo.search.recovery import recover
    from hpo.search.scheduler import Scheduler
    from hpo.search.searcher import Searcher

    began = time.perf_counter()
    study = Study.load(NAME, _where(arguments))
    study.begin()
    recover(study)
    history.enqueue(study)
    assert Searcher(study).left is not None
    assert Scheduler(study, lambda event: None).running == {}
    print(json.dumps({"opening": round(time.perf_counter() - began, 2)}))


def _send(arguments: argparse.Namespace) -> None:
    """Carry all that waits into a local MLflow, as the sender beside a driver does, and print what it took."""
    from hpo.tracking.process import task_of
    from hpo.tracking.projection import Projection, Task

    study = Study.load(NAME, _where(arguments), reading=True)
    trials = sum(count for state, count in study.counts().items() if state != "WAITING")
    projection, records = Projection(Task(**task_of(study))), 0
    began, processor = time.perf_counter(), time.process_time()
    while sent := projection.send():
        records += sent
    spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
    print(json.dumps({"ended": trials, "records": records} | {name: round(each, 2) for name, each in spent.items()}))


def _server_seconds(url: str) -> float:
    """Processor time so far of the server's processes that live, the driver's connections among them."""
    engine = sql.create_engine(driver_url(url))
    with engine.connect() as connection:
        pids = list(connection.exec_driver_sql("SELECT pid FROM pg_stat_activity").scalars())
    engine.dispose()
    return round(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids), 2)


def _database(url: str) -> dict[str, Any]:
    """Its size, and that of its largest tables with their indexes, in MB."""
    engine = sql.create_engine(driver_url(url))
    with engine.connect() as connection:
        whole = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        query = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' ORDER BY 2 DESC LIMIT 7"
        largest = {name: round(size / 2**20, 1) for name, size in connection.exec_driver_sql(query)}
    engine.dispose()
    return {"database_mb": round(whole / 2**20, 1), "largest_mb": largest}


# -- what is printed --------------------------------------------------------------------------------------------------


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = [
        "trials",
        "trials/min",
        "ms a trial, processor",
        "ask and start",
        "report",
        "end",
        "driver MB",
        "database MB",
    ]
    columns += ["status s", "report s", "reopen s", "slots at work"]
    cells = []
    for row in rows:
        calls = row["milliseconds"]
        cells.append(
            [
                f"{row['size']:,}",
                f"{row['trials_a_minute']:.0f}",
                f"{1000 * row['trial_processor']:.0f}",
                *(f"{calls[name]:.1f}" for name in ("ask and start", "report", "end")),
                f"{row['driver_mb']:.0f}",
                f"{row['database_mb']:.0f}",
                f"{row['status']['wall']:.1f}",
                f"{row['report']['wall']:.1f}",
                f"{row['reopen']['opening']:.2f}",
                f"{row['busy']:.0%}",
            ]
        )
    return table(columns, cells)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("scale.jsonl"), help="a line of JSON a size is added here")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="trials on record, ascending")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--pruner", choices=("none", "asha", "median"), default="none")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--epoch-seconds", type=float, default=5.0, help="that an epoch takes in a simulated slot")
    parser.add_argument("--copied", type=int, metavar="N", help="after the first size make N trials of copies of them")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)  # the rest is for its own processes
    parser.add_argument("--storage", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--reopen", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
