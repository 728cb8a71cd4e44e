"""Puts what was typed on the command line over what stands in the space file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo.errors import SpecError
from hpo.space.document import Document, Place, Trail
from hpo.space.reader import scalar
from hpo.space.secrets import is_secret_path
from hpo.space.sections import SHORTHAND
from hpo.space.tree import place as put

__all__ = ["apply", "write_out"]

_KEPT: dict[str, tuple[str, ...]] = {"metric": (), "sampler": ("seed",), "pruner": ()}
"""What outlives `sampler=random`: options of another type do not. Sections that are not listed keep everything."""

_PARAMETER_KEYS = ("min", "max", "log", "step", "values", "when")
_LAST = 1 << 30
"""Line of an override, so that its errors follow those of the file."""


def apply(document: Document, overrides: Sequence[str]) -> None:
    """Apply each `path=value` in turn; the value is read as YAML, and parameters.NAME=null ends the search of NAME.

    Raises:
        SpecError: an override is no assignment or its value is no YAML.
    """
    for index, override in enumerate(overrides):
        path, equals, text = override.partition("=")
        label = f"--set {path}=..." if is_secret_path(path) else f"--set {override}"
        if not equals or not all(path.split(".")):
            raise SpecError(f"{label}: this is no override; write path=value, such as trainer.epochs=5")
        _assign(document, _split(document, path.strip()), scalar(text, source=label), Place(_LAST + index, 0, label))


def write_out(document: Document) -> None:
    """Write the shorthand of sections out: `sampler: tpe` as {type: tpe}."""
    for section, key in SHORTHAND.items():
        value = document.tree.get(section)
        if value is not None and not isinstance(value, dict | list):
            document.tree[section] = {key: value}


def _assign(document: Document, trail: Trail, value: Any, place: Place) -> None:
    section = str(trail[0])
    key = SHORTHAND.get(section)
    before = document.tree.get(section)
    if key and before is not None and not isinstance(before, dict | list):
        before = document.tree[section] = {key: before}
    if section == "parameters" and len(trail) == 2 and value is None and isinstance(before, dict):
        document.tree[section] = {name: entry for name, entry in before.items() if name != trail[1]}
        return
    if section == "trainer" and len(trail) > 1 and isinstance(before, dict):
        document.tree[section] = put(before, {".".join(map(str, trail[1:])): value})
    if key is None or isinstance(value, dict | list) or value is None:
        document.replace(trail, value, place)
        return
    if len(trail) == 1:
        kept = _KEPT.get(section)
        if isinstance(before, dict) and kept is not None:
            document.tree[section] = {name: each for name, each in before.items() if name in kept}
        trail = (section, key)
    document.replace(trail, value, place)


def _split(document: Document, path: str) -> Trail:
    """Split at dots, except those in the name of a parameter: parameters.lr_schedule.name.values has three steps."""
    section, _, rest = path.partition(".")
    if section != "parameters" or not rest:
        return tuple(path.split("."))
    parameters = document.tree.get("parameters")
    names = [name for name in (parameters if isinstance(parameters, dict) else {}) if f"{rest}.".startswith(f"{name}.")]
    if names:
        name = max(names, key=len)
        inner = rest[len(name) + 1 :]
        return (section, name, *(inner.split(".", 1) if inner else ()))
    name, _, key = rest.rpartition(".")
    return (section, name, key) if name and key in _PARAMETER_KEYS else (section, rest)
