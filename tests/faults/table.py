"""The table of docs/reliability.md, from what rounds of faults came to."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from case import Outcome

BEGIN, END = "<!-- from tests/faults/soak.py: do not edit -->", "<!-- end -->"
COLUMNS = (
    "fault",
    "commit",
    "times",
    "trials lost",
    "epochs of finished trials run again",
    "epochs redone in one trial, most",
    "zombies",
    "records that disagree",
    "seconds until it went on: median (most)",
    "the stock stack",
)
STOCK = {
    "driver_killed": "restore crashed in one study and resumed others, from a state 10 s old or more",
    "worker_killed": "the trial is abandoned by default; RUNNING for ever",
    "second_driver": "24 trials for a budget of 12, 8 of them twice, no warning",
    "sqlite_locked": "ends the sweep",
    "mlflow_stopped": "its loop stood 140 s for 70 s without MLflow",
    "disk_full": "its state file was cut short: no restore ever",
    "trials_fail": "one that comes to NaN stays RUNNING",
}
"""What Ray Tune 2.60, OptunaSearch and MLflow's callback did, measured in November 2026; the others were not."""


def write_table(outcomes: Sequence[Outcome], path: Path) -> None:
    """Put the table between its marks in a Markdown file."""
    text = path.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{_conditions()}\n\n{_table(outcomes)}\n{END}{tail}")


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for fault in dict.fromkeys(outcome.fault for outcome in outcomes):
        found = [outcome for outcome in outcomes if outcome.fault == fault]
        seconds = [outcome.seconds for outcome in found]
        cells = [
            fault.replace("_", " "),
            ", ".join(dict.fromkeys(outcome.commit for outcome in found)),
            len(found),
            sum(outcome.lost for outcome in found),
            "" if found[0].repeated is None else sum(outcome.repeated or 0 for outcome in found),
            max(outcome.redone for outcome in found),
            sum(outcome.zombies for outcome in found),
            sum(len(outcome.disagreements) for outcome in found),
            f"{median(seconds):.1f} ({max(seconds):.1f})" if any(seconds) else "",
            STOCK.get(fault, ""),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _conditions() -> str:
    machine = f"{os.cpu_count()} processors ({platform.machine()}), Python {platform.python_version()}"
    return f"{time.strftime('%d %B %Y')}, {machine}."
