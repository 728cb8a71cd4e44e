"""What of this machine's code travels to a cluster that runs already: Ray's runtime environment of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.runtime_env import RuntimeEnv

from hpo.errors import SpecError
from hpo.settings import Settings
from hpo.spec import SearchSpec

__all__ = ["folder_of", "runtime_env"]

PACKAGES = tuple(str(Path(__file__).parents[2] / name) for name in ("hpo", "trainers"))
STAYS = (".git", ".env", "venv", ".venv", "__pycache__", "node_modules", "*.pt", "*.pth", "*.safetensors", "*.db")
"""What lies beside a trainer and is no code, secrets above all; .gitignore and .rayignore may name more."""

KEYS = tuple(sorted(each for each in RuntimeEnv.known_fields if not each.startswith("_")))


def runtime_env(space: SearchSpec, settings: Settings) -> dict[str, Any]:
    """This package, the folder of the user's own trainer, and what the space file's `ray.runtime_env` asks for.

    Libraries have to be on the machines, or in `runtime_env.pip`. Raises SpecError for a key that Ray has not, and
    as `folder_of` does.
    """
    wished = dict(space.ray.runtime_env) if space.ray is not None else {}
    if unknown := sorted(set(wished) - set(KEYS)):  # of which Ray takes no notice
        raise SpecError(f"ray.runtime_env: unknown key {unknown[0]!r}; valid: {', '.join(KEYS)}")
    found: dict[str, Any] = {
        **wished,
        "py_modules": [*wished.get("py_modules", []), *PACKAGES],
        "excludes": [*wished.get("excludes", []), *STAYS],
    }
    folder = folder_of(space)
    if folder is not None and "working_dir" not in wished:
        found["working_dir"] = str(folder)
        if settings.home.is_relative_to(folder):
            found["excludes"].append(f"/{settings.home.relative_to(folder)}")
    return found


def folder_of(space: SearchSpec) -> Path | None:
    """The folder that the user's own trainer is imported from; None where it is installed, or there is none.

    Raises SpecError where that would take the whole home folder of the user along.
    """
    if "import" not in space.trainer:
        return None
    module = space.trainer["import"].partition(":")[0].partition(".")[0]
    beside = [space.folder.absolute()] if space.folder else []
    for folder in (*beside, Path.cwd()):
        if (folder / f"{module}.py").is_file() or (folder / module).is_dir():
            if folder in (Path.home(), Path(folder.anchor)):
                raise SpecError(
                    f"the trainer {space.trainer['import']!r} lies in {str(folder)!r}, all of which would travel to "
                    "the cluster: move it into a folder of its own"
                )
            return folder
    return None
