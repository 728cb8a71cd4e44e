"""How good a search is by what it has spent, on tables of curves that were really trained.

python -m benchmarks.search_quality TABLE.npz [TABLE.npz ...]

The budget counts epochs, in full trainings; of a run that costs more or less than the table's mean, so much more or
less. Regret is that of the trial which is best by validation when the budget is spent: 0 the best of the table, 100
its median. Every search is the product's own code on a virtual clock; see benchmarks/replay.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves import STEPS, Curves
from benchmarks.replay import RayAsha, replay
from benchmarks.tables import conditions, table

AT = (10, 20, 50)  # budgets at which regret is printed
LONGEST = 100  # full trainings that random search gets, which the others are to come up with sooner
FIRST, REDUCTION = 3, 3  # of Ray's rule: those of the product's `mode: stop`

METHODS: dict[str, dict[str, Any]] = {
    "random": {"sampler": {"type": "random"}, "pruner": "none"},
    "TPE": {"sampler": {"type": "tpe"}, "pruner": "none"},
    "TPE, Ray's ASHA": {"sampler": {"type": "tpe"}, "pruner": "none"},
    "TPE, ASHA stop": {"sampler": {"type": "tpe"}, "pruner": {"type": "asha", "mode": "stop"}},
    "TPE, ASHA promote": {"sampler": {"type": "tpe"}, "pruner": {"type": "asha", "mode": "promote"}},
    "GP, ASHA promote": {"sampler": {"type": "gp"}, "pruner": {"type": "asha", "mode": "promote"}},
    "random, ASHA promote": {"sampler": {"type": "random"}, "pruner": {"type": "asha", "mode": "promote"}},
}


def main() -> None:
    arguments = _arguments()
    tables = {path.stem: Curves.load(path) for path in arguments.tables}
    if len(tables) < len(arguments.tables):
        raise SystemExit("two tables have one name; rename a file")
    print(conditions("optuna"), f"n = {arguments.seeds} seeds, {arguments.workers} workers", flush=True)
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    jobs = list(itertools.product(arguments.tables, arguments.methods, range(arguments.seeds)))
    with multiprocessing.Pool(arguments.processes) as pool, arguments.out.open("a") as out:
        for (path, method, seed), regrets in zip(
            jobs, pool.imap(_job, [(*job, arguments.workers, arguments.repeats) for job in jobs]), strict=True
        ):
            found.setdefault((path.stem, method), []).append(regrets)
            row = {"table": path.stem, "method": method, "seed": seed, "regret": regrets.round(3).tolist()}
            out.write(json.dumps(row) + "\n")
            out.flush()
    print("\n".join(_tables(list(tables), arguments.methods, found)))


def _job(job: tuple[Path, str, int, int, bool]) -> NDArray[np.float64]:
    path, method, seed, workers, repeats = job
    longest = LONGEST if method == "random" else AT[-1]
    pruner = RayAsha(min_epochs=FIRST, epochs=STEPS, reduction=REDUCTION) if "Ray" in method else None
    budgets = range(1, longest + 1)
    return replay(
        Curves.load(path),
        METHODS[method],
        seed=seed,
        budgets=budgets,
        workers=workers,
        pruner=pruner,
        repeats=repeats,
    )


def _tables(
    tables: Sequence[str], methods: Sequence[str], found: dict[tuple[str, str], list[NDArray[np.float64]]]
) -> Iterator[str]:
    """In Markdown, by validation and by test: every table, then their mean."""
    for kind, name in enumerate(("validation", "test")):
        rows, means = [], {}
        for method in methods:
            curves = [np.array(found[each, method])[:, kind] for each in tables]
            means[method] = np.mean([each.mean(axis=0) for each in curves], axis=0)
            for label, each in [*zip(tables, curves, strict=True), ("**mean**", np.mean(curves, axis=0))]:
                rows.append([method, label, *(_interval(each[:, budget - 1]) for budget in AT)])
        yield f"\nRegret by {name}, mean and 95% interval, when so many full trainings are spent\n"
        yield table(["search", "table", *map(str, AT)], rows)
        if "random" in methods:
            goal = means["random"][-1]
            yield f"\nFull trainings until the mean is at random search's after {LONGEST}, {goal:.1f}\n"
            reached = [_reached(each, means[each], goal) for each in methods]
            yield table(["search", "full trainings", "times fewer"], reached)


def _interval(values: NDArray[np.float64]) -> str:
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.1f} ± {half:.1f}"


def _reached(method: str, mean: NDArray[np.float64], goal: float) -> list[str]:
    there = np.flatnonzero(mean <= goal)
    if not len(there):
        return [method, f"> {len(mean)}", ""]
    return [method, f"{there[0] + 1}", f"{LONGEST / (there[0] + 1):.1f}"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE.npz", help="format: benchmarks/README.md")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, default=4, help="trials at a time")
    parser.add_argument("--repeats", action="store_true", help="a row may be trained again, as if it were another run")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="searches at a time")
    parser.add_argument("--out", type=Path, default=Path("search_quality.jsonl"), help="a line of JSON a search")
    return parser.parse_args()


if __name__ == "__main__":
    main()
