"""One study of a file, read whole and checked, under the name that it is to have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from hpo import spec
from hpo.archive import rows, trials
from hpo.archive.container import Reader, sound
from hpo.errors import SpecError
from hpo.space.rewriting import rewritten
from hpo.spec import SearchSpec, checked_name

__all__ = ["Part", "parts"]

UID = 32
OURS = ("trial", "attempt", "epoch", "packing", "history", "promotion")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be put into a database."""

    index: int  # in the file
    space: SearchSpec
    row: Mapping[str, Any]  # of hpo_study
    tables: Mapping[str, list[dict[str, Any]]]  # of OURS
    attributes: Mapping[str, Mapping[str, Any]]  # of Optuna's study
    trials: list[FrozenTrial]

    @property
    def name(self) -> str:
        return self.space.name


def parts(path: Path, reader: Reader, name: str | None) -> list[Part]:
    """The study, and what confirms its winner if that is in the file; `name` instead of the search's own.

    Raises:
        SpecError: the file is damaged, or the name is none.
    """
    with sound(path):
        found = [_read(reader, index) for index in range(len(reader.manifest["studies"]))]
        _check_together(found)
    return found if name is None else _renamed(found, name)


def _read(reader: Reader, index: int) -> Part:
    [row] = (rows.checked("study", each) for each in reader.lines(f"{index}/study.jsonl"))
    canonical = json.loads(row["canonical"])
    space = spec.from_mapping(canonical, trusted=True)
    if space.hash() != row["hash"] or space.name != row["name"]:
        raise ValueError(f"the space of study {row['name']!r} is not the one that it was begun with")
    if len(row["uid"]) != UID or set(row["uid"]) - set("0123456789abcdef"):  # names the folder
        raise ValueError(f"{row['uid']!r} is no uid")
    [attributes] = reader.lines(f"{index}/optuna_study.jsonl")
    lines, goals = reader.lines(f"{index}/optuna_trial.jsonl"), len(space.metrics)
    found = [trials.trial(number, each, goals) for number, each in enumerate(lines)]
    tables = {name: [rows.checked(name, each) for each in reader.lines(f"{index}/{name}.jsonl")] for name in OURS}
    _check_trials(reader, index, tables, len(found))
    return Part(
        index=index,
        space=space,
        row=row,
        tables=tables,
        attributes={key: dict(attributes[key]) for key in ("user_attrs", "system_attrs")},
        trials=found,
    )


def _check_trials(reader: Reader, index: int, tables: Mapping[str, list[dict[str, Any]]], count: int) -> None:
    """Every row is of a trial that Optuna has; every checkpoint is in the file, and is the one on record."""
    for name in ("trial", "attempt", "epoch"):
        if any(not 0 <= each["number"] < count for each in tables[name]):
            raise ValueError(f"hpo_{name} has trials that Optuna has not")
    recorded = {each["checkpoint"]: each for each in tables["trial"] if each["checkpoint"] is not None}
    if sorted(recorded) != sorted(reader.checkpoints(index)):
        raise ValueError("its checkpoints are not those on record")
    for path, row in recorded.items():
        if not path.startswith(f"{row['number']:06d}/"):
            raise ValueError(f"{path} is no checkpoint of trial {row['number']}")
        if reader.members[f"{index}/checkpoints/{path}"]["sha256"] != row["sha256"]:
            raise ValueError(f"{path} has not the SHA-256 on record")


def _check_together(found: list[Part]) -> None:
    """At most two: a search, and what confirms it."""
    search, *others = found
    if search.space.confirms is not None or len(others) > 1:
        raise ValueError("it holds other studies than a search and what confirms it")
    for each in others:
        confirms = each.space.confirms
        if confirms is None or (confirms.study, confirms.uid) != (search.name, search.row["uid"]):
            raise ValueError(f"study {each.name!r} does not confirm {search.name!r}")


def _renamed(found: list[Part], name: str) -> list[Part]:
    search, *others = found
    names = {search.name: name} | {each.name: name + each.name.removeprefix(search.name) for each in others}
    try:
        for each in names.values():
            checked_name(each)
    except ValueError as error:
        raise SpecError(f"--as: {error}") from error
    return [_with_names(each, names) for each in found]


def _with_names(part: Part, names: Mapping[str, str]) -> Part:
    canonical = json.loads(part.row["canonical"]) | {"name": names[part.name]}
    if part.space.confirms is not None:
        canonical["confirms"]["study"] = names[part.space.confirms.study]
    try:
        text = rewritten(part.row["text"], ("name",), names[part.name])
    except (ValueError, SpecError, yaml.YAMLError):  # it cannot be changed in place
        text = part.row["text"]
    row = {**part.row, "name": names[part.name], "canonical": json.dumps(canonical), "text": text}
    promotions = [{**each, "runs": names.get(each["runs"], each["runs"])} for each in part.tables["promotion"]]
    return replace(
        part,
        space=spec.from_mapping(canonical, trusted=True),
        row=row,
        tables={**part.tables, "promotion": promotions},
    )
