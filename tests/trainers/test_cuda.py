"""What only a GPU shows: steps captured as graphs, precisions, memory that runs out, compiling. Skipped without one."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import pytest
import torch

from trainers.checkpoint import load, save
from trainers.checks.bench import Bench
from trainers.checks.memory import largest, memory
from trainers.config import TrainConfig
from trainers.graph import Captured
from trainers.train import Trainer

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch about itself, in what compiling imports
]


@pytest.fixture
def on_card(tmp_path: Path):
    """Build a trainer on the GPU: digits, eight steps an epoch."""

    def make(*, seed: int = 0, **changes) -> Trainer:
        options = {
            "model": "lightweight_cnn",
            "dataset": "digits",
            "epochs": 2,
            "max_batches": 8,
            "batch_size": 64,
            "augment": "none",
            "precision": "fp32",
            "compile": "never",
            "lr": 0.05,
        }
        return Trainer(TrainConfig(**options | changes), seed=seed, data_folder=tmp_path, device="cuda")

    return make


def eager(trainer: Trainer) -> Trainer:
    trainer._step._run = trainer._step._once
    return trainer


def captured(trainer: Trainer) -> bool:
    run = trainer._step._run
    return isinstance(run, Captured) and run._graph is not None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adamw", "grad_clip": 1.0, "ema": 0.9},
        {"dropout": 0.3, "augment": "heavy"},
        {"augment": {"level": "light", "mixup": 0.2, "cutmix": 1.0}, "accumulate": 2},
        {"lr_schedule": "onecycle", "precision": "bf16"},
        {"lr_schedule": {"name": "cosine", "warmup_epochs": 1}, "optimizer": "adam"},
    ],
    ids=str,
)
def test_a_captured_training_is_the_same_training(on_card, weights, options):
    graph, plain = on_card(deterministic=True, **options), eager(on_card(deterministic=True, **options))
    one, other = list(graph.fit()), list(plain.fit())
    assert captured(graph)
    assert not captured(plain)
    for key in ("train/loss", "val/loss", "val/accuracy", "lr"):
        assert [epoch[key] for epoch in one] == pytest.approx([epoch[key] for epoch in other], rel=1e-3, abs=1e-4)
    assert torch.allclose(weights(graph), weights(plain), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_deterministic_training_resumes_bit_for_bit(tmp_path, on_card, weights, optimizer):
    options = {"optimizer": optimizer, "deterministic": True, "dropout": 0.2, "augment": "standard", "epochs": 3}
    whole, first, second = on_card(**options), on_card(**options), on_card(**options)
    list(whole.fit())
    next(first.fit())
    digest = save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(load(tmp_path / "state.pt", digest))
    list(second.fit())
    assert torch.equal(weights(whole), weights(second))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_learns(on_card, precision):
    trainer = on_card(precision=precision, epochs=4, max_batches=None)
    epochs = list(trainer.fit())
    assert all(math.isfinite(epoch["train/loss"]) for epoch in epochs)
    assert epochs[-1]["val/accuracy"] > 0.6
    assert epochs[-1]["peak_memory_mb"] > 1


def test_frozen_stages_thaw_in_a_captured_training(tmp_path, on_card):
    donor = on_card(model="resnet18", epochs=1)
    torch.save(donor.model.state_dict(), tmp_path / "donor.pt")
    transfer = {"weights": str(tmp_path / "donor.pt"), "freeze_epochs": 1, "unfreeze_every": 1}
    epochs = list(on_card(model="resnet18", transfer=transfer, epochs=3).fit())
    assert all(math.isfinite(epoch["train/loss"]) for epoch in epochs)


def test_memory_that_runs_out_halves_the_parts(on_card):
    options = {"model": "resnet18", "dataset": "digits", "batch_size": 1024, "max_batches": 5, "epochs": 1}
    list(on_card(**options).fit())
    peak = torch.cuda.max_memory_allocated()
    gc.collect()  # a captured step and its trainer hold each other
    torch.cuda.empty_cache()
    kept = torch.cuda.memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((kept + 0.6 * (peak - kept)) / total)
    try:
        (epoch,) = on_card(**options).fit()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert epoch["batch_parts"] >= 2
    assert math.isfinite(epoch["train/loss"])


def test_trials_that_differ_in_rates_share_what_was_compiled(on_card):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    first = on_card(compile="always", precision="bf16", lr=0.1, dropout=0.1)
    list(first.fit())
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    assert captured(first)
    for seed, (lr, dropout, decay) in enumerate([(0.2, 0.3, 0.0), (0.01, 0.2, 1e-2)]):
        list(on_card(compile="always", precision="bf16", seed=seed, lr=lr, dropout=dropout, weight_decay=decay).fit())
    assert counters["stats"]["unique_graphs"] == before


def test_the_check_makes_the_largest_step(tmp_path, on_card):
    trainer = on_card()
    bench = Bench(trainer)
    config = trainer.config.model_copy(update={"model": "resnet18", "batch_size": 512})
    most = largest([config], torch.cuda.mem_get_info()[0])
    found = memory(bench, most, room=torch.cuda.mem_get_info()[0], at_once=1, folder=tmp_path)
    assert found.verdict == "pass", found.said
    assert 50e6 < found.details["peak"] < 20e9
    tight = memory(bench, most, room=int(1.5 * found.details["peak"]), at_once=2, folder=tmp_path)
    assert tight.verdict == "warn"
