"""What is exported answers as the training's own network does, and nothing half written is taken for it."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainers.checkpoint import CheckpointError, digest, save
from trainers.export import CONFIG, WEIGHTS, load_weights, save_weights
from trainers.latency import measure
from trainers.predict import Predictor

SMALL = {"model": "lightweight_cnn"}
DENSE = {"model": "densenet_bc", "depth": 10, "growth": 4, "batch_size": 16}


@pytest.fixture
def checkpoint(trainer, tmp_path):
    """Train on digits for two short epochs; returns the state file and the validation pictures."""

    def make(name: str = "state.pt", seed: int = 0, **options):
        training = trainer(seed=seed, **options)
        list(training.fit())
        save(training.state_dict(), tmp_path / name)
        return tmp_path / name, training.split.val_images

    return make


@pytest.mark.parametrize(
    "options", [SMALL, {**SMALL, "ema": 0.9}, {**SMALL, "precision": "bf16"}, DENSE], ids=["cnn", "ema", "bf16", "bc"]
)
def test_weights_come_back_bit_for_bit(checkpoint, tmp_path, options):
    path, images = checkpoint(**options)
    predictor = Predictor.load([path], device="cpu")
    written = save_weights(predictor, tmp_path / "out")
    assert written == [tmp_path / "out" / WEIGHTS, tmp_path / "out" / CONFIG]
    assert {stat.S_IMODE(each.stat().st_mode) for each in written} == {0o600}
    found = load_weights(tmp_path / "out", "cpu")
    assert torch.equal(found.log_probabilities(images), predictor.log_probabilities(images))
    (member,) = found.members
    assert (member.sha256, member.data, member.config) == (
        digest(path),
        predictor.members[0].data,
        predictor.members[0].config,
    )
    assert found.classes == predictor.classes
    save_weights(member, tmp_path / "again")
    assert all((tmp_path / "again" / each.name).read_bytes() == each.read_bytes() for each in written)


def test_weights_can_be_used_without_this_package(checkpoint, tmp_path):
    path, images = checkpoint(model="linear")
    predictor = Predictor.load([path], device="cpu")
    save_weights(predictor, tmp_path / "out")
    described = json.loads((tmp_path / "out" / CONFIG).read_text())
    mean, std = (torch.tensor(described["input"][key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    weight, bias = load_file(tmp_path / "out" / WEIGHTS).values()
    weight, bias = (weight, bias) if weight.ndim == 2 else (bias, weight)
    logits = ((images / 255 - mean) / std).flatten(1) @ weight.T + bias
    assert torch.allclose(logits.softmax(1), predictor.probabilities(images), atol=1e-6)


def test_files_that_do_not_belong_together_are_refused(checkpoint, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read .*`hpo export --torch` writes it"):
        load_weights(out)
    save_weights(Predictor.load([checkpoint(seed=1)[0]], device="cpu"), out)
    other = (out / WEIGHTS).read_bytes()
    save_weights(Predictor.load([checkpoint()[0]], device="cpu"), out)
    whole, described = (out / WEIGHTS).read_bytes(), (out / CONFIG).read_text()
    for wrong in (other, whole[:-1], b""):
        (out / WEIGHTS).write_bytes(wrong)
        with pytest.raises(CheckpointError, match=r"safetensors is not the file that config\.json was written for"):
            load_weights(out)
    for wrong, said in (("{", "not readable JSON"), ("{}", "no export of format 1"), ('{"format": 1}', "lacks check")):
        (out / CONFIG).write_text(wrong)
        with pytest.raises(CheckpointError, match=said):
            load_weights(out)
    save_file({"head.weight": torch.zeros(2)}, out / WEIGHTS)
    changed = json.loads(described)
    changed["weights"]["sha256"] = hashlib.sha256((out / WEIGHTS).read_bytes()).hexdigest()
    (out / CONFIG).write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="no network that can be built"):
        load_weights(out)


def test_an_average_is_no_network(checkpoint, tmp_path):
    paths = [checkpoint(f"{seed}.pt", seed)[0] for seed in (0, 1)]
    with pytest.raises(ValueError, match="average over 2 networks cannot be exported"):
        save_weights(Predictor.load(paths, device="cpu"), tmp_path / "out")
    with pytest.raises(ValueError, match="average over views of each picture"):
        save_weights(Predictor.load(paths[:1], device="cpu", tta=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_not_the_recorded_one_is_refused(checkpoint):
    from trainers.predict import Member

    path, _ = checkpoint()
    assert Member.load(path, digest(path), device=torch.device("cpu")).sha256 == digest(path)
    for wrong in ("0" * 64, ""):
        with pytest.raises(CheckpointError, match="not the recorded"):
            Member.load(path, wrong, device=torch.device("cpu"))


def test_latency_is_measured(checkpoint):
    predictor = Predictor.load([checkpoint()[0]], device="cpu")
    found = measure(predictor, batch=4, runs=20, warmup=2)
    assert (found.device, found.batch, found.n) == ("cpu", 4, 20)
    assert 0 < found.p50_ms <= found.p95_ms
    with pytest.raises(ValueError, match="batch 0"):
        measure(predictor, batch=0)
