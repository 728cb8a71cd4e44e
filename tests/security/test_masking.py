"""Passwords of databases and servers stay out of what is shown and stored, of errors too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port
from study_samples import TREE

from hpo import settings, spec
from hpo.errors import SpecError
from hpo.masking import redacted
from hpo.study import Study
from hpo.tracking.process import Tracking

SECRET = "se/same & ö"
QUOTED = "se%2Fsame%20%26%20%C3%B6"


def hpo(*words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "HPO_HOME": str(home), **environment}
    command = [sys.executable, "-m", "hpo", *words]
    return subprocess.run(command, capture_output=True, text=True, env=known, timeout=120, check=False)


def shut(secret: str) -> str:
    """The address of an MLflow server where nobody answers."""
    return f"http://bob:{secret}@127.0.0.1:{free_port()}"


@pytest.mark.parametrize("spelled", [SECRET, QUOTED, "se%2Fsame+%26+%C3%B6", f"http://me:{QUOTED}@host/x"])
def test_an_error_is_told_without_the_passwords_of_all_addresses(home: Path, spelled: str) -> None:
    settings.resolve(home=home, mlflow=f"http://bob:{QUOTED}@host")
    assert redacted(ValueError(f"cannot say '{spelled}' to (host)")).count("***") == 1
    assert "same" not in redacted(ValueError(f"cannot say '{spelled}' to (host)"))


def test_the_address_of_a_cluster_is_told(home: Path) -> None:
    for address in ("auto", "head:6379"):
        settings.resolve(home=home, ray=address)
        assert redacted(f"no answer at {address} yet") == f"no answer at {address} yet"


def test_an_error_is_told_without_passwords_that_stand_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "alone-1")
    monkeypatch.setenv("PGPASSWORD", "alone-2")
    settings.resolve(home=home, storage="postgresql://host/db?user=me&password=alone-3")
    assert redacted("alone-1, alone-2 (alone-3) but alone-4") == "***, *** (***) but alone-4"


def test_an_error_is_told_without_the_password_of_an_address_that_nobody_named() -> None:
    told = redacted("GET http://me:word@host/a and postgresql://he:word@other/b?password=word failed, ask me@host")
    assert told == "GET http://me:***@host/a and postgresql://he:***@other/b?password=*** failed, ask me@host"


def test_words_that_hold_a_short_password_stay(home: Path) -> None:
    settings.resolve(home=home, storage="postgresql://hpo:post@host/db")
    assert redacted("postgresql://hpo@host: no post") == "postgresql://hpo@host: no ***"


def test_no_password_of_a_silent_mlflow_in_a_message(home: Path) -> None:
    Study.open(spec.from_mapping(TREE), settings.resolve(home=home))
    for words in (["delete", "study", "-y"], ["--debug", "delete", "study", "-y"], ["doctor", "study"]):
        done = hpo(*words, home=home, MLFLOW_TRACKING_URI=shut("sesame"))
        assert done.returncode == 4, done.stderr
        assert "127.0.0.1" in done.stderr + done.stdout
        assert "sesame" not in done.stderr + done.stdout


def test_no_password_of_a_silent_mlflow_in_the_log_of_the_sender(home: Path) -> None:
    study = Study.open(spec.from_mapping(TREE), settings.resolve(home=home, mlflow=shut("sesame")))
    study.ledger.post(study.id, None, "start", {})
    assert Tracking(study).close(60) == 1
    log = (home / "tracking.log").read_text()
    assert "127.0.0.1" in log
    assert "sesame" not in log


@pytest.mark.parametrize("option", ["storage", "mlflow"])
@pytest.mark.parametrize("secret", ["se@same", "se/same", "s@e/same", "se?same", "se#same", "se?s@me", "12/3@same"])
def test_a_password_that_is_not_encoded_is_refused_and_not_repeated(option: str, secret: str, home: Path) -> None:
    with pytest.raises(SpecError, match="percent-encoded") as caught:
        settings.resolve(home=home, **{option: f"postgresql://me:{secret}@host/db"})
    assert str(caught.value).startswith(option)
    assert "me@" not in str(caught.value)
    assert not {"same", "se", "s@e", "s@me"} & set(str(caught.value).split("'"))
    assert "same" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://me:sesame", "postgresql://me@host:sesame/db", "http://[sesame/"])
def test_what_stands_where_a_port_should_is_refused_and_not_repeated(url: str, home: Path) -> None:
    option = "mlflow" if url.startswith("http") else "storage"
    with pytest.raises(SpecError, match="port") as caught:
        settings.resolve(home=home, **{option: url})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@host/db",
        "postgresql://me:s%40same@host:5432/db?application_name=mine",
        "postgresql+psycopg://me:a:b@[::1]:5432/db",
        "postgresql://host/db?user=me&password=a@b",
        "postgresql:///db?host=/run/postgresql",
        "sqlite:////data/me:x@home/studies.db",
    ],
)
def test_addresses_that_work_are_taken(url: str, home: Path) -> None:
    assert settings.resolve(home=home, storage=url).storage == url


@pytest.mark.parametrize("url", ["http://host:5000/me@home", "https://me:x@host", "mysql://host/runs"])
def test_addresses_of_mlflow_that_work_are_taken(url: str, home: Path) -> None:
    assert settings.resolve(home=home, mlflow=url).mlflow == url


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "sqlite+aiosqlite", "postgres", "mysql"])
def test_a_driver_that_is_not_installed_with_hpo_is_refused_with_those_that_are(scheme: str, home: Path) -> None:
    done = hpo("status", home=home, OPTUNA_STORAGE=f"{scheme}://me:sesame@host/db")
    assert done.returncode == 2, done.stderr
    assert "sqlite:///PATH or postgresql://USER@HOST/DATABASE" in done.stderr
    assert "sesame" not in done.stderr
