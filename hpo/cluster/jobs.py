"""A search handed to a cluster as one of Ray's jobs: its driver runs there, and this machine may go away."""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from sqlalchemy.exc import OperationalError

from hpo.cluster import code, guard
from hpo.errors import HpoError, SpecError, StudyOwned, Unavailable
from hpo.masking import redacted
from hpo.settings import Settings, environment, user
from hpo.space.builtin import sources
from hpo.spec import SearchSpec
from hpo.store.lease import holder
from hpo.store.ledger import Ledger

__all__ = ["Job", "submit"]

PATIENCE = 30.0  # seconds for the cluster to prepare the code and start the driver; libraries may take longer
POLL = 0.25  # seconds between two looks
ANSWER = 10.0  # seconds for the first request
LINES = 15  # of a failed job's output


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was handed over."""

    id: str
    address: str  # of the cluster's jobs, http://...
    study: str
    runs: bool  # its driver; else the cluster still prepares it


def submit(space: SearchSpec, file: Path, settings: Settings, words: Sequence[str]) -> Job:
    """Hand `hpo run` of the space `file` to the cluster of `settings`, and return once it runs there, or soon will.

    `words` follow on the command line. The driver takes the addresses of its stores from the environment of the
    machine that it runs on, the cluster's head: no password passes through Ray, whose list of jobs shows such things.

    Raises:
        SpecError: no cluster is named, it asks for no token and is not to be insecure, or the file is not to travel.
        StudyOwned: a driver is at work on it.
        Unavailable: the cluster does not answer.
        HpoError: the driver has ended already; the message holds its last lines.
    """
    if not settings.joins or settings.ray is None:
        raise SpecError("no cluster is named: --ray or RAY_ADDRESS, http://HOST:8265 of its head")
    if (space.notify is not None and space.notify.secret) or file.read_text() != space.text:  # which has it left out
        raise SpecError(
            "notify.webhook is an address, which Ray would show to whoever may list jobs: write $HPO_WEBHOOK, and "
            "set that variable where the cluster's head is started"
        )
    for path in sources(space.trainer):
        if not Path(path).is_absolute():
            raise SpecError(f"{path!r} is another place on the cluster: give dataset.root and transfer.weights in full")
    _require_free(space, settings)
    client = _client(settings.ray)
    if not settings.insecure_cluster:
        _require_token(client.get_address())
    with _packed(space, file, settings) as (travelling, inside):
        identity = f"{space.name}-{secrets.token_hex(3)}"
        line = shlex.join(["python", "-m", "hpo", "run", "--space", inside, *words])
        try:
            _hand_over(
                client,
                entrypoint=line,
                submission_id=identity,
                runtime_env=travelling,
                metadata={"study": space.name, "owner": user()},
            )
        except OSError as error:
            raise Unavailable(f"the Ray cluster at {client.get_address()} went away: {redacted(error)}") from error
        except (RuntimeError, ValueError, TypeError) as error:
            why = f"{redacted(error)}{_too_large(error, space)}"
            raise SpecError(f"the cluster does not take the job: {why}") from error
    try:
        runs = _runs(client, identity)
    except (OSError, RuntimeError) as error:  # it has the job: typed again, there would be two
        raise Unavailable(f"job {identity} was handed over and cannot be seen by now: {redacted(error)}") from error
    return Job(id=identity, address=client.get_address(), study=space.name, runs=runs)


def _hand_over(client: JobSubmissionClient, **job: Any) -> None:
    """Submit a job, again for a while where the cluster has only just started and its agent is not there yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.submit_job(**job)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(POLL)


def _require_free(space: SearchSpec, settings: Settings) -> None:
    """Refuse a study that is being run, as far as the database can be seen from here."""
    file = settings.storage_file
    if file is not None and not file.exists():
        return
    with suppress(OperationalError):  # the driver's way to it may be another one
        row = Ledger.open(settings.storage).study(space.name)
        if row is not None and (owner := holder(row)):
            raise StudyOwned(f"study {space.name} is being run by {owner}: `hpo stop {space.name}` ends that")


def _client(address: str) -> JobSubmissionClient:
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):  # tell of every upload
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with environment(RAY_API_SERVER_ADDRESS=address):  # which Ray would prefer to what it is told
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise SpecError(guard.no_entry(address)) from error
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
        raise Unavailable(f"no Ray cluster takes jobs at {address!r}: {redacted(error)}") from error


def _require_token(address: str) -> None:
    """Refuse a cluster that answers whoever asks."""
    try:
        urlopen(f"{address}/api/jobs/", timeout=ANSWER).close()
    except HTTPError as error:
        if error.code in (401, 403):
            return
        raise Unavailable(f"the Ray cluster at {address} answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise Unavailable(f"no Ray cluster takes jobs at {address!r}: {redacted(error)}") from error
    raise SpecError(
        f"the Ray cluster at {address} asks for no token: whoever reaches it can run code there. Start it with "
        "RAY_AUTH_MODE=token, or accept it with --insecure-cluster, HPO_INSECURE_CLUSTER=1 or insecure_cluster: true "
        "in the space file"
    )


def _too_large(error: Exception, space: SearchSpec) -> str:
    """What to do where the folder of the trainer is more than the cluster takes."""
    if not re.search("413|exceeds the maximum size", str(error)):
        return ""
    return f"; the folder {code.folder_of(space)} travels: name what is no code in a .rayignore there, or move it away"


@contextmanager
def _packed(space: SearchSpec, file: Path, settings: Settings) -> Iterator[tuple[dict[str, Any], str]]:
    """What travels, and where the space file is in it."""
    if space.ray is not None and "working_dir" in space.ray.runtime_env:
        raise SpecError("ray.runtime_env.working_dir: `hpo submit` puts the space file there; leave it out")
    found, folder = code.runtime_env(space, settings), code.folder_of(space)
    if folder is not None:
        if not file.absolute().is_relative_to(folder):
            raise SpecError(f"{file} does not travel with its trainer: put it into {folder}, or below")
        yield found, str(file.absolute().relative_to(folder))
        return
    with tempfile.TemporaryDirectory(prefix="hpo-submit-") as staged:
        Path(staged, file.name).write_bytes(file.read_bytes())
        yield {"working_dir": staged, **found}, file.name


def _runs(client: JobSubmissionClient, identity: str) -> bool:
    """Whether the driver runs, after waiting a little; raises HpoError where it has ended already."""
    deadline = time.monotonic() + PATIENCE
    while (status := client.get_job_status(identity)) == JobStatus.PENDING:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    if status in (JobStatus.FAILED, JobStatus.STOPPED):
        said = client.get_job_logs(identity).strip().splitlines()[-LINES:]
        why = client.get_job_info(identity).message or status.value
        raise HpoError(redacted("\n".join([f"job {identity} has ended: {why}", *said])))
    return True
