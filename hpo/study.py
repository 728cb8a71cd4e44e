"""A study as SQL knows it: open, read, mend after a kill, delete."""

from __future__ import annotations

import contextlib
import json
import shutil
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import RowMapping

from hpo import goals, rows, spec
from hpo.errors import NoUsableTrial, SpecError, Unavailable
from hpo.goals import Point
from hpo.masking import masked
from hpo.rungs import states
from hpo.settings import Settings, person
from hpo.spec import SearchSpec
from hpo.store import columns
from hpo.store.ledger import Ledger
from hpo.store.opening import create, difference, elsewhere, gone, home_on_record, missing, open_ledger, unknown
from hpo.store.storage import PatientStorage
from hpo.wording import words
from trainers.folders import inside

if TYPE_CHECKING:
    import pandas as pd

    from hpo.store.history import Entry

__all__ = ["Study", "difference", "open_ledger"]


class Study:
    """One search: its space, its trials and where everything is stored.

    Open with `Study.open` (creates it) or `Study.load` (by name).
    """

    def __init__(
        self, space: SearchSpec, settings: Settings, ledger: Ledger, storage: PatientStorage, *, reading: bool = False
    ) -> None:
        known = ledger.study(space.name)
        assert known is not None
        self.spec = space
        self.settings = settings
        self.ledger = ledger
        self.row = known
        self.id: int = known["id"]
        self.reading = reading
        self.storage = optuna.storages.get_storage(storage)
        self.patience = storage.patience = ledger.patience
        weakref.finalize(self, storage.close)  # else PostgreSQL's connections stay open as long as the process

    @cached_property
    def optuna(self) -> optuna.Study:
        """Optuna's side. It is made where no trial has begun yet, and never anew.

        Raises:
            SpecError: it has gone, and our trials are there.
        """
        try:
            return optuna.load_study(study_name=self.name, storage=self.storage)
        except KeyError:
            if self.reading or self.ledger.trials(self.id):
                raise SpecError(f"study {self.name!r}: {gone(self.name, self.settings)}") from None
        return optuna.create_study(
            study_name=self.name,
            storage=self.storage,
            directions=[each.goal for each in self.spec.metrics],
            load_if_exists=True,
        )

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {words(self.counts())})"

    # -- opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, space: SearchSpec, settings: Settings, first: Entry | None = None) -> Study:
        """Create the study, with the `first` entry of its history, or open it when it is there with the same space.

        Budget, resources, winner and gate may differ from the last time and are updated.

        Raises:
            SpecError: the name is taken by a study over another space; the message shows the difference.
            Unavailable: the database does not answer.
        """
        settings.make_home()
        ledger = Ledger.open(settings.storage)
        storage = PatientStorage.open(settings.storage)
        row = ledger.study(space.name)
        if row is None:
            if space.name in optuna.get_all_study_names(storage):
                raise SpecError(
                    f"{masked(settings.storage)} holds a study {space.name!r} that was not made by hpo: "
                    "choose another name"
                )
            create(ledger, space, settings, first)
        elif row["hash"] != space.hash():
            raise SpecError(difference(space, columns.canonical(row)))
        study = cls(space, settings, ledger, storage)
        if study.optuna.user_attrs.get("space") != study.row["text"]:
            study.optuna.set_user_attr("space", study.row["text"])  # so that the dashboard shows what was searched
        return study

    @classmethod
    def load(cls, name: str, settings: Settings, overrides: Sequence[str] = (), *, reading: bool = False) -> Study:
        """Open a study that exists; overrides such as "budget.trials=100" change what may change within a study.

        With `reading` nothing is written, no table or column that an earlier version had not either.

        Raises:
            SpecError: there is none of that name, or an override would change the space.
        """
        ledger = open_ledger(settings, reading=reading)
        row = ledger.study(name)
        if row is None:
            raise unknown(name, settings, ledger)
        folder = Path(row["folder"]) if row["folder"] else None
        stored = columns.canonical(row)
        space = spec.from_mapping(stored, overrides=overrides, folder=folder, trusted=True)
        if space.hash() != row["hash"]:
            raise SpecError(difference(space, stored))
        mlflow = settings.mlflow_at(row["mlflow"]) or space.mlflow
        settings = settings.filled(mlflow=mlflow, ray=space.ray_address, insecure_cluster=space.insecure_cluster)
        storage = PatientStorage.open(settings.storage, reading=reading)
        return cls(space, settings, ledger, storage, reading=reading)

    def afresh(self) -> Study:
        """The same study opened once more; Optuna caches what has ended."""
        return Study.load(self.name, self.settings, reading=self.reading)

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def folder(self) -> Path:
        """Where this study's checkpoints lie."""
        return self.settings.checkpoints / self.folder_name

    @property
    def folder_name(self) -> str:
        """Its name: the number alone is not enough, another database may share the home folder."""
        return f"{self.id}-{self.row['uid'][:8]}"

    def trial_folder(self, number: int) -> Path:
        """Where a trial's checkpoints lie."""
        return self.folder / f"{number:06d}"

    @property
    def is_here(self) -> bool:
        """Whether `settings` lead to the home folder of the last driver, as far as that is on record.

        A home may have moved: where the study's own folder is, it is here.
        """
        return self.row["home"] in (None, home_on_record(self.settings)) or self.folder.is_dir()

    def missing_folders(self, trials: Iterable[RowMapping]) -> dict[Path, list[int]]:
        """Folders of studies that rows of hpo_trial name and that are not there, with the trials of each.

        A disk that is not mounted is no reason to forget what lies on it.
        """
        found: dict[Path, list[int]] = {}
        for row in trials:
            folder = self.settings.checkpoints.joinpath(*Path(row["checkpoint"] or "").parts[:1])
            if row["checkpoint"] and not folder.is_dir():
                found.setdefault(folder, []).append(row["number"])
        return found

    @property
    def elsewhere(self) -> str:
        """Where its checkpoints are instead, and what to do, for a study that is not here."""
        return elsewhere(self.row, self.settings, self.folder)

    @property
    def knows_mlflow(self) -> bool:
        """Whether `settings` lead to where the last driver sent its records, as far as that is on record."""
        return self.is_here and self.row["mlflow"] in (None, self.settings.mlflow_place)

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Where the user's own trainer is looked for: beside the space file, then in the current folder."""
        beside = [str(self.spec.folder.absolute())] if self.spec.folder else []
        return (*beside, str(Path.cwd()))

    @property
    def best_trial(self) -> FrozenTrial:
        """The COMPLETE trial with the best objective at its last epoch; of equals the first.

        One that misses a constraint is not asked; of several goals it is the one of the front that the first goal likes
        best.

        Raises:
            NoUsableTrial: no trial is COMPLETE and keeps the constraints.
        """
        return self.best_trials[0]

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The front: COMPLETE trials that no other betters in all goals, best in the first goal first; of one goal one.

        Raises as `best_trial`.
        """
        there = {trial.number: trial for trial in self.frozen_trials()}
        if not (found := [there[each.number] for each in self.front()]):
            raise NoUsableTrial(self._none_is_best())
        return found

    def _none_is_best(self) -> str:
        if not self.complete():
            reasons = self.settings.command("trials", self.name)
            return f"study {self.name!r} has no complete trial: {words(self.counts())}; see {reasons}"
        said = goals.nearest(self.frozen_trials(), self.spec.metrics)
        return f"no complete trial of study {self.name!r} keeps its constraints: {words(self.counts())}; {said}"

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, in order of numbers: state, value, the parameters, epoch, seconds, error, checkpoint..."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The trials table as plain values; parameters under their own names."""
        ours = {row["number"]: row for row in self.ledger.trials(self.id)}
        return [rows.row(self, trial, ours.get(trial.number)) for trial in self.frozen_trials()]

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """A trial's parameters, without those that a condition kept out; of one in the queue those it will have."""
        found = trial.params or trial.system_attrs.get("fixed_params", {})
        return {name: found[name] for name in self.spec.parameters if name in found}

    def frozen_trials(self) -> list[FrozenTrial]:
        """Optuna's view of the trials, in order of their numbers."""
        return self.optuna.get_trials(deepcopy=False)

    def complete(self) -> dict[int, float]:
        """Value of each COMPLETE trial, by number; of several goals the first."""
        return {each.number: each.values[0] for each in self.frozen_trials() if each.state == TrialState.COMPLETE}

    @property
    def leader(self) -> int | None:
        """The number of the one best trial; None where none is, and of several goals, of which a person weighs."""
        return None if self.spec.several else next(iter(self.best_first()), None)

    def front(self) -> list[Point]:
        """What `best_trials` have come to; empty where there is none."""
        return goals.front(goals.points(self.frozen_trials()), self.spec.metrics)

    def best_first(self) -> list[int]:
        """Numbers of the COMPLETE trials that keep the constraints, the best first: the front, then by the first goal.

        Of equals the earlier trial.
        """
        return [each.number for each in goals.ranked(goals.points(self.frozen_trials()), self.spec.metrics)
                if not each.excess]  # fmt: skip

    def checkpoint(self, number: int) -> Path | None:
        """The newest checkpoint of a trial that is still kept."""
        return self.kept(self.ledger.trial(self.id, number))

    def kept(self, row: RowMapping | None) -> Path | None:
        """The checkpoint that a row of hpo_trial names."""
        if not row or not row["checkpoint"]:
            return None
        try:
            return inside(self.settings.checkpoints, row["checkpoint"])
        except ValueError:  # nobody may have files elsewhere read or deleted by a line in SQL
            return None

    def counts(self) -> dict[str, int]:
        """Trials by state, PAUSED of those that wait for a promotion; states without a trial are left out."""
        return dict(Counter(states(self.spec, self.frozen_trials())))

    # -- running ------------------------------------------------------------------------------------------------------

    def resume(self, *, concurrency: int | None = None, progress: bool = True) -> Study:
        """Run what is left of the study; arguments and errors as for `hpo.run`."""
        from hpo import start

        self.spec.require_sources()
        return start.go(self, concurrency=concurrency, progress=progress)

    def delete(self) -> None:
        """Remove the study's checkpoints, then the study from SQL, under the lease; MLflow is the caller's to clear.

        In an order in which a kill leaves a study that can be opened, and deleted by the same call again: the records
        of checkpoints before their files, our trials before Optuna's, which would else be ended trials that Optuna
        knows nothing of.
        """
        folders = [self.folder, *self._folders_of_an_earlier_version()]
        for row in self.ledger.trials(self.id):
            if row["checkpoint"]:
                self.ledger.forget_checkpoint(self.id, row["number"])
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        self.ledger.delete_trials(self.id)
        with contextlib.suppress(KeyError):  # it has gone before
            optuna.delete_study(study_name=self.name, storage=self.storage)
        self.ledger.delete_study(self.id)

    def _folders_of_an_earlier_version(self) -> list[Path]:
        """Trials' folders below the study's number alone, which another database may have too: those on record."""
        own = {f"{self.id}/{row['number']:06d}" for row in self.ledger.trials(self.id)}
        named = {str(Path(row["checkpoint"]).parent) for row in self.ledger.trials(self.id) if row["checkpoint"]}
        return [self.settings.checkpoints / each for each in own & named]

    def begin(self) -> None:
        """Read afresh what an earlier driver spent, and save places, budget and resources as they are now.

        Under the lease. Raises Unavailable where the checkpoints are in another home or their folder is missing, as
        trials would start over, and where the study was extended since it was opened.
        """
        row = self.ledger.study(self.name)
        assert row is not None
        if row["hash"] != self.spec.hash():
            raise Unavailable(f"study {self.name!r} was extended by another command meanwhile: type this one again")
        self.row = row
        trials = self.ledger.trials(self.id)
        if not self.is_here and any(each["checkpoint"] for each in trials):
            raise Unavailable(f"study {self.name!r}: {self.elsewhere}")
        for folder, numbers in self.missing_folders(trials).items():
            raise Unavailable(f"study {self.name!r}: {missing(folder, len(numbers))}")
        self.ledger.update_study(
            self.id,
            canonical=json.dumps(self.spec.canonical()),
            mlflow=self.settings.mlflow_place,
            home=home_on_record(self.settings),
            run_by=person(),
        )
