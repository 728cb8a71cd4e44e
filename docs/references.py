"""Writes the two references from the code: space-file.md from the schema, commands.md from the command line.

`make docs` calls it; a test holds that the pages are what it would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import ArgumentInfo

from hpo.cli import app
from hpo.space import sections
from hpo.space.parameters import Choice, FloatRange
from hpo.spec import SearchSpec
from trainers.config import paths

HERE = Path(__file__).parent
TITLES: dict[str, Any] = {
    "metric": sections.Metric,
    "sampler": sections.Sampler,
    "pruner": sections.Pruner,
    "budget": sections.Budget,
    "resources": sections.Resources,
    "winner": sections.Winner,
    "gate": sections.Gate,
    "notify": sections.Notify,
}
SPACE = """# The space file, key by key

Made by `make docs` from the schema that checks the file. A file names what is searched, how, and until when; whatever
is wrong in it is answered at once, each mistake with its line, column and the valid values. Numbers are those of YAML
1.2: `1e-3` is a number, `no` is a word. `--set path=value` overrides any key. A scalar is shorthand where a section
says so. What the trainer reads stands [below](#trainer).

What is searched for is one `metric`, or several and a front of trials between them, within `constraints`:

```yaml
metrics: [{name: val/accuracy, goal: maximize}, {name: latency_ms, goal: minimize}]     # in place of metric
constraints: [parameters_count <= 5e6]
```

[Several goals](search.md#several-goals) says what becomes of them.
"""
UNSAID = {"goal": "by the name", "lr": "by optimizer", "lr_schedule.name": "cosine"}
"""Defaults that the schema has no word for."""
COMMANDS = """# Commands, option by option

Made by `make docs` from the command line itself. Results go to stdout, progress to stderr; `--json` stands wherever a
table is printed. Exit codes: 0 done, 1 our fault, 2 bad file or usage, 3 no usable trial, a failed check, a refused
promotion, a trial that is not reproduced, or too many failures, 4 a service does not answer or another driver has the
study, 130 interrupted (resumable). `hpo --debug ...` shows tracebacks; `hpo --install-completion` teaches the shell
to complete.
"""


def space_file() -> str:
    """The text of space-file.md."""
    said = docstrings(SearchSpec)
    elsewhere = {"single", "parameters", "trainer", "confirms", "text", "overrides", "folder", *TITLES}
    lines = [SPACE, "## At the top", "", *_head()]
    for name, field in SearchSpec.model_fields.items():
        if name not in elsewhere:
            lines.append(_row(field.alias or name, field, said.get(name, "")))
    for name, section in TITLES.items():
        lines += ["", f"## `{name}:`", "", inspect.getdoc(section) or "", *_shorthand(name), "", *_head()]
        told, read_by = docstrings(section), sections.READ_BY.get(name, {})
        for key, field in section.model_fields.items():
            only = f" Read by {', '.join(read_by[key])}." if key in read_by else ""
            lines.append(_row(key, field, told.get(key, "") + only))
    return "\n".join([*lines, *_parameters(), *_trainer(), ""])


def commands() -> str:
    """The text of commands.md."""
    lines = [COMMANDS]
    for name, function in sorted(_commands(app, "hpo")):
        lines += [f"## `{name}`", "", " ".join((inspect.getdoc(function) or "").split()), ""]
        parameters = inspect.signature(function, eval_str=True).parameters.values()
        if parameters:
            lines += ["| | default | |", "|---|---|---|", *map(_parameter, parameters)]
        lines.append("")
    return "\n".join(lines)


def docstrings(model: Any) -> dict[str, str]:
    """Field -> the text under it in the source."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def _head() -> list[str]:
    return ["| key | value | default | meaning |", "|---|---|---|---|"]


def _row(name: str, field: FieldInfo, meaning: str) -> str:
    meaning = re.sub(r"\bNone\b", "null", meaning)
    return f"| `{name}` | {_kind(field)} | {UNSAID.get(name) or _value(field)} | {_cell(meaning)} |"


def _shorthand(section: str) -> list[str]:
    key = sections.SHORTHAND.get(section)
    return ["", f"`{section}: X` is short for `{section}: {{{key}: X}}`."] if key else []


def _parameters() -> list[str]:
    searched = """
## `parameters:`

Dotted path into `trainer` -> what it may be. A path that the trainer does not know, or does not read with this model
and dataset, is an error.

| key | meaning |
|---|---|
| `values` | a list of text, numbers, booleans or null; each is tried by a grid, drawn alike by the others |
| `min`, `max` | a range, both ends included; whole numbers where both are whole |
| `log` | true: even in the logarithm, for values over powers of ten; not beside `step` |
| `step` | only min, min + step, min + 2 step, ..., max; a range of floats needs it in a grid |
| `when` | {other parameter: value or list of values}: the parameter is there only then |
"""
    return [searched, f"{inspect.getdoc(FloatRange)}", "", f"{inspect.getdoc(Choice)}"]


def _trainer() -> list[str]:
    head = """
## `trainer:`

`{import: "module:Name"}` and the arguments of a trainer of yours, or the built-in one's keys ([what they
do](trainers.md)): each may be fixed here, searched under `parameters`, or set with `--set`.

| key | value | default | meaning |
|---|---|---|---|"""
    return [head, *(_row(path, field, field.description or "") for path, field in paths().items())]


def _kind(field: FieldInfo) -> str:
    """What may stand there, in words."""
    limits = {type(each).__name__: each for each in field.metadata}
    signs = {"Ge": ("ge", "from {}"), "Gt": ("gt", "above {}"), "Le": ("le", "to {}"), "Lt": ("lt", "below {}")}
    bounds = [text.format(getattr(limits[kind], key)) for kind, (key, text) in signs.items() if kind in limits]
    return " ".join([" or ".join(_named(field.annotation)), *bounds])


def _named(annotation: Any) -> list[str]:
    if get_origin(annotation) is Annotated:
        return _named(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        named = [name for each in get_args(annotation) if each is not types.NoneType for name in _named(each)]
        return list(dict.fromkeys(named))
    if get_origin(annotation) is Literal:
        return [", ".join(map(str, get_args(annotation)))]
    if get_origin(annotation) in (list, tuple):
        return ["list"]
    words = {int: "whole number", float: "number", str: "text", bool: "true, false", Path: "path"}
    return [words.get(annotation, "section")]


def _value(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.is_required() else "see below"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    if isinstance(field.default, bool) or field.default is None:
        return {True: "true", False: "false", None: "null"}[field.default]
    return f"{list(field.default) if isinstance(field.default, tuple) else field.default}"


def _commands(group: typer.Typer, path: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{path} {command.name or command.callback.__name__.replace('_', '-')}", command.callback
    for each in group.registered_groups:
        assert each.typer_instance is not None
        yield from _commands(each.typer_instance, f"{path} {each.name}")


def _parameter(parameter: inspect.Parameter) -> str:
    """A row of the table of a command's arguments and options."""
    annotation, told = get_args(parameter.annotation)[:2]
    kind = " or ".join(_named(annotation))
    # the first word of an annotated option lands in its default
    words = [each for each in (told.default, *(told.param_decls or ())) if isinstance(each, str)]
    spelled = ", ".join(f"`{each}`" for each in words) or f"`--{parameter.name.replace('_', '-')}`"
    if isinstance(told, ArgumentInfo):
        spelled = f"`{told.metavar or parameter.name.upper()}`"
    elif kind != "true, false":
        spelled += f" {_cell(told.metavar or kind)}" + ", repeatable" * (kind == "list")
    required = parameter.default in (inspect.Parameter.empty, ...)
    default = "required" if required else "" if parameter.default in (None, False) else f"`{parameter.default}`"
    return f"| {spelled} | {default} | {_cell(told.help)} |"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


PAGES = {"space-file.md": space_file, "commands.md": commands}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
