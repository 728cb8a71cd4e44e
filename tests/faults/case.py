"""One study under one fault: a real driver in a process of its own, what it really did, and what the records say."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import synthetic
import yaml
from audit import disagreements, mlflow_runs

import hpo
from hpo.errors import HpoError
from hpo.store.storage import STORAGE_ERRORS
from hpo.study import Study

Point = tuple[float, float]
PATIENCE = 150.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the study is."""

    trials: int
    epochs: int
    sleep: float  # seconds an epoch

    @property
    def all_epochs(self) -> int:
        return self.trials * self.epochs


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a fault did, counted after the study had come to its end."""

    fault: str
    commit: str
    lost: int  # trials that have not come to the value that they were to come to
    repeated: int | None  # epochs run again of trials that had ended before the fault; None: it did not look for them
    redone: int  # epochs run twice, at most in one trial
    zombies: int  # trials or runs that say RUNNING
    seconds: float  # until the search went on
    disagreements: list[str] = field(default_factory=list)  # between the records


class Case:
    """A grid over the synthetic trainer, with an append-only journal of every epoch that was really trained."""

    def __init__(
        self, folder: Path, *, fault: str, seed: int, size: Size, storage: str, mlflow: str | None, ray: str | None
    ) -> None:
        self.folder, self.fault, self.size = folder, fault, size
        self.chance = random.Random(f"{fault} {seed}")
        self.home, self.journal = folder / "home", folder / "journal"
        self.storage = storage
        places = {"HPO_HOME": str(self.home), "OPTUNA_STORAGE": storage, "MLFLOW_TRACKING_URI": mlflow}
        places["RAY_ADDRESS"] = ray
        self.environment = {**os.environ, **{name: value for name, value in places.items() if value}}
        self.driver: subprocess.Popen[str] | None = None
        self.seconds = 0.0
        self.meanwhile = 0  # epochs trained while the fault lasted
        self._points: list[Point] = []  # of the trials that are to come to their end
        self._ran: Counter[Point] | None = None

    # -- the study ----------------------------------------------------------------------------------------------------

    def write(self, *, trainer: str = "Resumable", **sections: Any) -> Path:
        """Write the space file; `sections` replace or add to what it says."""
        options = sections.pop("options", {})
        rates, decays = [round(0.02 * number, 2) for number in range(1, self.size.trials // 2 + 1)], [0.0, 0.001]
        self._points = [(lr, decay) for lr in rates for decay in decays if str(lr) not in options.get("kinds", {})]
        space = {
            "name": "study",
            "metric": "val/accuracy",
            "sampler": "grid",
            "parameters": {"lr": {"values": rates}, "weight_decay": {"values": decays}},
            "trainer": {
                "import": f"synthetic:{trainer}",
                "epochs": self.size.epochs,
                "sleep": self.size.sleep,
                "journal": str(self.journal),
                **options,
            },
            "resources": {"gpu": 0, "cpu": 1},
            **sections,
        }
        path = self.folder / "space.yaml"
        path.write_text(yaml.safe_dump(space))
        return path

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start `hpo` as a group of processes of its own."""
        self.driver = subprocess.Popen(
            [sys.executable, "-m", "hpo", *map(str, words)],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.driver

    def finish(self) -> tuple[int, str]:
        """Wait for the driver's end; returns its exit code and what it said on stderr."""
        assert self.driver is not None
        _, said = self.driver.communicate(timeout=PATIENCE)
        return self.driver.returncode, said

    def run_on(self) -> None:
        """Resume, and see the study end well."""
        began, before = time.monotonic(), self.epochs()
        self.start("resume", "study")
        if before < self.size.all_epochs:
            self.wait_for(lambda: self.epochs() > before or self._over())
        self.seconds = time.monotonic() - began
        code, said = self.finish()
        assert code == 0, said

    def endure(self, seconds: float) -> None:
        """Let a fault last for so long, and count the epochs that are trained in spite of it."""
        before = self.epochs()
        time.sleep(seconds)
        self.meanwhile = self.epochs() - before

    def close(self) -> None:
        """Leave no process behind."""
        if self.driver is not None and self.driver.poll() is None:
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.communicate()

    # -- moments ------------------------------------------------------------------------------------------------------

    def epochs(self) -> int:
        return len(synthetic.read(self.journal))

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"waited for {PATIENCE:.0f} s"
            time.sleep(0.01)

    def wait_for_moment(self, *, until: float = 0.9) -> None:
        """Wait until a number of epochs that chance has drawn are in the journal, and a little longer."""
        drawn = self.chance.randint(1, int(until * self.size.all_epochs))
        self.wait_for(lambda: self.epochs() >= drawn or self._over())
        time.sleep(self.chance.uniform(0, 2 * self.size.sleep))

    def _over(self) -> bool:
        assert self.driver is not None
        return self.driver.poll() is not None

    def load(self) -> Study:
        return hpo.load(
            "study", home=self.home, storage=self.storage, mlflow=self.environment.get("MLFLOW_TRACKING_URI")
        )

    def remember(self) -> None:
        """Note what has ended by now: it is not to run again."""
        try:
            trials = self.load().frozen_trials()
        except (HpoError, *STORAGE_ERRORS):  # killed before there was a study
            return
        ended = {_point(trial.params) for trial in trials if trial.state.is_finished()}
        self._ran = Counter({point: count for point, count in self._counts().items() if point in ended})

    def _counts(self) -> Counter[Point]:
        return Counter(_point(line) for line in synthetic.read(self.journal))

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """Compare journal, SQL and MLflow once the search has ended."""
        study = self.load()
        values = {_point(trial.params): trial.values[0] for trial in study.frozen_trials() if trial.values}
        counts = self._counts()
        twice = Counter((_point(line), line["epoch"]) for line in synthetic.read(self.journal))
        redone: Counter[Point] = Counter()
        for (point, _), times in twice.items():
            redone[point] += times - 1
        running = study.counts().get("RUNNING", 0)
        running += sum(run["status"] == "RUNNING" for run in mlflow_runs(study).values())
        known = None if self._ran is None else self._ran.items()
        return Outcome(
            fault=self.fault,
            commit=_commit(),
            lost=sum(values.get(point) != synthetic.accuracy(*point, self.size.epochs) for point in self._points),
            repeated=None if known is None else sum(counts[point] - before for point, before in known),
            redone=max(redone.values(), default=0),
            zombies=running,
            seconds=self.seconds,
            disagreements=disagreements(study),
        )

    def table(self) -> dict[Point, dict[str, Any]]:
        """The trials by their point, as `hpo trials --json` has them."""
        return {_point(row): row for row in json.loads(json.dumps(self.load().rows(), default=str))}


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _point(values: dict[str, Any]) -> Point:
    return float(values["lr"]), float(values["weight_decay"])
