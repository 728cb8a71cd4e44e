"""Tables of learning curves that were really trained: a proposal becomes the nearest row."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    parameters: dict[
        str, dict[str, Any]
    ]  # "its_" before the name: a table may have `epochs`, which is the replay's own
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
                low, high, log = file["lo"], file["hi"], file["log"].astype(bool)
                raw, names, cost = file["X"], [f"its_{name}" for name in file["names"]], file["cost"].astype(float)
                val, test, meta = file["val"].astype(float), file["test"].astype(float), str(file["meta"])
        except (OSError, KeyError, ValueError) as error:
            raise SystemExit(f"{path} is no table of curves: {error}; see benchmarks/README.md") from error
        parameters = {
            name: {"min": float(low[at]), "max": float(high[at]), "log": bool(log[at])} for at, name in enumerate(names)
        }
        found = cls(
            name=path.stem,
            parameters=parameters,
            raw=raw,
            points=_unit(raw, low, high, log),
            low=low,
            high=high,
            log=log,
            val=val,
            test=test,
            whole=json.loads(meta)["fidelity"] == "none",
            cost=cost / cost.mean(),
        )
        if not found.whole and val.shape[1] != STEPS:
            raise SystemExit(f"{path}: its curves have {val.shape[1]} steps, not {STEPS}")
        return found

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


def _unit(points: NDArray[Any], low: NDArray[Any], high: NDArray[Any], log: NDArray[Any]) -> NDArray[np.float64]:
    points, low, high = (np.where(log, np.log(np.where(log, each, 1.0)), each) for each in (points, low, high))
    return np.asarray((points - low) / (high - low))
