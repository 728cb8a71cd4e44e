"""A trained network in files for others: ONNX, 8-bit ONNX, safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from hpo.errors import SpecError
from hpo.settings import Settings
from hpo.wording import number, plain

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["FORMATS", "Source", "export", "of_file", "of_study", "show"]

FORMATS = ("onnx", "int8", "torch")
ONNX, INT8 = "model.onnx", "model.int8.onnx"
COMPARED = 64
"""Pictures that ONNX and PyTorch are compared over, beside one alone."""
RUNS = 200
"""Calls that a latency is read from."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint to export."""

    checkpoint: Path
    sha256: str | None = None  # as recorded; None: not on record
    study: str | None = None
    trial: int | None = None


def of_file(path: Path) -> Source:
    """A checkpoint by its path.

    Raises:
        SpecError: there is no such file.
    """
    if path.is_file():
        return Source(checkpoint=path)
    raise SpecError(
        f"there is no checkpoint {path}; `hpo best NAME` and `hpo train` print where theirs are, "
        "and --study NAME takes the winner of a study"
    )


def of_study(study: Study, trial: int | None) -> Source:
    """The winner of a study, or one of its trials.

    Raises:
        SpecError: the study's trainer is the user's own, or there is no complete trial of that number.
        NoUsableTrial: no trial is complete, or the checkpoint is kept no more.
    """
    from hpo.winner.candidate import candidate, require_built_in

    require_built_in(study, "exported")

    found = candidate(study, trial)
    return Source(checkpoint=found.checkpoint, sha256=found.sha256, study=study.name, trial=found.trial)


def export(source: Source, formats: Sequence[str], *, folder: Path | None, settings: Settings) -> dict[str, Any]:
    """Write a network in `formats`, int8 with the ONNX it is made of; return what was written and measured.

    By default into `exports/`, in a folder named by the first twelve digits of the checkpoint's SHA-256.

    Raises:
        SpecError: no format, a package is missing, the checkpoint or its pictures cannot be used, a file does not
            answer as the network does, or the folder cannot be written to.
    """
    if not formats:
        raise SpecError(f"choose what to write: {', '.join(f'--{name}' for name in FORMATS)}, one or more")
    if set(formats) & {"onnx", "int8"}:
        _require_packages("onnx", "onnxruntime", "onnxscript")
    member = _member(source)
    folder = folder or settings.home / "exports" / member.sha256[:12]
    try:
        made = _written(member, formats, folder, settings)
    except ValueError as error:
        raise SpecError(str(error)) from error
    except OSError as error:
        raise SpecError(f"{folder} cannot be written to: {error.strerror or error}") from error
    return {
        "checkpoint": str(source.checkpoint),
        "sha256": member.sha256,
        "study": source.study,
        "trial": source.trial,
        "model": member.config.model,
        "precision": member.config.precision,
        "classes": list(member.classes),
        "shape": list(member.shape),
        "data": member.data,
        **made,
    }


def _member(source: Source) -> Any:
    from trainers.predict import Member, chosen_device

    path = source.checkpoint
    if path.suffix != ".pt":
        raise SpecError(f"{path} is no checkpoint of the built-in trainer: those end in .pt, and no other is exported")
    try:
        return Member.load(path, source.sha256, device=chosen_device("cpu"))
    except (ValueError, RuntimeError) as error:
        raise SpecError(str(error)) from error


def _written(member: Any, formats: Sequence[str], folder: Path, settings: Settings) -> dict[str, Any]:
    split = _split(member, settings) if "int8" in formats else None
    made: dict[str, Any] = {"folder": str(folder), "files": []}
    paths: list[Path] = []
    if "torch" in formats:
        from trainers.export import save_weights

        paths += save_weights(member, folder)
    if set(formats) & {"onnx", "int8"}:
        made["onnx"] = _onnx(member, folder / ONNX, split, settings)
        paths.append(folder / ONNX)
    if split is not None:
        made["int8"] = _int8(folder, split)
        paths.append(folder / INT8)
    made["files"] = [{"file": str(path), "bytes": path.stat().st_size} for path in paths]
    return made


def _onnx(member: Any, path: Path, split: Any, settings: Settings) -> dict[str, Any]:
    from trainers.onnxfile import export_onnx

    pictures, which = (split.val_images[:COMPARED], "val") if split else _pictures(member, settings)
    return {**asdict(export_onnx(member, path, pictures)), "compared_on": which}


def _int8(folder: Path, split: Any) -> dict[str, Any]:
    import onnxruntime

    from trainers import int8
    from trainers.latency import WARM_UP

    chosen = int8.drawn(split)
    int8.quantise(folder / ONNX, folder / INT8, chosen)
    compared = int8.compare(folder / ONNX, folder / INT8, split.val_images, split.val_labels, runs=RUNS)
    return {
        **asdict(compared),
        "accuracy_change": compared.accuracy_change,
        "calibration": {"pictures": len(chosen), "part": "train", "seed": int8.SEED},
        "warm_up": WARM_UP,
        "onnxruntime": onnxruntime.__version__,
    }


def _split(member: Any, settings: Settings) -> Any:
    """The pictures that the network was trained and validated on.

    Raises:
        SpecError: they are not here, or are others: some of the validation part may have been trained on.
    """
    from trainers.data import load

    try:
        split = load(member.config.dataset, settings.datasets, "cpu")
    except (OSError, ValueError) as error:
        raise SpecError(f"--int8 needs the pictures of the training: {error}") from error
    if split.fingerprint != member.data:
        raise SpecError(
            f"--int8 needs the pictures of the training: it saw pictures or a split {member.data}, and here are "
            f"{split.fingerprint}; restore the dataset as it was"
        )
    return split


def _pictures(member: Any, settings: Settings) -> tuple[Any, str]:
    """Pictures to compare answers over, and which they are: a checkpoint may be where its dataset is not."""
    import torch

    from trainers.data import load

    config = member.config.dataset.model_copy(update={"download": False})
    try:
        images = load(config, settings.datasets, "cpu").val_images[:COMPARED]
        if images.shape[1:] == member.shape:
            return images, "val"
    except (OSError, ValueError):
        pass
    noise = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (COMPARED, *member.shape), dtype=torch.uint8, generator=noise), "noise"


def _require_packages(*names: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise SpecError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'hpo-service[export]'")


def show(result: Mapping[str, Any]) -> None:
    """Print an export for people."""
    of = f"trial {result['trial']} of {result['study']}, " if result["study"] else ""
    shape = "x".join(map(str, result["shape"]))
    print(plain(f"checkpoint  {of}{result['checkpoint']}"))
    print(f"network     {result['model']}, {shape}, {len(result['classes'])} classes, SHA-256 {result['sha256']}")
    for each in result["files"]:
        print(plain(f"written     {each['file']} ({each['bytes']:,} bytes)"))
    if "onnx" in result:
        _show_onnx(result)
    if "int8" in result:
        _show_int8(result["int8"])


def _show_onnx(result: Mapping[str, Any]) -> None:
    onnx = result["onnx"]
    which = "validation pictures" if onnx["compared_on"] == "val" else "pictures of noise, for the dataset is not here"
    print(
        f"compared    with PyTorch over 1 and {onnx['pictures']} {which}: probabilities differ by "
        f"{onnx['difference']:.1g} at most, allowed is {onnx['tolerance']:g}"
    )
    if result["precision"] in ("bf16", "fp16"):
        print(f"precision   float32 in the file; trained in {result['precision']}, which `hpo predict` computes in")


def _show_int8(int8: Mapping[str, Any]) -> None:
    table = Table("", "bytes", "p50 ms", "p95 ms", "accuracy", box=None, padding=(0, 2, 0, 0))
    for name in ("float32", "int8"):
        side = int8[name]
        times = (f"{side['latency'][key]:.3f}" for key in ("p50_ms", "p95_ms"))
        table.add_row(name, f"{side['bytes']:,}", *times, number(side["accuracy"]))
    table.add_row("change", *(f"{ratio:.2f}x" for ratio in _ratios(int8)), f"{int8['accuracy_change']:+.4f}")
    print()
    Console(highlight=False).print(table)
    calibration, latency = int8["calibration"], int8["float32"]["latency"]
    print(
        f"accuracy    of {int8['pictures']} validation pictures: {int8['lost']} lost, {int8['gained']} gained by int8"
    )
    print(f"ranges      from {calibration['pictures']} training pictures, seed {calibration['seed']}")
    print(
        f"latency     one picture a call, {latency['n']} calls after {int8['warm_up']}, {int8['threads']} threads of "
        f"this processor, onnxruntime {int8['onnxruntime']}"
    )


def _ratios(int8: Mapping[str, Any]) -> list[float]:
    before, after = int8["float32"], int8["int8"]
    times = [after["latency"][key] / before["latency"][key] for key in ("p50_ms", "p95_ms")]
    return [after["bytes"] / before["bytes"], *times]
