"""Which variables workers do without."""

import os

import pytest

from hpo import settings
from hpo.cluster import mps

SECRET = {
    "OPTUNA_STORAGE": "postgresql://host/db",
    "MLFLOW_TRACKING_URI": "http://host",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "x",
    "MLFLOW_TRACKING_TOKEN": "x",
    "PGPASSWORD": "x",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_SESSION_TOKEN": "x",
    "AZURE_STORAGE_ACCOUNT_KEY": "x",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "GITHUB_TOKEN": "x",
    "KAGGLE_KEY": "x",
    "WANDB_API_KEY": "x",
    "db_password": "x",
    "TEAM_WEBHOOK_URL": "https://host/path",
    "DATABASE_URL": "mysql://me:x@host/db",
    "BROKER": "amqp://me:x@host",
}
OPEN = {
    "PATH": "/usr/bin",
    "PYTHONPATH": "/src",
    "CUDA_VISIBLE_DEVICES": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "AWS_DEFAULT_REGION": "eu-1",
    "PGPASSFILE": "/home/me/.pgpass",
    "RAY_AUTH_TOKEN": "a worker talks to its own cluster",
    "RAY_AUTH_TOKEN_PATH": "/token",
    "https_proxy": "http://me:x@proxy",
    "HOMEPAGE": "http://host/a:b@c",
    "MONKEY": "x",
}


def test_what_looks_like_a_secret_is_one() -> None:
    assert [name for name, value in SECRET.items() if not settings.is_secret(name, value)] == []
    assert [name for name, value in OPEN.items() if settings.is_secret(name, value)] == []


def test_what_starts_meanwhile_inherits_no_secret_but_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRET, **OPEN}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HPO_WORKER_ENV", "KAGGLE_KEY,GITHUB_TOKEN")
    before = dict(os.environ)
    with settings.without_secrets():
        assert not (SECRET.keys() - {"KAGGLE_KEY", "GITHUB_TOKEN"}) & os.environ.keys()
        assert (OPEN.keys() | {"KAGGLE_KEY", "GITHUB_TOKEN"}) <= os.environ.keys()
        meanwhile = dict(os.environ)
    assert dict(os.environ) == before
    assert settings.open_environment() == meanwhile
    assert mps._Control("program", None).environment() == meanwhile


def test_ray_tune_sends_no_key_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies what it finds in the driver's environment into that of each worker."""
    from ray.tune.execution import class_cache

    import hpo.search.tuner  # noqa: F401 - it takes them off Tune's list

    assert [name for name in class_cache.ENV_VARS_TO_PROPAGATE if settings.is_secret(name)] == []
    assert "RAY_CHDIR_TO_TRIAL_DIR" in class_cache.ENV_VARS_TO_PROPAGATE, "the list is another one by now"
