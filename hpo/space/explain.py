"""Turns what pydantic found into errors of a space file: a trail into the tree, and a sentence with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hpo.space.document import Document, Trail, near, shown
from hpo.space.hints import VALUES, correct, meant

__all__ = ["Fault", "faults", "refuse_all"]

_UNITS = {
    "Input should be a valid integer": "should be a whole number",
    "Input should be a valid string": "should be text",
    "Input should be a valid boolean": "should be true or false",
    "Input should be a valid dictionary": "should be a mapping, as in {key: value}",
    "Input should be a valid dictionary or object to extract fields from": "should be a mapping, as in {key: value}",
    "Input should be a valid tuple": "should be a list, as in [a, b]",
}


@dataclass(frozen=True)
class Fault:
    """One error: where in the validated tree, and what to say."""

    trail: Trail
    message: str
    at_key: bool = False


def refuse_all(document: Document, section: Trail, error: ValidationError, model: type[BaseModel]) -> None:
    """Record every error that pydantic found while it validated the section with the model."""
    for fault in faults(error, model, str(section[0]) if section else ""):
        document.refuse((*section, *fault.trail), fault.message, key=fault.at_key)


def faults(error: ValidationError, model: type[BaseModel], section: str = "") -> Iterator[Fault]:
    """Yield the errors; a missing key is left out where a misnamed one stands for it."""
    details = error.errors(include_url=False)
    misnamed = {
        (*map(str, each["loc"][:-1]), _meant_key(section, each["loc"]))
        for each in details
        if each["type"] == "extra_forbidden"
    }
    for each in details:
        if each["type"] != "missing" or tuple(map(str, each["loc"])) not in misnamed:
            yield _fault(each, model, section)


def _meant_key(section: str, loc: tuple[str | int, ...]) -> str:
    owner = section or (str(loc[0]) if len(loc) > 1 else "")
    return (meant(owner, str(loc[-1])) or "").split(":")[0]


def _fault(detail: Mapping[str, Any], model: type[BaseModel], section: str) -> Fault:
    trail, models = _follow(model, detail["loc"])
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [pair for each in models for pair in each.model_fields.items()]
        names = [field.alias or name for name, field in fields if not field.exclude]
        own = section if section or len(trail) == 1 else str(trail[0])
        return Fault(trail, correct(own, str(trail[-1]), names), at_key=True)
    if kind == "missing":
        return Fault(trail, f"`{trail[-1]}` is missing", at_key=True)
    if kind in ("literal_error", "union_tag_invalid"):
        listed = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        if kind == "union_tag_invalid":
            given, trail = context["tag"], (*trail, context["discriminator"].strip("'"))
        return Fault(trail, f"{shown(given)} is not one of {', '.join(listed)}{_alike(given, listed)}")
    if kind == "union_tag_not_found":
        key = context["discriminator"].strip("'")
        return Fault(trail, f"`{key}` is missing: it says which kind this is", at_key=True)
    if kind == "value_error":
        return Fault(trail, str(context["error"]))
    # The message goes on with the name of one of our classes, which says nothing to the user.
    plain = detail["msg"].split(" or instance of ")[0]
    message = _UNITS.get(plain, plain.removeprefix("Input "))
    return Fault(trail, f"{shown(given)} {message}")


def _alike(given: Any, valid: list[str]) -> str:
    word = str(given).lower()
    right = VALUES.get(word.replace("_", "").replace("-", ""), VALUES.get(word))
    return f"; did you mean `{right}`?" if right in valid else near(word, valid)


def _follow(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[Trail, list[type[BaseModel]]]:
    """Drop from a loc what pydantic adds, the tag of a union; return the models that own the last key as well."""
    trail: Trail = ()
    owners: list[type[BaseModel]] = [model]
    models: list[type[BaseModel]] = [model]
    for part in loc:
        tagged = [each for each in models if len(models) > 1 and part in _tags(each)]
        if tagged:
            models = tagged
            continue
        trail, owners = (*trail, part), models
        if isinstance(part, str):  # an index leads to one of what its list holds
            models = [inner for each in models for inner in _models(_annotation(each, part))]
    return trail, owners


def _annotation(model: type[BaseModel], key: str) -> Any:
    found = [field.annotation for name, field in model.model_fields.items() if key == (field.alias or name)]
    return found[0] if found else None


def _tags(model: type[BaseModel]) -> list[Any]:
    annotations = [field.annotation for field in model.model_fields.values()]
    return [tag for each in annotations if get_origin(each) is Literal for tag in get_args(each)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
