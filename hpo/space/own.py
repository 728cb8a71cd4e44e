"""Checks a search against a trainer of the user's own: a class or a generator function that the space file names."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.space.conditions import settle
from hpo.space.document import Document, near
from hpo.space.parameters import Parameter
from hpo.space.tree import leaves

__all__ = ["FILLED", "check", "default", "find"]

FILLED = ("seed", "data_folder", "device")
"""Arguments that a trial fills in itself where the trainer takes them."""


def find(target: str, folder: Path | None = None) -> Callable[..., Any]:
    """Import "package.module:Name" with the current folder, and the space file's, on the path meanwhile.

    Raises:
        SpecError: it cannot be imported, or what it names cannot be called; one line.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise SpecError(f"`{target}` names no trainer; write package.module:Name")
    with _importable(Path.cwd(), folder):
        try:
            found = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
            cause = str(error).splitlines()[0] if str(error) else "no message"
            raise SpecError(f"cannot import `{module_name}`: {type(error).__name__}: {cause}") from error
    public = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
    value = getattr(found, attribute, None)
    if value is None:
        raise SpecError(f"`{module_name}` has no `{attribute}`{near(attribute, public)}; it has: {', '.join(public)}")
    if not callable(value):
        raise SpecError(f"`{target}` is no class or function but {type(value).__name__}")
    return value  # type: ignore[no-any-return]


def default(target: str, folder: Path | None, name: str) -> Any:
    """What an argument of the trainer is where nobody gives it, `empty` where it has to be given. Raises as `find`."""
    found = inspect.signature(find(target, folder)).parameters.get(name)
    return inspect.Parameter.empty if found is None else found.default


def check(document: Document, parameters: Mapping[str, Parameter], folder: Path | None) -> dict[str, Parameter]:
    """Record every error between the trainer's signature and the keys that are given or searched.

    Returns the parameters that can be searched, parents first.
    """
    tree = document.tree["trainer"]
    given = dict(leaves(tree))
    settled = settle(document, parameters, given.__getitem__, [*given])
    for name in document.tree["parameters"]:
        if name in given:
            document.refuse(
                ("parameters", name), f"`{name}` is searched here and fixed in `trainer`; remove one", key=True
            )
    try:
        target = tree["import"]
        if not isinstance(target, str):
            raise SpecError("`import` is text: package.module:Name")
        signature = inspect.signature(find(target, folder))
    except (SpecError, ValueError) as error:
        document.refuse(("trainer", "import"), str(error))
        return settled
    _check_names(document, signature)
    return settled


def _check_names(document: Document, signature: inspect.Signature) -> None:
    takes = {
        name: each
        for name, each in signature.parameters.items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    anything = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    trails = [("trainer", name) for name in document.tree["trainer"] if name != "import"]
    trails += [("parameters", name) for name in document.tree["parameters"]]
    names = {name.split(".")[0] for _, name in trails}
    for section, name in trails:
        first = name.split(".")[0] if section == "parameters" else name
        if not anything and first not in takes:
            valid = f"; it takes: {', '.join(takes)}" if takes else "; it takes no arguments"
            document.refuse(
                (section, name), f"the trainer does not take `{first}`{near(first, takes)}{valid}", key=True
            )
    for name, each in takes.items():
        if each.default is each.empty and name not in names and name not in FILLED:
            document.refuse(("trainer",), f"the trainer needs `{name}`; give it here or search it", key=True)


@contextmanager
def _importable(*folders: Path | None) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders if folder is not None]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
