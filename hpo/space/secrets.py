"""What a space file may hold that nobody else is to read: the address of a webhook, which lets anybody write to it."""

from __future__ import annotations

import yaml

from hpo.space.document import Document
from hpo.space.reader import compose
from hpo.space.sections import SHORTHAND, URLS, variable_of

__all__ = ["UNKEPT", "is_secret_path", "may_tell_a_webhook", "without_webhook"]

UNKEPT = "$HPO_WEBHOOK"
"""What stands on record for an address that is not kept."""


def is_secret_path(path: str) -> bool:
    """Whether the value of an override may hold what no message repeats: a password, an address of a webhook."""
    return path.strip() in URLS or may_tell_a_webhook(path)


def may_tell_a_webhook(override: str) -> bool:
    """Whether an override, or its path, is about `notify`: nothing of it is kept."""
    return override.partition("=")[0].strip().split(".")[0] == "notify"


def without_webhook(document: Document) -> str:
    """The document's text, with the variable UNKEPT where the address of its webhook stands, in comments too.

    To be asked before overrides are applied: under one the address would stay in the text.
    """
    section = document.tree.get("notify")
    found = section.get(SHORTHAND["notify"]) if isinstance(section, dict) else section
    if not isinstance(found, str) or variable_of(found):
        return document.text
    text = document.text
    for start, end in sorted(_places(compose(text), found), reverse=True):
        text = text[:start] + UNKEPT + text[end:]
    return text.replace(found, UNKEPT)


def _places(node: yaml.Node | None, value: str) -> set[tuple[int, int]]:
    """Where a text stands as a value, however it is written; by what it begins and ends at, as aliases come twice."""
    if isinstance(node, yaml.ScalarNode):
        return {(node.start_mark.index, node.end_mark.index)} if node.value == value else set()
    if isinstance(node, yaml.MappingNode):
        return {place for pair in node.value for each in pair for place in _places(each, value)}
    return {place for each in node.value for place in _places(each, value)} if node is not None else set()
