"""Several goals at once, and limits that a trial has to keep: how a file writes them, and what goes with them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

from pydantic import model_serializer, model_validator

from hpo.space.document import Document, Trail, near
from hpo.space.hints import meant
from hpo.space.sections import Section

__all__ = ["LATENCY", "Constraint", "check", "check_limits", "check_names", "names"]

LATENCY = "latency_ms"
"""Metric that the built-in trainer reports where it is asked for: it takes a while to measure."""

_WRITTEN = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9._/ -]*?)\s*([<>=!]=?)\s*(\S+)\s*")
_FORM = "is no constraint: write NAME <= NUMBER or NAME >= NUMBER, such as parameters_count <= 5e6"
_TRADES = {
    ("budget", "target"): "`target` is of one metric: write that goal as a constraint, such as val/accuracy >= 0.9",
    ("budget", "trial_time"): "`trial_time` stops trials early, which then have no place among several goals; remove "
    "it, or set a lower trainer.epochs",
    ("winner",): "no single trial wins several goals: remove `winner`; `hpo best` shows the front, and `hpo promote "
    "--trial N` takes one of it",
}
"""Key -> why several goals do not go with it, and what to do."""


class Constraint(Section):
    """A limit that a trial has to keep at its last epoch: of a metric that it reports, or a fact on record of it."""

    name: str
    sign: Literal["<=", ">="]
    limit: float

    @model_validator(mode="before")
    @classmethod
    def _read(cls, written: Any) -> Any:
        match = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
        if match is None:
            raise ValueError(f"{written!r} {_FORM}")
        name, sign, number = match.groups()
        if sign in ("<", ">"):
            raise ValueError(f"`{sign}` is written `{sign}=` here: {name} {sign}= {number}")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if sign not in ("<=", ">=") or not math.isfinite(limit):
            raise ValueError(f"{written!r} {_FORM}")
        if name.startswith("test/"):
            raise ValueError(f"test data may not steer a search, only promotion reads it; use val/{name[5:]}")
        return {"name": name, "sign": sign, "limit": limit}

    @model_serializer
    def __str__(self) -> str:
        whole = self.limit.is_integer() and abs(self.limit) < 2**53
        return f"{self.name} {self.sign} {int(self.limit) if whole else self.limit}"

    def excess(self, value: float) -> float:
        """By how much a value misses the limit, as a share of it (of a limit of 0 as it is); up to 0 where it is kept.

        A share, so that milliseconds and millions of parameters weigh alike where a sampler adds them up.
        """
        over = value - self.limit if self.sign == "<=" else self.limit - value
        return over / (abs(self.limit) or 1.0)


def check(document: Document) -> None:
    """Record what is wrong with `metrics` beside the other sections; each entry alone is its model's to check."""
    tree = document.tree
    for key in ("metrics", "constraints"):
        if tree.get(key, ()) is None:  # as --set metrics=null takes it out
            del tree[key]
    several = tree.get("metrics")
    misnamed = any((meant("", key) or "").startswith("metric") for key in tree)
    if tree.get("metric") is None and "metrics" not in tree and not misnamed:
        document.refuse(("metric",), "`metric` is missing", key=True)
    if "metrics" not in tree:
        return
    if "metric" in tree:
        document.refuse(("metrics",), "`metric` and `metrics` are both given; keep one of them", key=True)
    if not isinstance(several, list):
        document.refuse(("metrics",), "`metrics` is a list: [{name: val/accuracy, goal: maximize}, ...]")
        document.unreadable.add(("metrics",))
        return
    if len(several) < 2:
        document.refuse(("metrics",), "`metrics` takes two or more; write one as `metric: {name: ..., goal: ...}`")
    _check_entries(document, several)
    _check_others(document)


def check_limits(document: Document) -> None:
    """Refuse two limits of one kind for one name, and a pair that no number keeps; what cannot be read, others say."""
    limits = document.tree.get("constraints")
    seen: dict[tuple[str, str], float] = {}
    for index, each in enumerate(limits if isinstance(limits, list) else []):
        match = _WRITTEN.fullmatch(each) if isinstance(each, str) else None
        try:
            limit = float(match[3]) if match else math.nan
        except ValueError:
            continue
        if match is None or match[2] not in ("<=", ">="):
            continue
        name, sign = match[1], match[2]
        if (name, sign) in seen:
            document.refuse(("constraints", index), f"`{name} {sign}` stands here twice; keep the stricter one")
        seen[name, sign] = limit
        low, high = seen.get((name, ">="), -math.inf), seen.get((name, "<="), math.inf)
        if low > high:
            document.refuse(("constraints", index), f"no `{name}` is both >= {low:g} and <= {high:g}; change one")


def _check_entries(document: Document, several: list[Any]) -> None:
    seen = set()
    for index, each in enumerate(several):
        trail: Trail = ("metrics", index)
        if isinstance(each, str):
            document.refuse(trail, f"with several goals each says which way: {{name: {each}, goal: maximize}}")
            document.unreadable.add(trail)
        elif isinstance(each, dict) and "name" in each and not {"goal", "direction", "mode"} & each.keys():
            document.refuse(trail, "with several goals each says which way; give goal: maximize or minimize")
        name = each.get("name") if isinstance(each, dict) else None
        if isinstance(name, str) and name in seen:
            document.refuse((*trail, "name"), f"`{name}` stands here twice; remove one")
        seen.add(str(name))


def _check_others(document: Document) -> None:
    tree = document.tree
    kinds = {key: section.get("type") for key, section in tree.items() if isinstance(section, dict)}
    if kinds.get("pruner", "none") != "none":
        fix = "which trial is weak cannot be told half-way; set `pruner: none`, or remove it"
        document.refuse(("pruner",), f"with several goals no trial is stopped early: {fix}")
    if kinds.get("sampler") == "staged":
        fix = "set `sampler: tpe`, random or grid"
        document.refuse(("sampler",), f"staged fixes the one best value of each parameter, of one metric; {fix}")
    if kinds.get("sampler") == "gp":
        document.refuse(("sampler",), "gp is of one metric; set `sampler: tpe`, or leave it out")
    for (section, *key), why in _TRADES.items():
        found = tree.get(section)
        if found is not None and (not key or (isinstance(found, dict) and found.get(key[0]) is not None)):
            document.refuse((section, *key), why, key=True)


def names(tree: dict[str, Any]) -> Iterator[tuple[Trail, str, bool]]:
    """Every name of a metric or fact that a document's tree asks for: where, the name, whether it is a goal."""
    goals: list[tuple[Trail, Any]] = [(("metric",), tree.get("metric"))]
    several, limits = tree.get("metrics"), tree.get("constraints")
    goals += [(("metrics", index), each) for index, each in enumerate(several if isinstance(several, list) else [])]
    for trail, goal in goals:
        if isinstance(goal, dict) and isinstance(goal.get("name"), str):
            yield (*trail, "name"), goal["name"], True
    for index, each in enumerate(limits if isinstance(limits, list) else []):
        if isinstance(each, str) and (match := _WRITTEN.fullmatch(each)):
            yield ("constraints", index), match[1], False


def check_names(document: Document, metrics: Collection[str], facts: Collection[str]) -> None:
    """Record names that a trainer neither reports, of `metrics`, nor, where a constraint asks, tells as a fact."""
    for trail, name, is_goal in names(document.tree):
        valid = [*metrics] if is_goal else [*metrics, *facts]
        if name not in valid and not name.startswith("test"):
            listed = ", ".join(valid)
            document.refuse(trail, f"the trainer reports no `{name}`{near(name, valid)}; valid: {listed}")
