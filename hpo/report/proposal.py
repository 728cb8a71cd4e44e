"""Advice as a change of the space file itself: which edits it takes, the diff, and what to type."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpo import spec
from hpo.errors import SpecError
from hpo.report.advice import Edit
from hpo.space.document import dotted
from hpo.space.rewriting import rewritten
from hpo.space.sections import URLS
from hpo.space.widening import refusals
from hpo.spec import SearchSpec

__all__ = ["Proposal", "propose", "shown_folder"]

_UNTYPED = frozenset({*URLS, "insecure_cluster", "confirms"})
"""Keys that are not repeated from what was typed when the study was made."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A changed space file."""

    file: str  # its name, as in the diff
    folder: Path | None  # where it stands; None: not known
    there: bool  # whether it still stands there as the study read it
    target: str  # path of a new file for the change, to be typed: beside the file where that is known
    edits: tuple[Edit, ...]  # those that the file takes
    refused: tuple[str, ...]  # those that it does not, with the reason
    before: str
    after: str
    how: str  # "same": the study goes on, "extend": it is extended, "new": another study; "none": nothing to change
    command: tuple[str, ...]  # words after `hpo`

    @property
    def diff(self) -> str:
        """Unified, as `patch -p0` takes it; empty where nothing changes."""
        lines = difflib.unified_diff(
            _lines(self.before), _lines(self.after), fromfile=self.file, tofile=self.file, lineterm="\n"
        )
        return "".join(each if each.endswith("\n") else f"{each}\n\\ No newline at end of file\n" for each in lines)


def propose(space: SearchSpec, text: str, edits: Sequence[Edit], *, names: Sequence[str]) -> Proposal:
    """Put edits into the text that a study was made of; those after which it does not load are left out.

    `space` is the study as it is, with what was overridden when it was made; `names` are those of all studies, which a
    new one may not have.

    Raises:
        SpecError: the text does not load any more, as when a trainer of the user's own has gone.
    """
    after, typed, kept, refused = _tried(space, text, edits)
    how = _how(space, _loaded(after, typed, space)) if kept else "none"
    name = space.name
    if how == "new":
        name = _free(space.name, names)
        after = rewritten(after, ("name",), name)
        typed.pop("name", None)
    file, there = _file(space, text)
    target = _new_file(space.folder if there else None, Path(file).stem if there else name)
    return Proposal(
        file=file,
        folder=space.folder,
        there=there,
        target=target,
        edits=tuple(kept),
        refused=tuple(refused),
        before=text,
        after=after,
        how=how,
        command=_command(how, target, space, typed) if kept else (),
    )


def _tried(space: SearchSpec, text: str, edits: Sequence[Edit]) -> tuple[str, dict[str, str], list[Edit], list[str]]:
    """The text after edits that it takes, what is still to be typed over it, these edits, and why not the others."""
    typed = _typed(space, text)
    after, kept, refused = text, [], []
    for edit in edits:
        place = dotted(edit.trail)
        left = {path: value for path, value in typed.items() if path != place}
        try:
            changed = rewritten(after, edit.trail, edit.value)
            loaded = _loaded(changed, left, space)
        except (SpecError, ValueError, yaml.YAMLError) as error:
            refused.append(f"{place}: {str(error).splitlines()[0]}")
            continue
        if loaded.canonical() == _loaded(after, typed, space).canonical():
            refused.append(f"{place}: it would change nothing")
            continue
        after, typed = changed, left
        kept.append(edit)
    return after, typed, kept, refused


def _typed(space: SearchSpec, text: str) -> dict[str, str]:
    """What the study has otherwise than its file, as overrides: dotted path -> value in YAML."""
    of_file = spec.parse(text, folder=space.folder).canonical()
    now = space.canonical()
    return {
        path: after
        for path, (_, after) in spec.differing(of_file, now).items()
        if path.split(".")[0] not in _UNTYPED and not after.startswith("(")
    }


def _loaded(text: str, typed: dict[str, str], space: SearchSpec) -> SearchSpec:
    return spec.parse(text, overrides=[f"{path}={value}" for path, value in typed.items()], folder=space.folder)


def _how(old: SearchSpec, new: SearchSpec) -> str:
    """How the changed space can be searched."""
    before, after = old.identity(), new.identity()
    if before == after:
        return "same"
    others = {key for key in before if key != "parameters" and before[key] != after[key]}
    may = not others and not refusals(old.parameters, new.parameters) and old.sampler.type != "staged"
    return "extend" if may else "new"


def _command(how: str, file: str, space: SearchSpec, typed: dict[str, str]) -> tuple[str, ...]:
    words = ["run", "--space", file]
    if how == "extend":
        words += ["--extend", space.name]
    for path, value in typed.items():
        words += ["--set", f"{path}={_bare(value)}"]
    return tuple(words)


def _bare(value: str) -> str:
    """A value of JSON as it is typed: text without quotes where nothing needs them."""
    read: Any = json.loads(value)
    return read if isinstance(read, str) and re.fullmatch(r"[\w./:@+-]+", read) else value


def _free(name: str, names: Sequence[str]) -> str:
    stem, _, count = name.rpartition("-")
    base, number = (stem, int(count)) if stem and count.isdigit() else (name, 1)
    while f"{base[:60]}-{number + 1}" in names:
        number += 1
    return f"{base[:60]}-{number + 1}"


def _file(space: SearchSpec, text: str) -> tuple[str, bool]:
    """The name of the file that the study was read from, by its content; whether it was found."""
    if space.folder is not None and space.folder.is_dir():
        for each in sorted(space.folder.glob("*.y*ml")):
            try:
                if each.read_bytes().decode("utf-8-sig") == text:
                    return each.name, True
            except (OSError, UnicodeDecodeError):
                continue
    return f"{space.name}.yaml", False


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def _new_file(folder: Path | None, stem: str) -> str:
    """Path of a file that is not there yet, in that folder or here."""
    where = Path() if folder is None or _is_here(folder) else folder
    free = (where / f"{stem}-{number}.yaml" for number in itertools.count(2))
    return str(next(each for each in free if not each.exists()))


def _is_here(folder: Path) -> bool:
    return folder.resolve() == Path.cwd()


def shown_folder(folder: Path | None) -> str:
    """The option that leads `patch` to the file; nothing where that is here."""
    return "" if folder is None or _is_here(folder) else f" -d {shlex.quote(str(folder))}"
