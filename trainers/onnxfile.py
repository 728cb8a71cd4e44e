"""A trained network as an ONNX file, which answers without this package: stored pictures in, probabilities out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from trainers.export import only_member
from trainers.folders import replaced
from trainers.predict import Member, Predictor

__all__ = ["INPUT", "OUTPUT", "TOLERANCE", "Checked", "ExportError", "answers", "described", "export_onnx", "session"]

INPUT = "images"
OUTPUT = "predictions"
TOLERANCE = 1e-4
"""Largest difference of a probability from PyTorch's. Sums of the same float32 in another order came to 1e-6 at most
with the networks here; a layer, a scale or a class that is wrong comes to 1e-2 and more."""
_ABOUT = {
    INPUT: "uint8, N x colours x height x width, as stored: 0 to 255, not scaled",
    OUTPUT: "float32, N x classes, probabilities in the order of classes",
}


class ExportError(ValueError):
    """A file that does not answer as the network does; none of that name was written."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """How near the file's answers are to PyTorch's, both in float32 on the CPU."""

    pictures: int
    """compared together, and the first of them alone"""
    difference: float
    """the largest of a probability"""
    tolerance: float
    opset: int


class _Answering(nn.Module):
    """The network between the scaling of stored pictures and softmax."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.network = member.model
        self.scale = member.normalise.stored

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.network(self.scale(images)).softmax(dim=1)
        return probabilities


def export_onnx(network: Member | Predictor, path: Path, pictures: Tensor, *, tolerance: float = TOLERANCE) -> Checked:
    """Write an ONNX file with input `images` and output `predictions`, both of any number of pictures.

    The scaling of pictures is in the graph; classes, shape, fingerprint of the data and hash of the checkpoint are in
    its metadata. Before the file takes its name, its answers for `pictures` (N, C, H, W), uint8 on the CPU, are
    compared with PyTorch's. Raises ExportError where they differ, ValueError for an ensemble, OSError where the disk is
    full; a file of that name then stands as before.
    """
    member = only_member(network)
    member = Member(member.state_dict(), device=torch.device("cpu"), sha256=member.sha256)
    answering = _Answering(member).eval()
    model = _traced(answering, member)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    checked = Checked(
        pictures=len(pictures),
        difference=_difference(answering, content, pictures),
        tolerance=tolerance,
        opset=max(each.version for each in model.opset_import if each.domain == ""),
    )
    if not checked.difference <= tolerance:  # not a number is no agreement
        raise ExportError(
            f"ONNX and PyTorch differ by {checked.difference:.2g} in a probability, more than {tolerance:g}: "
            f"{path} was not written"
        )
    with replaced(path) as beside:
        beside.write_bytes(content)
    return checked


def described(model: Any, facts: dict[str, str]) -> Any:
    """Add facts to a model's metadata, over those of the same name."""
    known = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, known | facts)
    return model


def session(content: bytes, *, threads: int | None = None) -> Any:
    """Open an ONNX model on the CPU, with as many threads as torch has unless it is said."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def answers(opened: Any, pictures: Tensor) -> npt.NDArray[np.float32]:
    """What a session says to stored pictures: (N, classes)."""
    found: npt.NDArray[np.float32] = opened.run([OUTPUT], {INPUT: pictures.numpy()})[0]
    return found


def _traced(answering: nn.Module, member: Member) -> Any:
    example = torch.zeros(2, *member.shape, dtype=torch.uint8)  # a batch of one would be taken for a fixed size
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        answering,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    facts = {
        "classes": json.dumps(member.classes),
        "shape": json.dumps(member.shape),
        "mean": json.dumps(member.mean),
        "std": json.dumps(member.std),
        "data": member.data,
        "checkpoint_sha256": member.sha256 or "",
        "model": member.config.model,
        "precision": f"float32, trained in {member.config.precision}",
    }
    return described(_bare(program.model_proto), facts | _ABOUT)


def _bare(model: Any) -> Any:
    """Take away what the exporter noted of every node: source lines with their paths on this machine."""
    graph = model.graph
    for each in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""
    return model


@torch.no_grad()
def _difference(answering: nn.Module, content: bytes, pictures: Tensor) -> float:
    opened = session(content)
    batches = (pictures[:1], pictures)
    found = [np.abs(answers(opened, each) - answering(each).numpy()).max() for each in batches]
    return float(np.max(found))
