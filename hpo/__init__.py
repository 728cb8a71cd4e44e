"""Hyperparameter search: one space file in, a finished study out.

    import hpo
    study = hpo.run("search_spaces/quickstart.yaml", overrides=["budget.trials=4"])
    study.best_trial.params, study.trials  # of several goals: study.best_trials

`hpo.run` starts or resumes, `hpo.load` opens by name; both return a `Study`. The command line is a thin layer on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import errors

if TYPE_CHECKING:
    from hpo.settings import Settings
    from hpo.spec import SearchSpec
    from hpo.study import Study

__all__ = ["Study", "__version__", "errors", "load", "run"]

__version__ = "0.1.0"


def run(
    space: str | Path | Mapping[str, Any] | SearchSpec,
    *,
    overrides: Sequence[str] = (),
    home: str | Path | None = None,
    storage: str | None = None,
    mlflow: str | None = None,
    ray: str | None = None,
    insecure_cluster: bool = False,
    concurrency: int | None = None,
    progress: bool = True,
    extend: str | None = None,
    warm_start: str | None = None,
    skip_checks: Sequence[str] = (),
) -> Study:
    """Run the study that a space file, a mapping of its shape or a parsed space describes; resume it if it exists.

    Args:
        overrides: "key=value" strings as for `--set`, such as "trainer.epochs=5".
        home: folder of the default databases, checkpoints and datasets (`hpo-data`).
        storage: SQLAlchemy URL of the studies; SQLite or PostgreSQL.
        mlflow: MLflow tracking URI.
        ray: address of a running Ray cluster; without one a local cluster is started for the run.
        insecure_cluster: the running cluster may be one that asks for no token, which anybody in reach may take over.
        concurrency: trials at a time at most; as many as fit by default.
        progress: show on stderr what happens: a live table on a terminal, a line a trial elsewhere.
        extend: the study of this name, which is the space's too, goes on over this space: more values, wider ranges.
        warm_start: "other" or "other:8": a new study begins with the best points of that one, 5 or as many.
        skip_checks: names of checks that a new study is begun without, "all" for every one; they are kept on record.

    Raises:
        errors.SpecError: the space cannot be used, or the name belongs to a study over another space, or the study
            cannot be extended to this one.
        errors.CheckFailed: a check of a new study says that nothing good can come of it; nothing was started.
        errors.StudyOwned: another process is running the study.
        errors.Interrupted: stopped by the user; `Study.resume` goes on.
        errors.NoUsableTrial: the search has ended without a COMPLETE trial.
    """
    from hpo.workers.imports import uncollected

    with uncollected():
        from hpo import spec, start

    if isinstance(space, str | Path):
        parsed = spec.load(Path(space), overrides)
    else:
        parsed = spec.from_mapping(space, overrides=overrides) if isinstance(space, Mapping) else space
    parsed.require_sources()
    settings = settings_for(
        parsed, home=home, storage=storage, mlflow=mlflow, ray=ray, insecure_cluster=insecure_cluster
    )
    return start.run(
        parsed,
        settings,
        concurrency=concurrency,
        progress=progress,
        extend=extend,
        warm_start=warm_start,
        skip_checks=skip_checks,
    )


def load(
    name: str,
    *,
    overrides: Sequence[str] = (),
    home: str | Path | None = None,
    storage: str | None = None,
    mlflow: str | None = None,
    ray: str | None = None,
    insecure_cluster: bool = False,
) -> Study:
    """Open a study that exists, to read it or to resume it with another budget or other resources.

    Raises:
        errors.SpecError: there is no study of that name.
    """
    from hpo import settings
    from hpo.study import Study

    where = settings.resolve(home=home, storage=storage, mlflow=mlflow, ray=ray, insecure_cluster=insecure_cluster)
    return Study.load(name, where, overrides)


def settings_for(space: SearchSpec, **given: Any) -> Settings:
    """Where a space's study is stored: arguments beat the environment, which beats the file."""
    from hpo import settings

    return settings.resolve(
        file_storage=space.storage,
        file_mlflow=space.mlflow,
        file_ray=space.ray_address,
        file_insecure_cluster=space.insecure_cluster,
        **given,
    )


def __getattr__(name: str) -> Any:
    if name == "Study":  # imports Optuna: only for those who ask
        from hpo.study import Study

        return Study
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
