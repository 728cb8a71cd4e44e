"""Optuna's storage, with patience for a database that is away."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from hpo.errors import Unavailable
from hpo.masking import masked
from hpo.settings import driver_url
from hpo.store import database
from hpo.store.mirror import Mirror, as_stored
from hpo.store.patience import Patience, patient

__all__ = ["STORAGE_ERRORS", "PatientStorage", "alone"]

STORAGE_ERRORS = (OperationalError, InterfaceError, StorageInternalError)
"""What a database that went away raises."""


class PatientStorage(RDBStorage):
    """Every call is tried again as `patience` says.

    A new trial may then be there twice, the first one RUNNING and known to nobody: see `Searcher.reclaim`.
    """

    patience = Patience()
    _mirror: Mirror | None = None
    _outages = 0  # of `patience`, that the mirror has been told of

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
        if self._mirror is not None:
            self._mirror.drop(trial_id)
        try:
            return bool(self.patience.call(lambda: RDBStorage.set_trial_state_values(self, trial_id, state, values)))
        except UpdateFinishedTrialError:
            if self.patience.outages == before or self.get_trial(trial_id).state != state:
                raise
            return True

    # -- what the only writer need not ask ----------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else writes unfinished trials, that is under the lease: what was written is not read back.

        Trials that others add are still found. There may be one study to read.
        """
        self._mirror, self._outages = Mirror(), self.patience.outages
        try:
            yield
        finally:
            self._mirror = None

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """As Optuna's, which is asked by its cache alone; trials that are as the cache has them are left out."""

        def read(included: set[int], newest: int) -> list[FrozenTrial]:
            return self.patience.call(lambda: RDBStorage._get_trials(self, study_id, states, included, newest))

        mirror = self._mirror
        if mirror is None or states is not None:
            return read(included_trial_ids, trial_id_greater_than)
        if self._outages != self.patience.outages:
            mirror.forget()
            self._outages = self.patience.outages
        if mirror.newest is None:
            return mirror.learn(read(included_trial_ids, trial_id_greater_than), after=trial_id_greater_than)
        there = mirror.stale or self._is_newer(study_id, mirror.newest)
        return mirror.learn(read(mirror.stale, mirror.newest) if there else [], after=mirror.newest)

    def _is_newer(self, study_id: int, trial_id: int) -> bool:
        """Whether a study has trials that are newer than one."""
        query = sql.select(TrialModel.trial_id).where(TrialModel.study_id == study_id, TrialModel.trial_id > trial_id)

        def ask() -> bool:
            with self.engine.connect() as connection:
                return connection.execute(query.limit(1)).first() is not None

        return self.patience.call(ask)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        known = self._mirror.get(trial_id) if self._mirror is not None else None
        return known or self.patience.call(lambda: RDBStorage.get_trial(self, trial_id))

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        value = (trial_id, param_name, param_value_internal, distribution, previous_distribution)
        with self._writing(trial_id) as trial:
            self.patience.call(lambda: RDBStorage._set_trial_param(self, *value))
            if trial is not None:
                stored = json_to_distribution(distribution_to_json(distribution))
                trial.distributions[param_name] = stored
                trial.params[param_name] = stored.to_external_repr(param_value_internal)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._writing(trial_id) as trial:
            if (
                trial is None
                or step in trial.intermediate_values
                or not self._insert(trial_id, step, intermediate_value)
            ):
                value = (trial_id, step, intermediate_value)
                self.patience.call(lambda: RDBStorage.set_trial_intermediate_value(self, *value))
            if trial is not None:
                trial.intermediate_values[step] = intermediate_value

    def _insert(self, trial_id: int, step: int, value: float) -> bool:
        """Write a value as Optuna does, in one statement for three; returns whether the trial takes it and had none."""
        new = TrialIntermediateValueModel.__table__.columns
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        row: list[tuple[Any, Any]] = [(new.trial_id, trial_id), (new.step, step), (new.intermediate_value, stored)]
        row += [(new.intermediate_value_type, kind)]
        running = sql.exists().where(TrialModel.trial_id == trial_id, TrialModel.state == TrialState.RUNNING)
        values = sql.select(*(sql.literal(value, column.type) for column, value in row)).where(running)
        statement = sql.insert(TrialIntermediateValueModel).from_select([column for column, _ in row], values)
        statement = statement.execution_options(preserve_rowcount=True)

        def write() -> bool:
            with self.engine.begin() as connection:
                return connection.execute(statement).rowcount == 1

        try:
            return self.patience.call(write)
        except IntegrityError:  # it has one: the answer to the first try was lost
            return False

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing(trial_id) as trial:
            self.patience.call(lambda: RDBStorage.set_trial_user_attr(self, trial_id, key, value))
            if trial is not None:
                trial.user_attrs[key] = as_stored(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing(trial_id) as trial:
            self.patience.call(lambda: RDBStorage.set_trial_system_attr(self, trial_id, key, value))
            if trial is not None:
                trial.system_attrs[key] = as_stored(value)

    def _writing(self, trial_id: int) -> AbstractContextManager[FrozenTrial | None]:
        return self._mirror.writing(trial_id) if self._mirror is not None else nullcontext()


for _name in BaseStorage.__abstractmethods__:
    if _name not in vars(PatientStorage):
        setattr(PatientStorage, _name, patient(getattr(RDBStorage, _name)))


def alone(storage: BaseStorage) -> AbstractContextManager[None]:
    """`PatientStorage.alone` of what Optuna's cache is around."""
    assert isinstance(storage, _CachedStorage)
    assert isinstance(storage._backend, PatientStorage)
    return storage._backend.alone()
