"""What was written for people on its way into the file: no password, and no address of this machine's stores."""

from __future__ import annotations

from typing import Any

from hpo.masking import masked, without_passwords
from hpo.settings import Settings

__all__ = ["told"]


def told(value: Any, where: Settings) -> Any:
    """The same value, with the words in it changed where they must be; of lists and mappings those within."""
    if isinstance(value, dict):
        return {key: told(inner, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [told(inner, where) for inner in value]
    if not isinstance(value, str):
        return value
    for url, word in ((where.storage, "{storage}"), (where.mlflow, "{mlflow}")):
        value = value.replace(url, word).replace(masked(url), word)
    return without_passwords(value)
