"""Options of the command line that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.wording import plain

if TYPE_CHECKING:
    from hpo.settings import Settings

__all__ = [
    "Concurrency",
    "Extend",
    "Gpus",
    "Home",
    "Insecure",
    "Json",
    "Mlflow",
    "Name",
    "Quiet",
    "Ray",
    "SamplerType",
    "Seed",
    "Set",
    "SkipCheck",
    "Space",
    "Storage",
    "Trials",
    "WarmStart",
    "opened",
    "overriding",
]

Space = Annotated[Path, typer.Option("--space", "-s", help="The space file, YAML.", show_default=False)]
Home = Annotated[Path | None, typer.Option(help="Folder of all files (default hpo-data, or HPO_HOME).")]
Storage = Annotated[str | None, typer.Option(metavar="URL", help="Database of the studies (or OPTUNA_STORAGE).")]
Mlflow = Annotated[str | None, typer.Option(metavar="URI", help="MLflow tracking URI (or MLFLOW_TRACKING_URI).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Name of the study.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
Trials = Annotated[int | None, typer.Option(help="Short for --set budget.trials=N.")]
SamplerType = Annotated[str | None, typer.Option("--sampler", help="grid, random, tpe, gp or staged.")]
Seed = Annotated[int | None, typer.Option(help="Short for --set sampler.seed=N.")]
Gpus = Annotated[str | None, typer.Option(help="GPUs per trial: auto, a share or a number.")]
Extend = Annotated[
    str | None, typer.Option(metavar="NAME", help="Study to go on over this space: more values, wider ranges.")
]
WarmStart = Annotated[
    str | None, typer.Option(metavar="OTHER[:K]", help="A new study begins with the K best points of that one, 5.")
]
Ray = Annotated[str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster (or RAY_ADDRESS).")]
Insecure = Annotated[bool, typer.Option("--insecure-cluster", help="Accept a Ray cluster that asks for no token.")]
SkipCheck = Annotated[
    list[str] | None,
    typer.Option("--skip-check", metavar="NAME", help="Leave a check out, or `all` of them; may be given again."),
]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Trials at a time, at most. By default as many as fit.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def overriding(
    overrides: list[str] | None, *, trials: int | None, sampler: str | None, seed: int | None, gpus: str | None
) -> list[str]:
    """What `--set` gives, then what the short options stand for."""
    keys = {"budget.trials": trials, "sampler.type": sampler, "sampler.seed": seed, "resources.gpu": gpus}
    return [*(overrides or []), *(f"{key}={value}" for key, value in keys.items() if value is not None)]


def opened(home: Path | None, storage: str | None, mlflow: str | None = None, *, but: str | None = None) -> Settings:
    """Where everything is, after what dead drivers left there has been closed, `but` for one study."""
    from hpo import settings
    from hpo.audit import orphans

    where = settings.resolve(home=home, storage=storage, mlflow=mlflow)
    for line in orphans.close(where, but=but):
        print(plain(line), file=sys.stderr)
    return where
