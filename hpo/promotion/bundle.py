"""A promoted model as a folder: what MLflow's registry keeps of it, made, told apart and asked."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import hpo
from hpo.tracking import projection  # noqa: F401 - it also sets how MLflow's client behaves, which has to come first
from trainers.checkpoint import digest as file_digest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    from mlflow.pyfunc import load_model, save_model

from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

__all__ = ["CARD", "answers", "digest", "is_ours", "pack"]

CARD = "MODEL_CARD.md"
CODE = Path(__file__).with_name("served.py")
LOADER = "mlflow.pyfunc.loaders.code_model"
NOTED = "registered_model_meta"
"""MLflow writes it into what it serves, where that is read in place."""
NEEDED = ("mlflow", "numpy", "pillow", "pydantic", "safetensors", "torch", "torchvision")

Array = np.ndarray[Any, np.dtype[Any]]

logging.getLogger("mlflow").setLevel(logging.WARNING)


def pack(
    folder: Path, *, network: Path, files: Mapping[str, Path], examples: Array, classes: int, about: Mapping[str, Any]
) -> None:
    """Write an MLflow model into `folder`, which must not be there: code, weights, other files, signature, examples.

    `network` is a folder of `trainers.export.save_weights`, `examples` are pictures (N, C, H, W) of uint8.
    """
    shape = examples.shape[1:]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )
    save_model(
        folder,
        python_model=str(CODE),  # from code, so that no pickle is written or read
        artifacts={"network": str(network), **{name: str(path) for name, path in files.items()}},
        signature=signature,
        input_example=examples,
        pip_requirements=_requirements(),  # to find them out takes MLflow a minute
        metadata=dict(about),
    )
    _without_paths(folder / "MLmodel")
    (folder / CODE.name).chmod(0o600)  # copied with the mode of the installation


def answers(folder: Path, pictures: Array) -> Array:
    """What the model in `folder` says of pictures (N, C, H, W) of uint8, as a server would: (N, classes) of float32.

    The code in it is run: see `is_ours`.
    """
    return np.asarray(load_model(str(folder)).predict(pictures))


def is_ours(folder: Path) -> bool:
    """Whether a model that was read back would run the code of this installation and no other, and read no pickle."""
    try:
        told = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
        ours = (folder / CODE.name).read_bytes() == CODE.read_bytes()
        loader, code, more = (told.get(key) for key in ("loader_module", "model_code_path", "code"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return False
    return ours and loader == LOADER and code == CODE.name and more is None and "python_model" not in told


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files in a folder, in hex; without what MLflow adds to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NOTED)
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _without_paths(description: Path) -> None:
    """Take the paths of this machine out of MLflow's description, which reads none of them."""
    tree = yaml.safe_load(description.read_text())
    flavour = tree["flavors"]["python_function"]
    flavour["model_code_path"] = CODE.name
    for each in flavour["artifacts"].values():
        each["uri"] = each["path"]
    description.write_text(yaml.safe_dump(tree, sort_keys=False))


def _requirements() -> list[str]:
    # a build such as 2.9.0+cpu is in no index under that name
    pinned = [f"{name}=={metadata.version(name).split('+')[0]}" for name in NEEDED]
    return [f"hpo-service=={hpo.__version__}", *pinned]
