"""A batch in parts equals the whole, and memory that runs out halves the parts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from capturable import Capturable
from torch import nn

from trainers.config import TrainConfig
from trainers.precision import switches
from trainers.train import Trainer


class Hungry(nn.Module):
    """Has memory for so many pictures at a time."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if self.training and len(images) > self.most:
            raise torch.OutOfMemoryError(f"{len(images)} pictures")
        return self.inner(images)


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": {"name": "focal", "class_weights": "balanced"}}, {"augment": {"level": "light", "mixup": 0.5}}],
)
def test_accumulated_parts_equal_the_whole_batch(trainer, weights, options):
    """The linear model has no batch norm, which would see a part at a time."""
    base = {"model": "linear", "batch_size": 32, "epochs": 2, "max_batches": None} | options
    whole, parts = trainer(**base), trainer(**base, accumulate=5)
    found = [list(each.fit())[-1] for each in (whole, parts)]
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)
    assert found[0]["train/loss"] == pytest.approx(found[1]["train/loss"], rel=1e-5)
    assert (found[0]["batch_parts"], found[1]["batch_parts"]) == (1, 5)


def test_memory_that_runs_out_halves_the_parts_and_nothing_is_lost(trainer, weights):
    base = {"model": "linear", "batch_size": 32, "epochs": 2, "max_batches": None}
    roomy, tight = trainer(**base), trainer(**base)
    tight._step._forward = hungry = Hungry(tight.model, most=9)
    assert [epoch["batch_parts"] for epoch in tight.fit()] == [4, 4]
    assert sorted(set(hungry.seen), reverse=True)[:2] == [32, 16]
    list(roomy.fit())
    assert torch.allclose(weights(roomy), weights(tight), atol=1e-5)
    resumed = trainer(**base)
    resumed.load_state_dict(tight.state_dict())
    assert resumed.state_dict()["batch_parts"] == 4, "a resumed trial would run out of memory again"


BOUNDED = """
import resource, sys, torch
from pathlib import Path
from trainers.config import TrainConfig
from trainers.train import Trainer

torch.set_num_threads(1)
config = {"model": "custom_cnn", "dataset": {"name": "digits", "image_size": 32}, "batch_size": 1024, "epochs": 1}
training = Trainer(TrainConfig.model_validate(config), seed=0, data_folder=Path(sys.argv[1]), device="cpu")
epochs = training.fit()
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 400 * 2**20, resource.RLIM_INFINITY))
print(next(epochs)["batch_parts"])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the pages of a Linux process")
def test_a_host_without_memory_computes_in_parts_as_well(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(float(done.stdout)) >= 2


def test_memory_for_less_than_two_pictures_is_an_error(trainer):
    training = trainer(model="linear", batch_size=32)
    training._step._forward = Hungry(training.model, most=1)
    with pytest.raises(torch.OutOfMemoryError):
        next(training.fit())


def test_memory_that_runs_out_on_a_shared_device_is_an_error(trainer, tmp_path):
    config = trainer(model="linear", batch_size=32).config
    training = Trainer(config, seed=0, data_folder=tmp_path, device="cpu", shares_device=True)
    training._step._forward = Hungry(training.model, most=9)
    with pytest.raises(torch.OutOfMemoryError, match="32 pictures"):
        next(training.fit())


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "heavy"},
        {"augment": {"level": "light", "mixup": 0.2, "cutmix": 1.0}},
        {"model": "densenet_bc", "depth": 10, "grad_clip": 1.0, "precision": "bf16"},
        {"loss": {"name": "focal", "class_weights": "balanced"}, "accumulate": 4, "label_smoothing": 0.1},
    ],
    ids=str,
)
def test_a_step_waits_for_nothing_that_a_captured_graph_could_not_hold(trainer, options):
    training = trainer(**options)
    images, labels = training.split.train_images[:32], training.split.train_labels[:32]
    training.model.train()
    for _ in range(2):  # tables and momentum are made in the first steps, which are not captured
        training._step(images, labels)
    with Capturable(training._step.generator):
        training._step._once(images, labels)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_learns(trainer, precision):
    training = trainer(dataset="digits", epochs=2, max_batches=None, batch_size=64, precision=precision)
    assert list(training.fit())[-1]["val/accuracy"] > 0.8, "chance is 0.1"


def test_switches_are_put_back():
    config = TrainConfig(model="linear", dataset="digits", deterministic=True)
    with switches(config, torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_and_timed_algorithms_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        TrainConfig(model="linear", dataset="digits", deterministic=True, cudnn_benchmark=True)
