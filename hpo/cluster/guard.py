"""Who may enter a Ray cluster: one of ours answers on loopback only, a running one must ask for a token."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray._private import ray_constants, services
from ray._raylet import (  # type: ignore[attr-defined]
    AuthenticationMode,
    Config,
    GcsClient,
    get_authentication_mode,
)
from ray.exceptions import AuthenticationError, RayError

from hpo.errors import SpecError, Unavailable
from hpo.masking import redacted
from hpo.settings import environment
from trainers.folders import private

__all__ = ["check", "loopback", "no_entry", "private_token", "require_member"]

TOKEN = Path(".ray", "auth_token")  # where Ray keeps the token that it makes for a local cluster, below the user's home
PATIENCE = 10.0  # seconds to wait for a cluster to answer


@contextmanager
def loopback() -> Iterator[None]:
    """Let a cluster that starts meanwhile listen on 127.0.0.1 alone.

    Ray does so by itself on macOS and Windows. On Linux it listens on every interface, and takes 127.0.0.1 as its
    address from nobody: this switch of its own, read when Ray is imported, is the only way.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def private_token() -> Iterator[None]:
    """Keep the token that Ray makes for this user's clusters from other users; Ray writes it as the umask says."""
    with contextlib.suppress(OSError, RuntimeError):  # no home folder, or one that is not ours to write to
        private(Path.home() / TOKEN.parent)
        _close(Path.home() / TOKEN)
    yield
    with contextlib.suppress(OSError, RuntimeError):
        _close(Path.home() / TOKEN)


def _close(token: Path) -> None:
    if token.exists() and token.stat().st_mode & 0o077:
        token.chmod(0o600)


def check(address: str, *, insecure: bool) -> None:
    """Refuse a cluster that anybody in reach may enter, unless it may be `insecure`.

    Raises:
        SpecError: it asks for no token, or for one and Ray is told to send none, or this is no address.
        Unavailable: nothing answers.
    """
    require_member(address)
    wants_token = _wants_token(address)
    if not wants_token and not insecure:
        raise SpecError(
            f"the Ray cluster at {address} asks for no token: whoever reaches it can run code there as its user, and "
            "read what trials read. Start it with RAY_AUTH_MODE=token, or accept it with --insecure-cluster, "
            "HPO_INSECURE_CLUSTER=1 or insecure_cluster: true in the space file"
        )
    # where Ray looks for a running cluster by itself, it looks for a token as well
    if wants_token and address != "auto" and get_authentication_mode() != AuthenticationMode.TOKEN:
        raise SpecError(no_entry(address))
    if wants_token and get_authentication_mode() == AuthenticationMode.TOKEN and not _takes_ours(address):
        raise SpecError(no_entry(address, wrong=True))


def require_member(address: str) -> None:
    """Refuse the address of a cluster's jobs, which no driver can take part in; raises SpecError."""
    if address.startswith(("http://", "https://")):
        raise SpecError(
            f"{address} takes jobs: `hpo submit --space FILE` hands a search to it, or goes on with one. `hpo run` and "
            "`hpo resume` take part in a cluster at HOST:PORT that this machine is a member of"
        )


def no_entry(address: str, *, wrong: bool = False) -> str:
    """What to do where a cluster turns away whoever has not its token."""
    return (
        f"the Ray cluster at {address} asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
        f"RAY_AUTH_TOKEN_PATH where the token is not in ~/.ray/auth_token{'; what it was given is not its own' * wrong}"
    )


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's native code warns there that it was turned away, which is the answer that is hoped for."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _wants_token(address: str) -> bool:
    """Whether a call without a token is turned away; of Ray's client protocol, ray://, that cannot be told."""
    if "://" in address:
        return False
    try:
        found = services.canonicalize_bootstrap_address(address)
    except ValueError as error:
        raise SpecError(f"{address!r} is no address of a Ray cluster, HOST:PORT or auto: {redacted(error)}") from error
    if found is None:
        raise Unavailable(f"no Ray cluster answers at {address!r}")
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except OSError as error:  # Ray's client would wait longer for nobody
        raise Unavailable(f"no Ray cluster answers at {address!r}: {redacted(error)}") from error
    try:
        with environment(RAY_AUTH_MODE="disabled"):
            Config.initialize("")
            return not _enters(found)
    except RayError as error:
        raise Unavailable(f"no Ray cluster answers at {address!r}: {redacted(error)}") from error
    finally:
        Config.initialize("")  # with the user's own mode again


def _takes_ours(address: str) -> bool:
    """Whether the token of here is the cluster's; else Ray would try it for 20 s, and then say that nobody answers."""
    found = services.canonicalize_bootstrap_address(address)
    try:
        return found is None or _enters(found)
    except RayError as error:
        raise Unavailable(f"no Ray cluster answers at {address!r}: {redacted(error)}") from error


def _enters(found: str) -> bool:
    try:
        with _without_stderr():
            GcsClient(address=found).internal_kv_keys(b"", namespace=None, timeout=PATIENCE)
    except AuthenticationError:
        return False
    return True
