"""An ONNX file answers as PyTorch does, for any number of stored pictures, or there is none of that name."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from trainers.checkpoint import digest, save
from trainers.int8 import compare, drawn, quantise
from trainers.onnxfile import TOLERANCE, ExportError, answers, export_onnx, session
from trainers.predict import Predictor

NETWORKS = [
    {"model": "lightweight_cnn_gap", "precision": "bf16"},
    {"model": "densenet_bc", "depth": 10, "growth": 4, "batch_size": 16, "dropout": 0.1, "ema": 0.9},
]


@pytest.fixture
def trained(trainer, tmp_path):
    """Train on digits; returns the training and the predictor of its checkpoint."""

    def make(**options):
        training = trainer(**options)
        list(training.fit())
        save(training.state_dict(), tmp_path / "state.pt")
        return training, Predictor.load([tmp_path / "state.pt"], device="cpu")

    return make


@pytest.mark.parametrize("options", NETWORKS, ids=lambda each: each["model"])
def test_the_file_answers_as_pytorch_does_and_says_what_it_is(trained, tmp_path, options):
    training, predictor = trained(**options)
    images = training.split.val_images
    checked = export_onnx(predictor, tmp_path / "model.onnx", images[:16])
    assert (checked.pictures, checked.tolerance) == (16, TOLERANCE)
    assert 0 <= checked.difference <= TOLERANCE
    content = (tmp_path / "model.onnx").read_bytes()
    allowed = 2e-2 if options.get("precision") == "bf16" else TOLERANCE  # the file computes in float32
    for count in (1, 3, len(images)):
        found = answers(session(content, threads=1), images[:count])
        assert found.shape == (count, 10)
        assert np.abs(found - predictor.probabilities(images[:count]).numpy()).max() <= allowed

    model = onnx.load(tmp_path / "model.onnx")
    facts = {each.key: each.value for each in model.metadata_props}
    (member,) = predictor.members
    assert json.loads(facts["classes"]) == list(predictor.classes)
    assert json.loads(facts["shape"]) == [1, 8, 8]
    assert json.loads(facts["mean"]) == list(member.mean)
    assert (facts["data"], facts["checkpoint_sha256"]) == (member.data, digest(tmp_path / "state.pt"))
    (given,), (said,) = model.graph.input, model.graph.output
    assert (given.name, given.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert (said.name, said.type.tensor_type.elem_type) == ("predictions", onnx.TensorProto.FLOAT)
    assert [each.type.tensor_type.shape.dim[0].dim_param for each in (given, said)] == ["batch", "batch"]
    assert b".py" not in content, "the exporter notes source lines with their paths"


def test_a_file_that_answers_otherwise_is_not_written(trained, tmp_path):
    training, predictor = trained()
    path, images = tmp_path / "out" / "model.onnx", training.split.val_images[:4]
    path.parent.mkdir()
    path.write_bytes(b"as it was")
    with pytest.raises(ExportError, match=r"differ by .* in a probability, more than 1e-12"):
        export_onnx(predictor, path, images, tolerance=1e-12)
    with torch.no_grad():
        predictor.members[0].model.head.bias.fill_(float("nan"))
    with pytest.raises(ExportError, match="differ by nan"):
        export_onnx(predictor, path, images)
    assert path.read_bytes() == b"as it was"
    assert list(path.parent.iterdir()) == [path]


def test_int8_is_measured_against_what_it_was_made_of(trained, tmp_path):
    training, predictor = trained(**NETWORKS[1] | {"epochs": 4, "max_batches": None, "ema": None, "batch_size": 8})
    split, files = training.split, (tmp_path / "model.onnx", tmp_path / "model.int8.onnx")
    export_onnx(predictor, files[0], split.val_images[:8])
    chosen = drawn(split, 64)
    assert torch.equal(chosen, drawn(split, 64))
    assert not torch.equal(chosen, drawn(split, 64, seed=1))
    rows = {picture.numpy().tobytes() for picture in split.train_images}
    assert all(picture.numpy().tobytes() in rows for picture in chosen)
    quantise(*files, chosen)

    found = compare(*files, split.val_images, split.val_labels, runs=10)
    assert (found.float32.bytes, found.int8.bytes) == tuple(each.stat().st_size for each in files)
    assert (found.float32.latency.n, found.int8.latency.batch) == (10, 1)
    assert found.threads == torch.get_num_threads()
    right = predictor.probabilities(split.val_images).argmax(1) == split.val_labels
    assert found.float32.accuracy == pytest.approx(float(right.float().mean()))
    assert found.accuracy_change == pytest.approx((found.gained - found.lost) / found.pictures)
    assert found.pictures == len(split.val_images)
    assert found.int8.accuracy > 0.5, "chance is 0.1"

    one, other = (onnx.load(each) for each in files)
    kinds = [node.op_type for node in other.graph.node]
    assert kinds.count("QuantizeLinear") > 5
    weights = [each for each in other.graph.initializer if each.data_type == onnx.TensorProto.INT8 and len(each.dims)]
    assert sum(np.prod(each.dims) for each in weights) > 1000
    facts = {each.key: each.value for each in other.metadata_props}
    assert facts["quantised"] == "int8, ranges from 64 pictures"
    assert {each.key: each.value for each in one.metadata_props}.items() <= facts.items()
    assert {each.domain for each in other.opset_import} == {""}
