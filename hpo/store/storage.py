"""Optuna's storage, with patience for a database that is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import InterfaceError, OperationalError

from hpo.errors import Unavailable
from hpo.masking import masked
from hpo.settings import driver_url
from hpo.store import database
from hpo.store.patience import Patience, patient

__all__ = ["STORAGE_ERRORS", "PatientStorage"]

STORAGE_ERRORS = (OperationalError, InterfaceError, StorageInternalError)
"""What a database that went away raises."""


class PatientStorage(RDBStorage):
    """Every call is tried again as `patience` says.

    A new trial may then be there twice, the first one RUNNING and known to nobody: see `Searcher.reclaim`.
    """

    patience = Patience()

    @classmethod
    def open(cls, url: str, *, reading: bool = False) -> PatientStorage:
        """Open the database at `url`, with Optuna's tables in it; for `reading` they must be there.

        Raises:
            Unavailable: they are of another version of Optuna; what it says names the command.
        """
        logging.getLogger("optuna").setLevel(logging.WARNING)  # one line a trial is the driver's to print
        options = database.engine_options(url, reading=reading)
        try:
            if reading:
                return cls(driver_url(url), engine_kwargs=options, skip_table_creation=True)
            with database.creating(url):
                return cls(driver_url(url), engine_kwargs=options)
        except RuntimeError as error:  # Optuna's word for it
            raise Unavailable(f"Optuna's tables in {masked(url)}: {error} Take a backup first") from error

    def close(self) -> None:
        """Give back all connections."""
        self.remove_session()
        self.engine.dispose()

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """As Optuna's, which tries five times over half a minute by itself: so it is asked for where it can be done."""

        def create() -> FrozenTrial:
            self._check_writable()
            return RDBStorage._create_new_trial(self, study_id, template_trial)

        return self.patience.call(create)

    def _check_writable(self) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if self.engine.name == "sqlite" else "SELECT 1")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's, but to end a trial a second time, because the answer to the first was lost, is no error."""
        before = self.patience.outages
        try:
            return bool(self.patience.call(lambda: RDBStorage.set_trial_state_values(self, trial_id, state, values)))
        except UpdateFinishedTrialError:
            if self.patience.outages == before or self.get_trial(trial_id).state != state:
                raise
            return True


for _name in {*BaseStorage.__abstractmethods__, "_set_trial_param", "_get_trials"}:
    if _name not in vars(PatientStorage):
        setattr(PatientStorage, _name, patient(getattr(RDBStorage, _name)))
