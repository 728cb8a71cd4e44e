"""How long a driver waits for SQL: ask, report, tell and reopening a study, by the number of trials on record.

python -m benchmarks.storage

Goes through the product's own Study, Searcher and Scheduler; there is no Ray, no worker and no MLflow in these times.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks import postgres
from benchmarks.synthetic import METRICS, curve
from benchmarks.tables import conditions, percentile, spread, table
from hpo import settings, spec
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store import tables
from hpo.study import Study
from hpo.workers.trial import Report

SPACE = Path(__file__).parent / "synthetic.yaml"
DISTRIBUTIONS = {  # of SPACE
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "momentum": FloatDistribution(0.5, 0.99),
    "bs": CategoricalDistribution((64, 128, 256)),
}
EPOCHS = 10
RUNGS = (1, 3, 9)  # where ASHA judges
STEPS = ("ask", "start", "report", "report and tell", "reopen and ask")


def main() -> None:
    arguments = _arguments()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="hpo-benchmark-") as home:
        rows += _measure("SQLite", settings.resolve(home=home), arguments)
        with postgres.server() as url:
            rows += _measure("PostgreSQL", settings.resolve(home=home, storage=url), arguments)
    print(conditions("optuna", "sqlalchemy", "psycopg"))
    print(f"milliseconds, median / 95th percentile of {arguments.samples} trials of {EPOCHS} epochs; ", end="")
    print(f"reopening in seconds, median (min-max) of {arguments.reopenings}")
    print(table(["", "trials on record", *STEPS], rows))


def _measure(name: str, where: settings.Settings, arguments: argparse.Namespace) -> Iterator[list[str]]:
    space = spec.load(SPACE, ["budget.trials=1000000"])
    study = Study.open(space, where)
    chance = random.Random(0)
    for size in arguments.sizes:
        _fill(study, size, chance)
        times = _reopen(space.name, where, arguments.reopenings) | _run_trials(study, arguments.samples)
        cells = [_milliseconds(times[step]) for step in STEPS[:-1]]
        print(name, size, cells, file=sys.stderr, flush=True)
        yield [name, f"{size:,}", *cells, spread(times[STEPS[-1]], 2)]


def _milliseconds(times: Sequence[float]) -> str:
    return f"{1000 * statistics.median(times):.1f} / {1000 * percentile(times, 0.95):.1f}"


# -- what is timed ----------------------------------------------------------------------------------------------------


def _run_trials(study: Study, count: int) -> dict[str, list[float]]:
    """Run trials of `EPOCHS` epochs one after the other, as the driver does when a worker reports."""
    times: dict[str, list[float]] = {step: [] for step in STEPS[:-1]}
    searcher, scheduler = Searcher(study), Scheduler(study, lambda event: None)
    for _ in range(count):
        with _timed(times["ask"]):
            trial = searcher.next()
        assert trial is not None
        with _timed(times["start"]):
            scheduler.start(trial, cpu=1, gpu=0)
        for epoch in range(1, EPOCHS + 1):
            last = epoch == EPOCHS
            # above every value on record: never stopped early
            metrics = dict.fromkeys(METRICS, 2.0)
            report = Report(number=trial.number, attempt=1, epoch=epoch, metrics=metrics, seconds=0.1, last=last)
            with _timed(times["report and tell" if last else "report"]):
                scheduler.report(report)
    return times


def _reopen(name: str, where: settings.Settings, count: int) -> dict[str, list[float]]:
    """Load the study as a new process would, and ask for a trial, which is then ended."""
    times: list[float] = []
    for _ in range(count):
        with _timed(times):
            study = Study.load(name, where)
            searcher, scheduler = Searcher(study), Scheduler(study, lambda event: None)
            trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.fail(trial.number, "only asked for")
    return {STEPS[-1]: times}


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


# -- what is on record ------------------------------------------------------------------------------------------------


def _fill(study: Study, size: int, chance: random.Random) -> None:
    """Bring the study to `size` trials: of nine, six stopped after epoch 1, two after epoch 3, one COMPLETE."""
    there = len(study.frozen_trials())
    ends = {number: chance.choice([1] * 6 + [3] * 2 + [EPOCHS]) for number in range(there, size)}
    study.optuna.add_trials([_past_trial(epochs, chance) for epochs in ends.values()])
    trials, epochs = [], []
    for trial in study.frozen_trials()[there:]:
        here = {"study": study.id, "number": trial.number}
        row = {"seed": 0, "attempt": 1, "started": time.time(), "ended": time.time(), "seconds": 1.0, "gpu": 0.0}
        trials.append({**here, **row, "epoch": trial.last_step})
        for epoch, value in trial.intermediate_values.items():
            metrics = json.dumps(dict.fromkeys(METRICS, value))
            epochs.append({**here, "epoch": epoch, "attempt": 1, "time": time.time(), "metrics": metrics})
    with study.ledger.begin() as connection:
        connection.execute(sql.insert(tables.trials), trials)
        connection.execute(sql.insert(tables.epochs), epochs)


def _past_trial(epochs: int, chance: random.Random) -> FrozenTrial:
    lr, momentum, bs = 10 ** chance.uniform(-4, 0), chance.uniform(0.5, 0.99), chance.choice([64, 128, 256])
    values = [each[METRICS[0]] for each in curve(lr, momentum, bs, epochs=epochs)]
    return create_trial(
        state=TrialState.COMPLETE if epochs == EPOCHS else TrialState.PRUNED,
        value=values[-1],
        params={"lr": lr, "momentum": momentum, "bs": bs},
        distributions=DISTRIBUTIONS,
        intermediate_values=dict(enumerate(values, start=1)),
        # what Optuna's successive halving keeps of each rung
        system_attrs={f"completed_rung_{n}": values[rung - 1] for n, rung in enumerate(RUNGS) if rung <= epochs},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000], help="trials on record, ascending")
    parser.add_argument("--samples", type=int, default=20, help="trials timed at each size")
    parser.add_argument("--reopenings", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
