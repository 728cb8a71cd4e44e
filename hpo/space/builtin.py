"""Checks a search against the built-in trainer: every path exists, every value is allowed, everything given is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hpo.errors import SpecError
from hpo.space.conditions import settle
from hpo.space.constraints import check_names
from hpo.space.document import Document, dotted, near
from hpo.space.explain import Fault, faults
from hpo.space.hints import meant
from hpo.space.parameters import Choice, Parameter
from hpo.space.tree import leaves, place, without
from trainers import config

__all__ = ["check", "default", "refuse", "require_sources", "sources", "unread"]

_COMBINATIONS = 4096
"""So many are tried to find one that reads a path; a search that needs more is given the benefit of the doubt."""


def check(document: Document, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Record every error between trainer section and parameters; write out the section's shorthand.

    Returns the parameters that can be searched, parents first.
    """
    tree = document.tree["trainer"] = config.expand(document.tree["trainer"])
    check_names(document, (*config.METRICS, *config.ON_DEMAND), config.FACTS)
    paths = config.paths()
    given = dict(leaves(tree))
    usable = {}
    for name in document.tree["parameters"]:
        if name not in paths:
            document.refuse(("parameters", name), _unknown(name), key=True)
        elif name in given:
            document.refuse(
                ("parameters", name), f"`{name}` is searched here and fixed in `trainer`; remove one", key=True
            )
        elif name in parameters:
            usable[name] = parameters[name]
    usable = settle(document, usable, lambda path: default(tree, path), list(paths))
    _check_values(document, tree, usable)
    _check_read(document, tree, usable)
    return usable


def unread(tree: Mapping[str, Any]) -> set[str]:
    """Return the dotted paths of a complete trainer section that its own other values keep from being read."""
    return set(_reasons(tree))


def refuse(tree: Mapping[str, Any]) -> None:
    """Check the trainer section of one training, everything in place.

    Raises:
        SpecError: a line for every value that is not allowed and for every one that would not be read.
    """
    lines = [f"trainer.{dotted(fault.trail)}: {fault.message}" for fault in _faults(tree, {})]
    lines += [f"trainer.{path}: {reason}; remove it" for path, reason in _reasons(tree).items()]
    if lines:
        raise SpecError("\n".join(lines))


def require_sources(tree: Mapping[str, Any]) -> None:
    """Make sure that the pictures and weights that a trainer section points to are there.

    Raises:
        SpecError: they are not, or no place is given.
    """
    dataset, weights = tree.get("dataset", {}), (tree.get("transfer") or {}).get("weights")
    root, name = dataset.get("root"), dataset.get("name")
    if name in config.NEED_ROOT and (root is None or not _is_there(root, folder=name in config.FOLDERS)):
        kind = "folder" if name in config.FOLDERS else "file"
        raise SpecError(
            f"trainer.dataset.root is {f'{root!r}, which is no {kind}' if root else 'not set'}: "
            f"add --set trainer.dataset.root=PATH, {config.NEED_ROOT[name]}"
        )
    if weights is not None and not _is_there(weights, folder=False):
        raise SpecError(f"trainer.transfer.weights is {weights!r}, which is no file; weights are never downloaded")


def sources(tree: Mapping[str, Any]) -> list[str]:
    """Paths that a trainer section reads pictures and weights from; none for a trainer of the user's own."""
    if "import" in tree:
        return []
    found = ((tree.get("dataset") or {}).get("root"), (tree.get("transfer") or {}).get("weights"))
    return [str(path) for path in found if path is not None]


def _is_there(path: str, *, folder: bool) -> bool:
    place = Path(path).expanduser()
    return place.is_dir() if folder else place.is_file()


def _reasons(tree: Mapping[str, Any]) -> dict[str, str]:
    try:
        return config.unread_paths(tree)
    except TypeError:  # a list or mapping where a name belongs, which TrainConfig reports
        return {}


def _unknown(name: str) -> str:
    right = meant("trainer", name)
    if right:
        return f"`{name}` is written `{right}` here"
    paths = sorted(config.paths())
    return f"the trainer has no `{name}`{near(name, paths)}; valid: {', '.join(paths)}"


def default(tree: Mapping[str, Any], path: str) -> Any:
    """What a path of the trainer section is beside the others: as given, else the trainer's default."""
    given = dict(leaves(tree))
    if path in given:
        return given[path]
    field = config.paths()[path]
    try:
        value: Any = config.TrainConfig.model_validate(_complete(tree))
        for step in path.split("."):
            value = getattr(value, step)
    except (ValidationError, AttributeError):
        return field.default
    return value


def _complete(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is not read, and stand in for a folder that may be named as late as the search starts."""
    full = without(tree, unread(tree))
    dataset = full.get("dataset")
    if isinstance(dataset, dict) and dataset.get("name") in config.NEED_ROOT:
        dataset.setdefault("root", ".")
    for section, key in (("dataset", "root"), ("transfer", "weights")):
        tree_of = full.get(section)
        if isinstance(tree_of, dict) and isinstance(tree_of.get(key), str):
            tree_of[key] = Path(tree_of[key])  # YAML has no paths, and strict validation takes no text for one
    return full


def _faults(tree: Mapping[str, Any], params: Mapping[str, Any]) -> list[Fault]:
    try:
        # strict, so that "64" and true are no numbers
        config.TrainConfig.model_validate(_tupled(_complete(place(tree, params))), strict=True)
    except ValidationError as error:
        return list(faults(error, config.TrainConfig, "trainer"))
    return []


def _tupled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tupled(inner) for key, inner in value.items()}
    return tuple(_tupled(inner) for inner in value) if isinstance(value, list) else value


def _point(parameters: Mapping[str, Parameter], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a combination with the wanted values; the conditions that these need are made true first."""
    forced = dict(wanted)
    for name in reversed(list(parameters)):
        if name in forced:
            forced |= {key: allowed[0] for key, allowed in (parameters[name].when or {}).items() if key not in forced}
    point: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in forced or parameter.active(point):
            point[name] = forced.get(name, parameter.probe)
    return point


def _check_values(document: Document, tree: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    start = _faults(tree, _point(parameters, {}))
    searched = document.tree["parameters"]
    for fault in start:
        if not any(_within(dotted(fault.trail), name) for name in searched):
            document.refuse(("trainer", *fault.trail), fault.message, key=fault.at_key)
    for name, parameter in parameters.items():
        for key, value in parameter.probes().items():
            found = _faults(tree, _point(parameters, {name: value}))
            own = [fault for fault in found if _within(dotted(fault.trail), name)]
            # Without a fault of its own the value is at fault for what it brings on elsewhere.
            for fault in own or [fault for fault in found if fault not in start]:
                about = "" if own or not fault.trail else f"with {name} {value!r}, {dotted(fault.trail)}: "
                document.refuse(_trail_of(name, key), about + fault.message)
            if own and key == "max":
                break  # a value between the bounds would only repeat it


def _within(path: str, name: str) -> bool:
    return path == name or path.startswith((f"{name}.", f"{name}["))


def _trail_of(name: str, key: str) -> tuple[str | int, ...]:
    if key.startswith("values["):
        return ("parameters", name, "values", int(key[7:-1]))
    return ("parameters", name, key) if key else ("parameters", name)


def _check_read(document: Document, tree: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    reasons: dict[str, str] = {}
    read: set[str] = set()
    for tried, point in enumerate(_combinations(parameters)):
        full = place(tree, point)
        unread_here = _reasons(full)
        reasons |= unread_here
        read |= {path for path, _ in leaves(full)} - set(unread_here)
        # A conditional parameter may be absent so far, hence at least the whole of what is named so far is awaited.
        if tried >= _COMBINATIONS or (read >= set(parameters) and not set(reasons) - read):
            return
    for path, reason in reasons.items():
        if path in read:
            continue
        if path in parameters:
            document.refuse(
                ("parameters", path), f"`{path}` would be searched in vain: {reason}; remove it or change that"
            )
        else:
            document.refuse(("trainer", *path.split(".")), f"{reason}; remove it", key=True)


def _combinations(parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*(_telling(parameter) for parameter in parameters.values())):
        point: dict[str, Any] = {}
        for (name, parameter), value in zip(parameters.items(), values, strict=True):
            if parameter.active(point):
                point[name] = value
        yield point


def _telling(parameter: Parameter) -> list[Any]:
    """Return values enough to switch other settings on and off: names and flags each, of numbers the two ends."""
    if not isinstance(parameter, Choice):
        return [parameter.max, parameter.min]
    numbers = all(isinstance(option, int | float) and not isinstance(option, bool) for option in parameter.options)
    return [parameter.options[-1], parameter.options[0]] if numbers else parameter.values()
