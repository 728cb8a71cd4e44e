"""Reads the text of a space file by the rules of YAML 1.2, within limits, and keeps every position.

PyYAML follows YAML 1.1: it reads 1e-3 as a string, `no` as false and 1:30 as 90, and keeps the last of two equal keys.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from hpo.errors import SpecError
from hpo.space.document import Document, Place, Trail, printable, shown

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "compose", "read", "scalar"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 20_000
"""Values in a file once its aliases are written out: a few nested aliases can stand for billions."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan|\.NaN|\.NAN"),
}
_WORDS = {
    "expected a single document in the stream": "one file holds one space; remove this second document",
    "found character '\\t' that cannot start any token": "a tab cannot indent; use spaces",
}


class _Loader(yaml.SafeLoader):
    """Composes nodes only; tags of plain scalars come from the core schema of YAML 1.2."""

    depth = 0
    nodes = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _TAG + next((tag for tag, pattern in _PLAIN.items() if pattern.fullmatch(value)), "str")
        return {yaml.ScalarNode: _TAG + "str", yaml.SequenceNode: _TAG + "seq"}.get(kind, _TAG + "map")

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        _limit(self.depth, self.nodes, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(raw: bytes | str, *, source: str) -> Document:
    """Return the document; errors of structure raise at once, others wait in it.

    Raises:
        SpecError: the text is no YAML, exceeds a limit, or is no mapping.
    """
    text = _decode(raw, source)
    try:
        node = compose(text)
        if not isinstance(node, yaml.MappingNode):
            raise SpecError(
                f"{source}:1:1: a space file is a mapping: `name: ...`, `metric: ...` and so on, a key a line"
            )
        document = Document(text=text, tree={}, values={(): Place(1, 1, f"{source}:1:1")})
        document.tree = _Walk(document, source).plain(node, ()) or {}
    except yaml.MarkedYAMLError as error:
        raise SpecError(_syntax(error, source)) from None
    # PyYAML lets these escape on odd escapes and characters, where the position is lost.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise SpecError(f"{source}:1:1: this is no YAML: {str(error).splitlines()[0]}") from None
    return document


def compose(text: str) -> yaml.Node | None:
    """Return the nodes of a text, with their places in it; raises what PyYAML does."""
    node: yaml.Node | None = _Loader(text).get_single_node()
    return node


def scalar(text: str, *, source: str) -> Any:
    """Read the value of an override, such as 5, 1e-3, [1, 2] or {name: step}."""
    document = read(f"value: {text}", source=source)
    document.check()
    if list(document.tree) != ["value"]:
        raise SpecError(f"{source}: {shown(text)} is more than one value; quote it if it is text")
    return document.tree["value"]


def _decode(raw: bytes | str, source: str) -> str:
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise SpecError(
            f"{source}:1:1: the file is larger than {MAX_BYTES:,} bytes; a space file has a few dozen lines"
        )
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise SpecError(f"{source}:{line}:{column}: this byte is no UTF-8; save the file as UTF-8") from None


def _syntax(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else f"{source}:1:1"
    said = str(error.problem or error.context or "this is no YAML")
    said = _WORDS.get(said) or _WORDS.get(str(error.context)) or said
    return printable(f"{where}: {said}")


def _limit(depth: int, nodes: int, mark: Any) -> None:
    if depth > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} levels deep", problem_mark=mark)
    if nodes > MAX_NODES:
        raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES:,} values, aliases included", problem_mark=mark)


class _Walk:
    """Turns nodes into plain values and notes where each one stands."""

    def __init__(self, document: Document, source: str) -> None:
        self.document = document
        self.source = source
        self.nodes = 0

    def plain(self, node: yaml.Node, trail: Trail) -> Any:
        self.nodes += 1
        _limit(len(trail), self.nodes, node.start_mark)
        self.document.values.setdefault(trail, self._place(node))
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, trail)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.plain(item, (*trail, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in (*_PLAIN, "str"):
            return self._scalar(node, kind, trail)
        return self._unreadable(trail, f"the tag {shown(node.tag)} is not allowed; remove it")

    def _mapping(self, node: yaml.MappingNode, trail: Trail) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                self.document.problems.add((place, f"a key is text; quote {shown(str(key))} if it is meant"))
            elif key == "<<":
                self.document.problems.add((place, "`<<` does not merge here; write the keys out"))
            elif key in tree:
                first = self.document.keys[*trail, key]
                self.document.problems.add((place, f"`{key}` is given twice, first at {first.line}:{first.column}"))
            else:
                self.document.keys[*trail, key] = place
                tree[key] = self.plain(value_node, (*trail, key))
        return tree

    def _scalar(self, node: yaml.ScalarNode, kind: str, trail: Trail) -> Any:
        text = node.value
        if kind == "str":
            if not all(char.isprintable() or char == "\n" for char in text):
                self.document.refuse(trail, f"{shown(text)} holds control characters")
            return text
        if not _PLAIN[kind].fullmatch(text):
            return self._unreadable(trail, f"{shown(text)} is no {kind}")
        value = _convert(kind, text)
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < 2**63):
            return self._unreadable(trail, f"{shown(text)} is out of range; numbers are finite and below 2**63")
        return value

    def _unreadable(self, trail: Trail, message: str) -> None:
        self.document.refuse(trail, message)
        self.document.unreadable.add(trail)

    def _place(self, node: yaml.Node) -> Place:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        return Place(line, column, f"{self.source}:{line}:{column}")


def _convert(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) <= 24:  # int() of thousands of digits raises; the float is out of range as well
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if text[:2] in ("0x", "0o"):
        return math.inf
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
