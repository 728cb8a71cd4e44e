"""Tables of learning curves that were really trained: a proposal becomes the nearest row."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curves"]

STEPS = 27


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A table: hyperparameters of n runs, and what each came to; lower is better.

    Of a table with curves, `val` and `test` are (n, 27), the value after each 27th of a run's own schedule; without,
    (n, seeds), final values.
    """

    name: str
    parameters: dict[str, dict[str, Any]]  # the search box; "its_" before each name: the replay has `epochs` of its own
    raw: NDArray[np.float64]  # (n, d)
    points: NDArray[np.float64]  # the same in the unit cube
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    log: NDArray[np.bool_]
    val: NDArray[np.float64]
    test: NDArray[np.float64]
    whole: bool  # final values alone, of several seeds
    cost: NDArray[np.float64]  # (n,) of a full run; 1 in the mean

    @classmethod
    def load(cls, path: Path) -> Curves:
        """Read a table.

        Raises:
            SystemExit: it is no such table.
        """
        try:
            with np.load(path) as file:
                low, high, log = file["lo"].astype(float), file["hi"].astype(float), file["log"].astype(bool)
                raw, names, cost = file["X"].astype(float), [f"its_{name}" for name in file["names"]], file["cost"]
                val, test, meta = file["val"].astype(float), file["test"].astype(float), json.loads(str(file["meta"]))
            whole = meta["fidelity"] == "none"
            problem = _problem(whole, names, X=raw, lo=low, hi=high, log=log, cost=cost, val=val, test=test)
        except (OSError, EOFError, IndexError, KeyError, ValueError, TypeError, AttributeError, BadZipFile) as error:
            problem = str(error)
        if problem:
            raise SystemExit(f"{path} is no table of curves: {problem}; see benchmarks/README.md")
        return cls(
            name=path.stem,
            parameters={
                name: {"min": float(low[at]), "max": float(high[at]), "log": bool(log[at])}
                for at, name in enumerate(names)
            },
            raw=raw,
            points=_unit(raw, low, high, log),
            low=low,
            high=high,
            log=log,
            val=val,
            test=test,
            whole=whole,
            cost=cost / cost.mean(),
        )

    @property
    def steps(self) -> int:
        """Of a full run."""
        return 1 if self.whole else STEPS

    def row(self, params: Mapping[str, float], taken: Collection[int] = ()) -> int:
        """The nearest row to a point that is not taken; when all are, the nearest."""
        point = _unit(np.array([params[name] for name in self.parameters]), self.low, self.high, self.log)
        away = ((self.points - point) ** 2).sum(axis=1)
        if len(taken) < len(away):
            away[list(taken)] = np.inf
        return int(away.argmin())

    def params(self, row: int) -> dict[str, float]:
        """The hyperparameters of a row."""
        return dict(zip(self.parameters, map(float, self.raw[row]), strict=True))

    def value(self, row: int, step: int, seed: int) -> float:
        """What a run reports after a step; `seed` chooses one of several runs where there are several."""
        column = seed % self.val.shape[1] if self.whole else step - 1
        return float(self.val[row, column])

    def regret(self, row: int, *, test: bool = False) -> float:
        """Of a row at the end of its schedule: 0 is the table's best, 100 its median; of several seeds their mean."""
        table = self.test if test else self.val
        final = table.mean(axis=1) if self.whole else table[:, -1]
        best, median = final.min(), np.median(final)
        return float(100 * (final[row] - best) / (median - best))


def _problem(whole: bool, names: list[str], **arrays: NDArray[Any]) -> str | None:
    """What is wrong with a table's arrays, the first of it."""
    rows, columns = len(arrays["X"]), len(names)
    values = (rows, arrays["val"].shape[-1] if whole else STEPS)
    right = {"X": (rows, columns), "cost": (rows,), "val": values, "test": values}
    for name, each in arrays.items():
        if each.shape != right.get(name, (columns,)):
            return f"{name} is {each.shape}, not {right.get(name, (columns,))}"
        if not np.isfinite(each).all():
            return f"{name} holds what is no finite number"
    final = arrays["val"].mean(axis=1) if whole else arrays["val"][:, -1]
    if not rows or final.min() == np.median(final):
        return "its best run is no better than its median"
    if not (arrays["lo"] < arrays["hi"]).all() or not (arrays["cost"] > 0).all():
        return "lo is to be below hi, and cost above 0"
    return None


def _unit(points: NDArray[Any], low: NDArray[Any], high: NDArray[Any], log: NDArray[Any]) -> NDArray[np.float64]:
    points, low, high = (np.where(log, np.log(np.where(log, each, 1.0)), each) for each in (points, low, high))
    return np.asarray((points - low) / (high - low))
