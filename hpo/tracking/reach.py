"""Whether an MLflow answers at all, found within seconds: its own client tries for minutes, or waits for ever."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

import sqlalchemy

from hpo.errors import Unavailable
from hpo.masking import masked, redacted
from hpo.settings import is_server
from hpo.store import database

__all__ = ["Reach"]

SECONDS = 5.0  # that a server has to answer; a PostgreSQL has those of every connection


class Reach:
    """Asks each MLflow once, however many studies are in it."""

    def __init__(self) -> None:
        self._problems: dict[str, str | None] = {}

    def require(self, uri: str) -> None:
        """Pass when somebody answers there; whether it is an MLflow is for MLflow's client to say.

        Raises:
            Unavailable: nobody does.
        """
        if uri not in self._problems:
            self._problems[uri] = _problem(uri)
        problem = self._problems[uri]
        if problem is not None:
            raise Unavailable(f"MLflow at {masked(uri)} does not answer: {problem}")


def _problem(uri: str) -> str | None:
    try:
        if is_server(uri):
            _ask_server(uri)
        elif uri.startswith("postgres"):
            _ask_postgresql(uri)
        elif urlsplit(uri).hostname:
            socket.create_connection((urlsplit(uri).hostname or "", urlsplit(uri).port or 3306), SECONDS).close()
    except (OSError, http.client.HTTPException) as error:
        return redacted(error) or type(error).__name__
    except sqlalchemy.exc.DBAPIError as error:
        return redacted(error.orig).strip()
    return None


def _ask_server(uri: str) -> None:
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # which only a client that knows the proxy could ask
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, parts.port, timeout=SECONDS)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health")
        connection.getresponse()  # any status: somebody is there
    except ssl.SSLError:  # which certificates are good is told to MLflow's client
        return
    finally:
        connection.close()


def _ask_postgresql(uri: str) -> None:
    try:
        engine = database.open_engine(uri, reading=True)
    except (sqlalchemy.exc.ArgumentError, ImportError):  # as its client will say
        return
    try:
        engine.connect().close()
    finally:
        engine.dispose()
