"""An ONNX file in 8-bit integers, and what that costs and brings, measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from trainers.data import Split
from trainers.evaluate import evaluation_batch
from trainers.folders import replaced
from trainers.latency import Latency, time_calls
from trainers.onnxfile import INPUT, answers, described, session

__all__ = ["CALIBRATION", "SEED", "Compared", "Side", "compare", "drawn", "quantise"]

CALIBRATION = 256
"""Training pictures that the ranges of activations are read from."""
SEED = 0
"""Of their choice."""
_BATCH = 32
_EXACT = ("BatchNormalization", "Softmax")
"""Stay in float32: batch norm has a scale per channel that 8 bits flatten, probabilities would be steps of 1/256."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One file, measured."""

    bytes: int
    latency: Latency
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The file in float32 and the one in 8-bit integers."""

    float32: Side
    int8: Side
    pictures: int
    """that both were scored on"""
    lost: int
    """of them that float32 alone has right"""
    gained: int
    """that int8 alone has right"""
    threads: int
    """of the processor, for either latency"""

    @property
    def accuracy_change(self) -> float:
        return self.int8.accuracy - self.float32.accuracy


def drawn(split: Split, count: int = CALIBRATION, seed: int = SEED) -> Tensor:
    """Choose training pictures (N, C, H, W), uint8; all where there are no more than `count`."""
    order = torch.randperm(len(split.train_images), generator=torch.Generator().manual_seed(seed))
    return split.train_images[order[:count].to(split.train_images.device)].cpu()


def quantise(source: Path, path: Path, pictures: Tensor) -> None:
    """Write the ONNX file `source` as int8: static, QDQ, a scale per channel of a weight, ranges from `pictures`.

    Inputs, outputs and metadata stay. Raises OSError where the disk is full; `path` then stands as before.
    """
    with TemporaryDirectory(prefix="hpo-int8-") as name:
        ready, done = Path(name) / "ready.onnx", Path(name) / "int8.onnx"
        quant_pre_process(source, ready, skip_symbolic_shape=True)  # the shapes of these networks are known
        quantize_static(
            ready,
            done,
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_exact(onnx.load(ready)),
        )
        model = described(_trimmed(onnx.load(done)), {"quantised": f"int8, ranges from {len(pictures)} pictures"})
    onnx.checker.check_model(model, full_check=True)
    with replaced(path) as beside:
        beside.write_bytes(model.SerializeToString())


def compare(float32: Path, int8: Path, images: Tensor, labels: Tensor, *, runs: int) -> Compared:
    """Score both files on labelled pictures, uint8 on the CPU, and time `runs` calls for the first picture."""
    sides, right = [], []
    for path in (float32, int8):
        content = path.read_bytes()
        opened = session(content)
        right.append(_right(opened, images, labels))
        latency = time_calls(partial(answers, opened, images[:1]), device="cpu", batch=1, runs=runs)
        sides.append(Side(bytes=len(content), latency=latency, accuracy=float(right[-1].mean())))
    return Compared(
        float32=sides[0],
        int8=sides[1],
        pictures=len(images),
        lost=int((right[0] & ~right[1]).sum()),
        gained=int((right[1] & ~right[0]).sum()),
        threads=torch.get_num_threads(),
    )


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Batches of pictures, as calibration asks for them."""

    def __init__(self, pictures: Tensor) -> None:
        self._batches: Iterator[Tensor] = iter(torch.split(pictures, _BATCH))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def _exact(model: Any) -> Sequence[str]:
    """Nodes that stay in float32: those of kinds that lose by it, and the scaling before the first layer."""
    nodes = list(model.graph.node)
    first = next(place for place, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm", "MatMul"))
    return [node.name for place, node in enumerate(nodes) if place < first or node.op_type in _EXACT]


def _trimmed(model: Any) -> Any:
    """Take away the operator sets that no node is of: other runtimes refuse those that they do not know."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _right(opened: Any, images: Tensor, labels: Tensor) -> np.ndarray[Any, np.dtype[np.bool_]]:
    size = evaluation_batch(*images.shape[-2:])
    said = np.concatenate([answers(opened, part).argmax(axis=1) for part in torch.split(images, size)])
    right: np.ndarray[Any, np.dtype[np.bool_]] = said == labels.numpy()
    return right
