"""Options of the command line that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Home", "Json", "Mlflow", "Space", "Storage"]

Space = Annotated[Path, typer.Option("--space", "-s", help="The space file, YAML.", show_default=False)]
Home = Annotated[Path | None, typer.Option(help="Folder of all files (default hpo-data, or HPO_HOME).")]
Storage = Annotated[str | None, typer.Option(metavar="URL", help="Database of the studies (or OPTUNA_STORAGE).")]
Mlflow = Annotated[str | None, typer.Option(metavar="URI", help="MLflow tracking URI (or MLFLOW_TRACKING_URI).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
