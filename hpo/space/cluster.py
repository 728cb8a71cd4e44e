"""The section `ray`: a cluster that runs already, and what travels there."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hpo.masking import without_passwords
from hpo.settings import is_secret
from hpo.space.sections import Section

__all__ = ["Cluster", "without_password"]


def without_password(url: str | None) -> str | None:
    """The URL; raises ValueError where a password stands in it."""
    if url and (urlsplit(url).password or "password=" in url.lower()):
        raise ValueError("a space file holds no password; set the URL in the environment (OPTUNA_STORAGE and so on)")
    return url


class Cluster(Section):
    """A Ray cluster that runs already."""

    address: str | None = None
    """HOST:PORT, or auto for one of this machine; flag and RAY_ADDRESS come before it."""
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    """What Ray prepares on its machines before trials run there, in Ray's words: pip, env_vars, container... The code
    travels by itself."""

    @field_validator("address")
    @classmethod
    def _keeps_no_secret(cls, address: str | None) -> str | None:
        return without_password(address)

    @field_validator("runtime_env")
    @classmethod
    def _hands_out_no_secret(cls, wished: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in wished.get("env_vars") or {} if is_secret(str(name))]
        if named or without_passwords(text := json.dumps(wished, default=str)) != text:
            what = f"env_vars.{named[0]}" if named else "an address in it"
            raise ValueError(
                f"{what} looks like a secret, which Ray shows to whoever may list jobs: set it where the cluster's "
                "machines are started, with HPO_WORKER_ENV=NAME beside it"
            )
        return wished
