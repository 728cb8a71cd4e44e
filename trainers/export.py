"""A trained network as safetensors and JSON: all that its predictions need, in files that no code can hide in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as tensor_files

from trainers.checkpoint import CheckpointError
from trainers.folders import replaced
from trainers.predict import Member, Predictor, chosen_device

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "load_weights", "only_member", "save_weights"]

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_HOW = (
    "from trainers.export import load_weights; load_weights(Path('FOLDER')).predict([Path('PICTURE')]). "
    "The network sees (stored / 255 - mean) / std, N x C x H x W, and returns logits in the order of classes."
)


def save_weights(network: Member | Predictor, folder: Path) -> list[Path]:
    """Write `model.safetensors` and `config.json` and return their paths; `load_weights` reads them back bit for bit.

    Each is written beside, synced and renamed, the configuration last: it holds the hash of the weights. Raises
    ValueError for an ensemble, OSError where the disk is full.
    """
    member = only_member(network)
    state = member.state_dict()
    # a GPU's weights may lie with the channels last, which the format does not know
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.pop("model").items()}
    weights = tensor_files.save(tensors)
    described = {
        "format": FORMAT,
        "how_to_load": _HOW,
        "checkpoint_sha256": member.sha256,
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
        **{key: state[key] for key in ("classes", "input", "data", "config")},
    }
    return [
        _write(folder / WEIGHTS, weights),
        _write(folder / CONFIG, json.dumps(described, indent=2).encode()),
    ]


def load_weights(folder: Path, device: str | None = None) -> Predictor:
    """Read what `save_weights` wrote; the predictions equal those of the checkpoint, on the same device bit for bit.

    Raises CheckpointError for files that are absent, damaged or do not belong together.
    """
    described = _described(folder / CONFIG)
    weights = _content(folder / WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != described["weights"]["sha256"]:
        raise CheckpointError(f"{folder / WEIGHTS} is not the file that {CONFIG} was written for: export anew")
    try:
        state = {**described, "model": tensor_files.load(weights), "ema": None}
        member = Member(state, device=chosen_device(device), sha256=described["checkpoint_sha256"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no network that can be built: {error}") from error
    return Predictor([member])


def only_member(network: Member | Predictor) -> Member:
    """The one network of a predictor.

    Raises ValueError where there are several, or views of a picture, which are no part of a network.
    """
    if isinstance(network, Member):
        return network
    if len(network.members) > 1 or network.tta:
        what = "views of each picture" if network.tta else f"{len(network.members)} networks"
        raise ValueError(f"an average over {what} cannot be exported: give one checkpoint, without tta")
    return network.members[0]


def _write(path: Path, content: bytes) -> Path:
    with replaced(path) as beside:
        beside.write_bytes(content)
    return path


def _described(path: Path) -> Mapping[str, Any]:
    try:
        described = json.loads(_content(path))
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not readable JSON ({error}): export anew") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise CheckpointError(f"{path} describes no export of format {FORMAT}: give a folder that `hpo export` wrote")
    if lacking := {"weights", "checkpoint_sha256", "classes", "input", "data", "config"} - described.keys():
        raise CheckpointError(f"{path} lacks {', '.join(sorted(lacking))}: export anew")
    return described


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): `hpo export --torch` writes it") from error
