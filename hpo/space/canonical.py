"""A search as plain data, from which the same search is made again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hpo.space.parameters import Parameter
from hpo.space.secrets import UNKEPT
from hpo.space.sections import READ_BY, Pruner, Sampler

if TYPE_CHECKING:
    from hpo.spec import SearchSpec

__all__ = ["canonical", "objective"]


def objective(space: SearchSpec) -> dict[str, Any]:
    """What the search is after: its metric or several, and its constraints where it has any."""
    tree: dict[str, Any] = {"metric": space.metric.model_dump()}
    if space.several:
        tree = {"metrics": [each.model_dump() for each in space.several]}
    return tree | ({"constraints": list(map(str, space.constraints))} if space.constraints else {})


def canonical(space: SearchSpec) -> dict[str, Any]:
    """The whole search; a webhook that stands in the file has become the variable UNKEPT."""
    tree: dict[str, Any] = {"name": space.name, **objective(space)}
    tree["sampler"] = _read_options("sampler", space.sampler)
    tree["parameters"] = {name: _plain_parameter(each) for name, each in space.parameters.items()}
    tree["trainer"] = copy.deepcopy(space.trainer)
    tree["pruner"] = _read_options("pruner", space.pruner)
    if space.pruner.mode == "stop":  # studies were made before there was another
        tree["pruner"].pop("mode", None)
    tree["budget"] = space.budget.model_dump(exclude_none=True)
    tree["resources"] = space.resources.model_dump(exclude_none=True)
    if space.winner:
        tree["winner"] = space.winner.model_dump(exclude_none=True)
    if gate := space.gate.model_dump(exclude_defaults=True):
        tree["gate"] = gate
    if space.notify:
        tree["notify"] = space.notify.model_dump(exclude_defaults=True)
        if space.notify.secret:
            tree["notify"]["webhook"] = UNKEPT
    if space.confirms:
        tree["confirms"] = space.confirms.model_dump()
    if space.baseline:
        tree["baseline"] = True
    if space.insecure_cluster:
        tree["insecure_cluster"] = True
    if space.ray is not None:
        tree["ray"] = space.ray.model_dump(exclude_defaults=True)
    return tree | {key: getattr(space, key) for key in ("storage", "mlflow") if getattr(space, key) is not None}


def _read_options(section: str, options: Sampler | Pruner) -> dict[str, Any]:
    dump = options.model_dump(exclude_none=True)
    return {key: value for key, value in dump.items() if options.type in READ_BY[section].get(key, (options.type,))}


def _plain_parameter(parameter: Parameter) -> dict[str, Any]:
    dump = parameter.model_dump(by_alias=True, exclude_defaults=True)
    return {key: copy.deepcopy(list(value) if key == "values" else value) for key, value in dump.items()}
