"""The command that hands a search to a cluster."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hpo.commands.options import (
    Concurrency,
    Extend,
    Gpus,
    Insecure,
    Json,
    SamplerType,
    Seed,
    Set,
    SkipCheck,
    Space,
    Storage,
    Trials,
    WarmStart,
    overriding,
)
from hpo.settings import default_storage
from hpo.wording import plain

__all__ = ["submit"]

Where = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="http://HOST:8265 of the head (or RAY_ADDRESS)."),
]
There = Annotated[
    Path | None, typer.Option(help="Folder of all files, as every machine of the cluster sees it (its own HPO_HOME).")
]


def submit(
    space: Space,
    overrides: Set = None,
    trials: Trials = None,
    sampler: SamplerType = None,
    seed: Seed = None,
    gpus: Gpus = None,
    concurrency: Concurrency = None,
    extend: Extend = None,
    warm_start: WarmStart = None,
    skip_check: SkipCheck = None,
    home: There = None,
    storage: Storage = None,
    ray: Where = None,
    insecure_cluster: Insecure = False,
    as_json: Json = False,
) -> None:
    """Hand a search to a Ray cluster, driver and all, and return: this machine may go away.

    Typed again, it goes on where the search was. `hpo status`, `stop` and `report` work from here against the database
    that both share; the driver takes OPTUNA_STORAGE and MLFLOW_TRACKING_URI from the cluster's head.
    """
    import hpo
    from hpo import spec

    everything = overriding(overrides, trials=trials, sampler=sampler, seed=seed, gpus=gpus)
    parsed = spec.load(space, everything)
    settings = hpo.settings_for(parsed, storage=storage, ray=ray, insecure_cluster=insecure_cluster)
    words = [part for each in everything for part in ("--set", each)]
    words += [part for each in skip_check or [] for part in ("--skip-check", each)]
    given = {"--concurrency": concurrency, "--extend": extend, "--warm-start": warm_start, "--home": home}
    words += [part for name, value in given.items() if value is not None for part in (name, str(value))]
    words += ["--insecure-cluster"] if settings.insecure_cluster else []
    from hpo.cluster import jobs

    job = jobs.submit(parsed, space, settings, words)
    if as_json:
        print(json.dumps(asdict(job)))
        return
    soon = "in some seconds it can be seen from here" if job.runs else "the cluster is preparing what it needs"
    print(f"study {job.study} starts as job {job.id}; {soon}")
    if settings.storage == default_storage(settings.home):
        print("follow it: set OPTUNA_STORAGE here to the database that the cluster's driver writes")
    for what in ("status", "stop", "report"):
        print(plain(f"{what:7} {settings.command(what, job.study)}"))
    print(plain(f"output  ray job logs {job.id} --follow --address {job.address}"))
