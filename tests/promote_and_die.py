"""Run by a test: promotes a study once for each step, killed there, and then again to the end; prints what it finds.

    python promote_and_die.py MADE FOLDER

MADE is a home folder of `promotable.make`. Each promotion is a process of its own, forked after the imports, which take
ten seconds; a killed one gets SIGKILL at its step.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from promotable import STRONG, WEAK, copied

from hpo.errors import NoUsableTrial
from hpo.model import openings
from hpo.promotion import bundle
from hpo.promotion import promote as promotion
from hpo.promotion.journal import Promotions
from hpo.promotion.registry import Registry
from hpo.promotion.rollback import rollback
from hpo.study import Study

STEPS: dict[str, tuple[Any, str, bool]] = {
    # where it dies -> whose function, which, and whether after it
    "written down": (openings, "note", True),
    "scored": (Promotions, "update", True),
    "uploaded": (MlflowClient, "log_model_artifacts", True),
    "version": (MlflowClient, "create_model_version", True),
    "before the alias": (Registry, "point", False),
    "before the end": (Promotions, "end", False),
}


def deadly(call: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    @functools.wraps(call)
    def dying(*arguments: Any, **named: Any) -> Any:
        if after:
            call(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return dying


def forked(work: Callable[[], None]) -> int:
    """Do `work` in a process of its own; returns the signal that ended it, 0 for none."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def promote(study: Study, trial: int) -> promotion.Promotion:
    return promotion.promote(study, promotion.Wish(trial=trial), lambda text: None)


def roll_back(first: Path, home: Path, step: str) -> None:
    """Kill a rollback, look, type it again, and once more."""
    study = copied(first, home)
    promote(study, STRONG)
    name = {"rollback before the alias": "point", "rollback before the end": "end"}[step]
    owner = Registry if name == "point" else Promotions

    def die() -> None:
        setattr(owner, name, deadly(getattr(owner, name), after=False))
        rollback(study.afresh(), "champion")

    ended = forked(die)
    registry = Registry(study.settings, study.name, home / "read-back")
    left = registry.aliases()["champion"]
    told: list[Any] = [rollback(study.afresh(), "champion")]
    try:
        told.append(rollback(study.afresh(), "champion"))
    except NoUsableTrial as error:
        told.append(str(error)[: len("version 1 is the first")])
    rows = [row["outcome"] for row in Promotions(study.ledger).all(study.id)]
    said = {"step": step, "signal": -ended, "left": left, "told": told, "aliases": registry.aliases(), "rows": rows}
    print(json.dumps(said), flush=True)


def one(first: Path, home: Path, step: str) -> None:
    """Kill a promotion of the strong trial over a champion, look, and type it again."""
    study = copied(first, home)
    owner, name, after = STEPS[step]

    def die() -> None:
        setattr(owner, name, deadly(getattr(owner, name), after=after))
        promote(study.afresh(), STRONG)

    ended = forked(die)
    registry = Registry(study.settings, study.name, home / "read-back")
    left = registry.pointed("champion")
    whole = None
    if left is not None:
        with registry.fetched(left) as folder:
            whole = bundle.digest(folder) == left.tags["hpo.digest"]
    found = promote(study.afresh(), STRONG)
    print(
        json.dumps(
            {
                "step": step,
                "signal": -ended,
                "left": left.number if left else None,
                "whole": whole,
                "outcome": found.outcome,
                "version": found.version,
                "versions": len(registry.versions()),
                "aliases": registry.aliases(),
                "openings": len((home / openings.FILE).read_text().splitlines()),
                "rows": [row["outcome"] for row in Promotions(study.ledger).all(study.id)],
                "back": rollback(study.afresh(), "champion")["to"],
            }
        ),
        flush=True,
    )


def main() -> None:
    made, folder = map(Path, sys.argv[1:])
    promote(copied(made, folder / "first"), WEAK)  # whatever is imported for it, the children have then
    for number, step in enumerate(STEPS):
        forked(functools.partial(one, folder / "first", folder / str(number), step))
    for number, step in enumerate(("rollback before the alias", "rollback before the end")):
        forked(functools.partial(roll_back, folder / "first", folder / f"back-{number}", step))


if __name__ == "__main__":
    main()
