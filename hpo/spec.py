"""The space file: what is searched, how, and until when. The YAML text becomes one checked, immutable SearchSpec."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hpo.errors import SpecError
from hpo.space import coherence, constraints, defaults, own, stages
from hpo.space.canonical import canonical, objective
from hpo.space.cluster import Cluster, without_password
from hpo.space.constraints import Constraint
from hpo.space.difference import changes, differing, whole
from hpo.space.document import Document, near
from hpo.space.entries import read_parameters
from hpo.space.explain import refuse_all
from hpo.space.overrides import apply, write_out
from hpo.space.parameters import Parameter, grid
from hpo.space.plain import plain
from hpo.space.reader import MAX_BYTES, read
from hpo.space.secrets import may_tell_a_webhook, without_webhook
from hpo.space.sections import (
    Budget,
    Confirms,
    Gate,
    Metric,
    Notify,
    Pruner,
    Resources,
    Sampler,
    Winner,
)
from hpo.space.tree import place, without

__all__ = ["SearchSpec", "changes", "checked_name", "differing", "from_mapping", "load", "parse"]

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")
_NOT_IDENTITY = {"dataset.root", "dataset.download"}
"""Where the pictures come from: the same study may go on on a machine that has them elsewhere."""
KEPT = 3  # checkpoints of finished trials, if `winner.top` asks for no more


class SearchSpec(BaseModel):
    """One search, checked: every parameter reaches the trainer, every value is allowed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    name: str
    """Optuna's study and MLflow's experiment."""
    single: Metric | None = Field(default=None, alias="metric")
    several: tuple[Metric, ...] = Field(default=(), alias="metrics", strict=False)
    """Two goals or more in place of `metric`, each with name and goal: what comes out is a front of trials that no
    other betters in all of them. No trial is stopped early then."""
    constraints: tuple[Constraint, ...] = Field(default=(), strict=False)
    """Limits that a trial has to keep at its last epoch, such as `parameters_count <= 5e6`, with <= or >=: of any
    metric that the trainer reports or fact that it tells. One that misses them is neither best nor on the front."""
    sampler: Sampler = Sampler()
    parameters: dict[str, Parameter]
    """Dotted path into trainer -> what it may be; a parameter stands after those that its `when` names."""
    trainer: dict[str, Any]
    """As given, shorthand written out, defaults left out: an explicit default may be a key that is not read."""
    pruner: Pruner = Pruner()
    baseline: bool = False
    """Whether the first trial is the trainer's defaults, where they may be, else the middle of a range; it is never
    stopped early, and the report shows what was gained over it."""
    budget: Budget = Budget()
    resources: Resources = Resources()
    winner: Winner | None = None
    gate: Gate = Gate()
    notify: Notify | None = None
    storage: str | None = None
    """URL of the studies' database; no password stands in a file."""
    mlflow: str | None = None
    """MLflow tracking URI."""
    ray: Cluster | None = None
    confirms: Confirms | None = None
    """Of the study that confirms another; no file has it."""
    insecure_cluster: bool = False
    """Whether the cluster of `ray` may be one that asks for no token."""
    text: str = Field(default="", repr=False, exclude=True)
    """The file as read, without overrides."""
    overrides: tuple[str, ...] = Field(default=(), exclude=True)
    folder: Path | None = Field(default=None, exclude=True)
    """Where the file stands; a trainer of the user's own may be imported from there."""

    @field_validator("name")
    @classmethod
    def _fits_everywhere(cls, name: str) -> str:
        checked_name(name)
        if name == "Default":
            raise ValueError("`Default` is MLflow's own experiment; choose another name")
        return name

    @field_validator("storage", "mlflow")
    @classmethod
    def _keeps_no_secret(cls, url: str | None) -> str | None:
        return without_password(url)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the search is after, one or several."""
        return self.several or ((self.single,) if self.single is not None else ())

    @property
    def metric(self) -> Metric:
        """The first of the metrics: the one whose curve is kept, and the only one of most searches."""
        return self.metrics[0]

    def asks_for(self, name: str) -> bool:
        """Whether a metric is a goal, or limited."""
        return name in {*(each.name for each in self.metrics), *(each.name for each in self.constraints)}

    @property
    def ray_address(self) -> str | None:
        """Of the cluster that the file names."""
        return self.ray.address if self.ray is not None else None

    def canonical(self) -> dict[str, Any]:
        """Return the whole search as plain, JSON-able data; from_mapping() makes the same search of it.

        A webhook that stands in the file has become the variable UNKEPT.
        """
        return canonical(self)

    def identity(self) -> dict[str, Any]:
        """Return the part of canonical() that may not change within a study."""
        tree = self.canonical()
        tree["trainer"] = without(tree["trainer"], _NOT_IDENTITY)
        return {key: tree[key] for key in (*objective(self), "sampler", "parameters", "trainer", "pruner")}

    def require_sources(self) -> None:
        """Make sure that what the file points to is there: the user's own trainer, pictures, weights.

        Raises:
            SpecError: the trainer cannot be imported, or `dataset.root` or `transfer.weights` is not there.
        """
        if "import" in self.trainer:
            own.find(self.trainer["import"], self.folder)
            return
        from hpo.space import builtin

        builtin.require_sources(self.trainer)

    def hash(self) -> str:
        """Return 16 hex digits that are equal for equal identities; 1 and 1.0 count as equal."""
        text = json.dumps(whole(self.identity()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def epochs(self) -> int | None:
        """Of the longest trial; None where the trainer has no key of that name."""
        return defaults.longest(self.trainer, self.parameters)

    @property
    def reserved(self) -> int:
        """Trainings of the budget that are kept for the winner."""
        return self.winner.top * self.winner.seeds if self.winner and self.budget.with_winner else 0

    @property
    def trials(self) -> int | None:
        """Trials that the search itself may begin; None where no count ends it."""
        return None if self.budget.trials is None else self.budget.trials - self.reserved

    @property
    def checkpoints_kept(self) -> int:
        """Finished trials that keep their last checkpoint, at most."""
        if self.confirms:
            return len(self.grid())
        return max(KEPT, self.winner.top if self.winner else 0)

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of the parameters once, in file order, the last one varying fastest.

        Raises:
            SpecError: the sampler is not grid, whose loading has made sure that the points can be listed.
        """
        if self.sampler.type != "grid":
            raise SpecError(f"sampler {self.sampler.type} has no grid; set `sampler: grid`")
        if self.confirms:  # seed by seed: cut short, it has done the same for every trial
            numbers = [int(number) for number in self.confirms.points]
            return [{"trial": number, "seed": seed} for seed in self.confirms.seeds for number in numbers]
        return list(grid(self.parameters))

    def start(self) -> dict[str, Any]:
        """Return the point that a staged search begins at, and the baseline of others.

        Defaults of the trainer where they may be, else middles.

        Raises:
            SpecError: a trainer of the user's own cannot be imported any more.
        """
        if "import" in self.trainer:
            target = self.trainer["import"]
            return stages.base(self.parameters, self.trainer, lambda name, _: own.default(target, self.folder, name))
        from hpo.space import builtin

        tree = self.trainer
        return stages.base(self.parameters, tree, lambda name, beside: builtin.default(place(tree, beside), name))

    @property
    def stages(self) -> dict[str, list[Any]]:
        """Of a staged search: each parameter with the values that its stage tries, in the order of the stages."""
        order = stages.in_order(self.parameters, self.sampler.order)
        return {name: stages.spread(self.parameters[name], self.sampler.points) for name in order}

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trainer section of one trial: parameters in place, without what this combination leaves unread.

        Raises:
            SpecError: a name is not searched here.
        """
        for name in params:
            if name not in self.parameters:
                valid = ", ".join(self.parameters)
                raise SpecError(f"`{name}` is not searched{near(name, self.parameters)}; valid: {valid}")
        tree = place(self.trainer, self._point(params))
        if "import" in tree:
            return tree
        from hpo.space import builtin

        return without(tree, builtin.unread(tree))

    def shown(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a trial is shown with: its parameters, in a confirmation also those that the trainer gets."""
        return {**self._point(params), **params}

    def _point(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.confirms.points[str(params["trial"])] if self.confirms else params


def checked_name(name: str) -> str:
    """Return a name that every store and file system takes, and that leads to no other folder.

    Raises ValueError, with a name that would do.
    """
    if not _NAME.fullmatch(name):
        better = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64]
        hint = f"; `{better}` would do" if better else ""
        raise ValueError(
            f"{name!r} is no name: 1 to 64 of letters, digits, dot, underscore and hyphen, which is not the first{hint}"
        )
    return name


def load(path: Path, overrides: Sequence[str] = ()) -> SearchSpec:
    """Read a space file; each override is `path=value`, such as trainer.epochs=5 or parameters.lr.max=0.5.

    Raises:
        SpecError: a line `file:line:column: message` for every error in it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        others = [each.name for each in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise SpecError(f"{path}: {said}{near(path.name, others)}") from None
    return _build(read(raw, source=str(path)), overrides, path.parent)


def parse(
    text: str, *, source: str = "<string>", overrides: Sequence[str] = (), folder: Path | None = None
) -> SearchSpec:
    """Read a space from text, as load() does from a file."""
    return _build(read(text, source=source), overrides, folder)


def from_mapping(
    mapping: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    trusted: bool = False,
) -> SearchSpec:
    """Make a search of plain data; the same checks as for a file, with dotted paths in place of positions.

    With `trusted`, for data that canonical() made, a trainer of the user's own is not imported again.
    """
    document = Document(text="", tree={})
    document.tree = plain(document, mapping, ())
    document.check()
    document.text = yaml.safe_dump(document.tree, sort_keys=False)
    return _build(document, overrides, folder, trusted)


def _build(document: Document, overrides: Sequence[str], folder: Path | None, trusted: bool = False) -> SearchSpec:
    if () in document.unreadable:
        document.check()
    text = without_webhook(document)
    apply(document, overrides)
    write_out(document)
    for key in ("text", "overrides", "folder"):
        if key in document.tree:
            document.refuse((key,), f"unknown key `{key}`; remove it", key=True)
    parameters = read_parameters(document)
    tree = document.tree.get("trainer")
    if "confirms" in document.tree and not trusted:
        document.refuse(("confirms",), "unknown key `confirms`; `hpo confirm` makes such a study", key=True)
    if isinstance(tree, dict) and not (trusted and ("import" in tree or "confirms" in document.tree)):
        parameters = _check_trainer(document, parameters, folder)
    if not trusted:
        defaults.fill(document, parameters, folder)
        constraints.check_limits(document)
    coherence.check(document, parameters)
    fields = {**document.tree, "parameters": parameters}
    kept = tuple(each for each in overrides if not may_tell_a_webhook(each))
    fields |= {"text": text, "overrides": kept, "folder": folder}
    try:
        spec = SearchSpec.model_validate(fields)
    except ValidationError as error:
        refuse_all(document, (), error, SearchSpec)
        document.check()
        raise  # unreachable: a ValidationError holds at least one error, so check() has raised
    document.check()
    return spec


def _check_trainer(document: Document, parameters: dict[str, Parameter], folder: Path | None) -> dict[str, Parameter]:
    if "import" in document.tree["trainer"]:
        return own.check(document, parameters, folder)
    from hpo.space import builtin  # only here, so that a search with a trainer of one's own does without trainers

    return builtin.check(document, parameters)
