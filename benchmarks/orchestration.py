"""Trials a minute, and seconds from Enter to the first epoch: the product and the stock stack in turn.

python -m benchmarks.orchestration --stock SCRIPT

SCRIPT puts the stock parts together: Ray Tune + OptunaSearch + ASHAScheduler + MLflowLoggerCallback, all on SQLite. It
takes --trials, --epochs, --concurrency, --sleep, --torch and --workdir, and prints JSON with fit_s, reports and errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.sides import Load, Run, product, stock
from benchmarks.tables import conditions, spread, table

FIGURES: dict[str, Callable[[Run], float]] = {
    "trials/min until MLflow has all": lambda run: 60 * run.trials / run.recorded,
    "trials/min until the last trial's end": lambda run: 60 * run.trials / run.search,
    "seconds a trial until MLflow has all": lambda run: run.recorded / run.trials,
    "seconds from Enter to the first epoch": lambda run: run.first_epoch,
    "seconds from Enter to the end of the process": lambda run: run.whole,
    "epochs on record": lambda run: run.epochs,
}


def main() -> None:
    arguments = _arguments()
    load = Load(
        trials=arguments.trials,
        epochs=arguments.epochs,
        concurrency=arguments.concurrency,
        sleep=arguments.sleep,
        torch=bool(arguments.torch),
    )
    ours: list[Run] = []
    theirs: list[Run] = []
    for number in range(arguments.rounds):
        if number % 2:  # whoever comes second finds a warmer machine
            theirs.append(stock(load, arguments.stock))
            ours.append(product(load))
        else:
            ours.append(product(load))
            theirs.append(stock(load, arguments.stock))
        print(f"round {number + 1} of {arguments.rounds}: {ours[-1]}, stock {theirs[-1]}", file=sys.stderr, flush=True)
    print(conditions("ray", "optuna", "mlflow", "sqlalchemy", "torch"))
    print(f"{load}, {arguments.rounds} rounds; median (min-max)")
    print(_comparison(ours, theirs))


def _comparison(ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    rows = []
    for name, figure in FIGURES.items():
        left, right = [figure(run) for run in ours], [figure(run) for run in theirs]
        ratios = [ours / theirs for ours, theirs in zip(left, right, strict=True)]
        digits = 3 if name.startswith("seconds a trial") else 1
        rows.append([name, spread(left, digits), spread(right, digits), spread(ratios, 2)])
    return table(["", "hpo", "stock stack", "hpo / stock, round by round"], rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", type=Path, required=True, metavar="SCRIPT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds an epoch")
    parser.add_argument("--torch", type=int, choices=(0, 1), default=0, help="import PyTorch in the worker")
    return parser.parse_args()


if __name__ == "__main__":
    main()
