"""What drivers that died left open, closed by whatever command comes next.

A killed driver that nobody resumes would else leave its trials RUNNING in Optuna and in MLflow for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from hpo.errors import HpoError, StudyOwned
from hpo.settings import Settings
from hpo.store import database
from hpo.store.tables import studies

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["close", "put_back"]


def close(settings: Settings, *, but: str | None = None) -> list[str]:
    """Put the unfinished trials of dead drivers back into the queue; `but` is about to be opened by its next driver.

    One query where there are none. MLflow is told by a process that nobody waits for. Returns a line for a person for
    each study that was closed, or could not be.
    """
    return [_closed(name, settings) for name in _abandoned(settings) if name != but]


def put_back(study: Study) -> int:
    """Close what is open, with the records for MLflow; under the lease. Returns how many trials wait again."""
    from hpo.audit.rebuild import end_of_study
    from hpo.search.recovery import recover  # imports Optuna

    back = recover(study)
    if study.ledger.trials(study.id):
        study.ledger.post(study.id, None, "end", end_of_study(study))
    return back


def _abandoned(settings: Settings) -> list[str]:
    """Studies whose lease was not given back and has run out."""
    return [row["name"] for row in _owned(settings) if _is_lost(row)]


def _owned(settings: Settings) -> list[RowMapping]:
    """Studies that somebody has, or had when it died. Opens nothing that is not there."""
    if settings.storage_file is not None and not settings.storage_file.exists():
        return []
    engine = database.open_engine(settings.storage)
    kept = ("name", "owner", "host", "pid", "process", "owned_since", "expires")
    query = sql.select(*(studies.c[name] for name in kept)).where(studies.c.owner.is_not(None)).order_by(studies.c.id)
    try:
        with engine.connect() as connection:
            return list(connection.execute(query).mappings())
    except sql.exc.DBAPIError:  # no tables yet, or no answer, which the command itself will say
        return []
    finally:
        engine.dispose()


def _is_lost(row: RowMapping) -> bool:
    from hpo.store.lease import holder  # imports psutil, for the few that need it

    return holder(row) is None


def _closed(name: str, settings: Settings) -> str:
    from hpo.store.lease import Lease
    from hpo.store.patience import reason
    from hpo.store.storage import STORAGE_ERRORS
    from hpo.study import Study
    from hpo.tracking.process import Tracking

    try:
        study = Study.load(name, settings)
        with Lease(study):
            back = put_back(study)
    except StudyOwned:
        return f"study {name}: another command was quicker to close what its dead driver left"
    except (HpoError, *STORAGE_ERRORS) as error:
        return f"study {name}: its driver is gone, and what it left cannot be closed: {reason(error)}"
    if study.knows_mlflow:
        Tracking(study).leave()
    again = study.settings.command("resume", name)
    return f"study {name}: its driver is gone; {back} unfinished trials wait to go on with: {again}"
