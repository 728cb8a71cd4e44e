"""Single values of a space file changed in its text, so that comments, order and layout stay as they are."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from hpo.space.document import Trail
from hpo.space.reader import compose
from hpo.space.sections import SHORTHAND
from hpo.space.tree import SCALAR_IS

__all__ = ["flow", "rewritten"]

_PLAIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS = frozenset({"null", "true", "false"})


def rewritten(text: str, trail: Trail, value: Any) -> str:
    """Return the text with `value` at the trail, such as ("parameters", "lr", "max"); what is missing is added.

    Shorthand is taken for what it stands for: `augment: light` for its level, a list for `values`. A list in lines of
    its own may get one value more before or after. Raises ValueError for what cannot be written in place.
    """
    node = compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("a space file is a mapping")
    return _put(text, node, trail, value, ())


def flow(value: Any) -> str:
    """Write a value on one line, as a space file has it: 1e-5, [64, 128], {top: 3, seeds: 5}."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return re.sub(r"e([-+])0*(\d)", lambda found: "e" + found[1].replace("+", "") + found[2], f"{value:.12g}")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = str(value)
    return text if isinstance(value, int) or (_PLAIN_TEXT.fullmatch(text) and text not in _WORDS) else json.dumps(text)


def _put(text: str, node: yaml.MappingNode, trail: Trail, value: Any, way: Trail) -> str:
    first, rest = trail[0], trail[1:]
    found = next(((key, each) for key, each in node.value if key.value == first), None)
    if found is None:
        return _add(text, node, str(first), _nested(rest, value))
    key, old = found
    if old.start_mark.index < key.end_mark.index:
        raise ValueError(f"`{first}` is an alias of a value elsewhere")
    if not rest:
        return _replace(text, old, value)
    if isinstance(old, yaml.MappingNode):
        return _put(text, old, rest, value, (*way, first))
    if isinstance(old, yaml.SequenceNode) and rest == ("values",):
        return _replace(text, old, value)
    short = _stands_for((*way, first))
    if short is None or not isinstance(old, yaml.ScalarNode) or len(rest) > 1:
        raise ValueError(f"`{first}` is no section")
    if rest[0] == short:
        return _replace(text, old, value)
    empty = old.value == "" and old.start_mark.index == old.end_mark.index
    before = "" if empty else f"{short}: {text[old.start_mark.index : old.end_mark.index]}, "
    return _between(text, old, f"{{{before}{rest[0]}: {flow(value)}}}")


def _stands_for(way: Trail) -> str | None:
    """The key that a scalar in the place of this section stands for."""
    if way[0] == "trainer":
        return SCALAR_IS.get(str(way[-1]), "name")
    return SHORTHAND.get(str(way[0])) if len(way) == 1 else None


def _nested(rest: Trail, value: Any) -> Any:
    for step in reversed(rest):
        value = {step: value}
    return value


def _replace(text: str, old: yaml.Node, value: Any) -> str:
    if _is_inline(old):
        return _between(text, old, flow(value))
    if not isinstance(old, yaml.SequenceNode) or not isinstance(value, list) or len(value) != len(old.value) + 1:
        raise ValueError("it stands in lines of its own")
    first, last = old.value[0], old.value[-1]
    indent = " " * old.start_mark.column
    known = [text[each.start_mark.index : each.end_mark.index] for each in old.value]
    if list(map(flow, value[:-1])) == known:
        end = last.end_mark.index
        line = text.find("\n", end)
        place = len(text) if line < 0 else line
        return f"{text[:place]}\n{indent}- {flow(value[-1])}{text[place:]}"
    if list(map(flow, value[1:])) == known:
        place = text.rfind("\n", 0, first.start_mark.index) + 1
        return f"{text[:place]}{indent}- {flow(value[0])}\n{text[place:]}"
    raise ValueError("it stands in lines of its own")


def _between(text: str, old: yaml.Node, new: str) -> str:
    start, end = old.start_mark.index, old.end_mark.index
    space = " " if start == end and text[start - 1 : start] == ":" else ""
    return text[:start] + space + new + text[end:]


def _add(text: str, node: yaml.MappingNode, key: str, value: Any) -> str:
    entry = f"{key}: {flow(value)}"
    if not node.value:
        return text[: node.start_mark.index] + f"{{{entry}}}" + text[node.end_mark.index :]
    end = _end(node)
    if node.flow_style:
        return f"{text[:end]}, {entry}{text[end:]}"
    line = text.find("\n", end)
    place = len(text) if line < 0 else line
    return f"{text[:place]}\n{' ' * node.start_mark.column}{entry}{text[place:]}"


def _end(node: yaml.Node) -> int:
    """Where the last thing within a node ends; that of a block itself is where the next thing begins."""
    if isinstance(node, yaml.MappingNode) and node.value:
        return _last(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value:
        return _last(node.value[-1])
    return int(node.end_mark.index)


def _last(node: yaml.Node) -> int:
    return int(node.end_mark.index) if _is_inline(node) else _end(node)


def _is_inline(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) or bool(getattr(node, "flow_style", False))
