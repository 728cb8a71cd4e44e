"""Where things are stored: the only reader of the environment.

Flag beats environment, which beats the space file, which beats the default under `hpo-data/`.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from hpo.errors import SpecError
from hpo.masking import masked, remember, remember_whole, unreadable
from hpo.space.sections import variable_of
from trainers.folders import private

__all__ = ["Settings", "hide", "resolve"]


DEFAULT_HOME = "hpo-data"
MPS_FOLDER = "CUDA_MPS_PIPE_DIRECTORY"
ADDRESSES = frozenset({"OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"})
"""What only the driver and the sender to MLflow have business with."""
SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|WEBHOOK|TOKENS?(_|$)|(API|ACCESS|PRIVATE|ACCOUNT)_?KEY|_KEY(_ID)?$",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@")
"""A URL with a password in it."""
NEEDED = re.compile(r"RAY_.*|.*_proxy", re.IGNORECASE)
"""A worker talks to its own cluster, and fetches data sets through the proxy there is."""
FORMS = {"storage": "postgresql://USER@HOST/DATABASE", "mlflow": "http://USER:PASSWORD@HOST:PORT"}
PASSWORDS = ("PGPASSWORD", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN")
"""What stores are entered with, beside what stands in their addresses."""
SHARED = "HPO_WORKER_ENV"
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's: what it knows of the job that it started this process as
TRUE = frozenset({"1", "true", "yes"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The four places a search touches."""

    home: Path  # checkpoints, artifacts, datasets and the default databases; absolute
    storage: str  # SQLAlchemy URL of the studies
    mlflow: str  # MLflow tracking URI
    ray: str | None  # address of a running cluster; None starts one for the run
    insecure_cluster: bool = False  # whether a running cluster may be one that anybody may enter

    @property
    def joins(self) -> bool:
        """Whether trials run in a cluster that runs already; "local" is Ray's word for one that starts here."""
        return self.ray not in (None, "local")

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def datasets(self) -> Path:
        return self.home / "datasets"

    @property
    def storage_file(self) -> Path | None:
        """The file that the studies lie in; None where they lie in a server."""
        return sqlite_file(self.storage)

    @property
    def artifacts(self) -> str | None:
        """Artifact folder for a local tracking database; None leaves the choice to the MLflow server."""
        return (self.home / "artifacts").as_uri() if "://" in self.mlflow and not is_server(self.mlflow) else None

    def command(self, *words: str) -> str:
        """The `hpo` command to type in this folder for the same studies, with the options that lead to them."""
        line = [program("hpo"), *words]
        if self.home != Path.cwd() / DEFAULT_HOME:
            line += ["--home", str(self.home)]
        # what stands in the environment is there for the next command too; a masked URL would be of no use in it
        if self.storage not in (default_storage(self.home), os.environ.get("OPTUNA_STORAGE")):
            line += ["--storage", masked(self.storage)]
        known = (default_mlflow(self.home), os.environ.get("MLFLOW_TRACKING_URI"))
        if words[0] in ("resume", "ui") and self.mlflow not in known:
            line += ["--mlflow", masked(self.mlflow)]
        if words[0] == "resume":
            if self.ray and self.ray != os.environ.get("RAY_ADDRESS"):
                line += ["--ray", self.ray]
            if self.insecure_cluster and not _says_insecure():
                line += ["--insecure-cluster"]
        return shlex.join(line)

    def filled(self, *, mlflow: str | None, ray: str | None, insecure_cluster: bool = False) -> Settings:
        """The same with what a study's space file says of MLflow and Ray, where nothing else was said.

        The file's `insecure_cluster` is about the file's own cluster.
        """
        unsaid = self.mlflow == default_mlflow(self.home)
        return replace(
            self,
            mlflow=mlflow if mlflow and unsaid else self.mlflow,
            ray=self.ray or ray,
            insecure_cluster=self.insecure_cluster or (insecure_cluster and self.ray in (None, ray)),
        )

    @property
    def mlflow_place(self) -> str:
        """Where MLflow is, as kept on record: without a password, and the same after the home folder has moved."""
        return masked(self.mlflow).replace(str(self.home), "{home}")

    def mlflow_at(self, place: str | None) -> str | None:
        """The tracking URI that is on record as this place; None where none is, or it took a password."""
        return place.replace("{home}", str(self.home)) if place and "***" not in place else None

    def make_home(self) -> None:
        """Create the folder for this user only (0700).

        Raises SpecError where it is none and cannot be made.
        """
        try:
            private(self.home)
            if not self.home.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file is there")
        except OSError as error:
            raise SpecError(
                f"home {str(self.home)!r} cannot be made: {error.strerror or error}; --home or HPO_HOME says where else"
            ) from error


def resolve(
    *,
    home: str | Path | None = None,
    storage: str | None = None,
    mlflow: str | None = None,
    ray: str | None = None,
    insecure_cluster: bool = False,
    file_storage: str | None = None,
    file_mlflow: str | None = None,
    file_ray: str | None = None,
    file_insecure_cluster: bool = False,
) -> Settings:
    """Settle every location; arguments named `file_*` come from the space file.

    Raises:
        SpecError: Optuna and MLflow would share a database, or a URL is of a kind that is not supported or is none.
    """
    named = home or os.environ.get("HPO_HOME")
    if named is None and is_ray_job():  # whose folder Ray removes one day, with all checkpoints
        raise SpecError("a search as a job needs a home of its own: `hpo submit --home`, or HPO_HOME for Ray's head")
    folder = Path(named or DEFAULT_HOME).expanduser().absolute()
    settings = Settings(
        home=folder,
        storage=storage or os.environ.get("OPTUNA_STORAGE") or file_storage or default_storage(folder),
        mlflow=mlflow or os.environ.get("MLFLOW_TRACKING_URI") or file_mlflow or default_mlflow(folder),
        ray=ray or os.environ.get("RAY_ADDRESS"),
        insecure_cluster=insecure_cluster or _says_insecure(),
    ).filled(mlflow=None, ray=file_ray, insecure_cluster=file_insecure_cluster)
    hide(settings.storage, settings.mlflow, settings.ray)
    _refuse(settings)
    return settings


def hide(*addresses: str | None) -> None:
    """Keep the passwords of these addresses, and those in the environment, out of what is told of errors."""
    # HOST:PORT and auto hold none, and are words that messages need
    remember(*(each for each in addresses if each and "://" in each), *map(os.environ.get, PASSWORDS))


def _says_insecure() -> bool:
    return os.environ.get("HPO_INSECURE_CLUSTER", "").lower() in TRUE


def _refuse(settings: Settings) -> None:
    odd = sorted(set("?%") & set(str(settings.home)))
    if odd:
        raise SpecError(
            f"home {str(settings.home)!r} holds {' and '.join(odd)}, which mean something in a database URL"
        )
    for name, url in (("storage", settings.storage), ("mlflow", settings.mlflow)):
        problem = unreadable(url)
        if problem:
            raise SpecError(f"{name}: {problem}. An address is sqlite:///PATH or {FORMS[name]}")
    if settings.storage.partition("://")[0] not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise SpecError(
            f"storage {masked(settings.storage)!r} is not supported: use sqlite:///PATH or {FORMS['storage']}"
        )
    if settings.storage == settings.mlflow:
        raise SpecError(
            f"storage and mlflow are the same database {masked(settings.storage)!r}; Optuna and MLflow both keep "
            "an alembic_version table and would break each other: give one of them a database of its own"
        )
    if urlsplit(settings.mlflow).scheme in ("", "file"):
        raise SpecError(
            f"mlflow {masked(settings.mlflow)!r} is a folder, which MLflow no longer supports: "
            "use sqlite:///PATH, a database URL or the http:// address of a server"
        )


def program(name: str) -> str:
    """A command of this installation as it can be typed: with its path when it is not on PATH."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def default_storage(home: Path) -> str:
    """The database of the studies where none is named."""
    return f"sqlite:///{home / 'studies.db'}"


def default_mlflow(home: Path) -> str:
    """The tracking database where none is named."""
    return f"sqlite:///{home / 'mlflow.db'}"


def is_secret(name: str, value: str = "") -> bool:
    """Whether a variable looks like what a worker has no business with: by its name, or by a password in its URL."""
    if NEEDED.fullmatch(name):
        return False
    return name in ADDRESSES or bool(SECRET_NAME.search(name) or SECRET_VALUE.search(value))


@contextmanager
def without_secrets() -> Iterator[None]:
    """Take addresses and passwords out of the environment, which every process started meanwhile inherits.

    HPO_WORKER_ENV names those that stay, with commas between them: what a trainer of the user's own needs.
    """
    hidden = {name: os.environ.pop(name) for name in _secrets()}
    try:
        yield
    finally:
        os.environ.update(hidden)


def open_environment() -> dict[str, str]:
    """A copy of the environment as `without_secrets` leaves it, for one process."""
    hidden = _secrets()
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _secrets() -> list[str]:
    stay = {name.strip() for name in os.environ.get(SHARED, "").split(",")}
    return [name for name, value in os.environ.items() if name not in stay and is_secret(name, value)]


def drop_secrets() -> None:
    """Take addresses and passwords out of this process's environment for good, but what HPO_WORKER_ENV names.

    The machine of a cluster that runs already may have them in its own.
    """
    for name in _secrets():
        del os.environ[name]


def is_ray_job() -> bool:
    """Whether Ray started this process as a job, whose code and libraries came with it."""
    return JOB in os.environ


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Have these variables meanwhile, and then what there was before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def webhook(address: str) -> str | None:
    """The address of a webhook as a space file has it, or what the variable holds that it names; None: not set.

    It is kept out of what is told of errors from now on.
    """
    name = variable_of(address)
    found = os.environ.get(name) if name is not None else address
    if found:
        remember_whole(found)
    return found or None


def mps_is_chosen() -> bool:
    """Whether the environment says already which Multi-Process Service CUDA is to use; an empty folder says none."""
    return MPS_FOLDER in os.environ


def ray_folder() -> Path:
    """Where a folder for Ray's session may be made: RAY_TMPDIR, or where temporary folders are, where that is short.

    The path of a socket may have 103 bytes, of which Ray's own names take 80.
    """
    found = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return found if len(str(found)) <= 23 else Path("/tmp")


def user() -> str:
    """Name of the user that runs this process, or handed it to a cluster as a job; HPO_USER names another."""
    if owner := json.loads(os.environ.get(JOB, "{}")).get("metadata", {}).get("owner") or os.environ.get("HPO_USER"):
        return str(owner)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return str(os.getuid())


def person() -> str:
    """Who is at work here, as user@host, in at most 255 letters."""
    return f"{user()}@{socket.gethostname()}"[:255]


def has_screen() -> bool:
    """Whether a browser has somewhere to open a window; without, it would take over the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def cards_are_hidden() -> bool:
    """Whether the environment hides all GPUs from CUDA."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def is_server(uri: str) -> bool:
    """Whether the tracking URI is an MLflow server rather than a database."""
    return uri.startswith(("http://", "https://"))


def sqlite_file(url: str) -> Path | None:
    """The file that the database lies in; None where it lies in a server."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def driver_url(url: str) -> str:
    """The URL with the driver that this package installs for PostgreSQL (psycopg 3)."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
