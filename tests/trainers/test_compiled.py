"""Compiling: shared by trials, never in the way, only where it pays. Traced without code generation, to be quick."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from trainers.compiled import Compiled, worth_compiling
from trainers.models import build


def compiled_trainer(trainer, backend="aot_eager", **options):
    training = trainer(batch_size=32, max_batches=4, epochs=1, **options)
    training._step.compile(backend=backend)
    return training


def test_a_compiled_training_is_the_same_training(trainer, weights):
    torch._dynamo.reset()
    plain, compiled = trainer(batch_size=32, max_batches=4, epochs=1), compiled_trainer(trainer)
    one, other = next(plain.fit()), next(compiled.fit())
    assert torch.allclose(weights(plain), weights(compiled), atol=1e-5)
    assert one["val/loss"] == pytest.approx(other["val/loss"], rel=1e-4)


@pytest.mark.parametrize("model", ["lightweight_cnn", "densenet_bc"])
def test_trials_that_differ_in_rates_share_what_was_compiled(trainer, model):
    torch._dynamo.reset()
    options = {"model": model} | ({"depth": 10} if model == "densenet_bc" else {})
    next(compiled_trainer(trainer, lr=0.1, dropout=0.1, weight_decay=1e-4, **options).fit())
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    for seed, (lr, dropout, decay) in enumerate([(0.2, 0.3, 0.0), (0.01, 0.2, 1e-2)]):
        next(compiled_trainer(trainer, seed=seed, lr=lr, dropout=dropout, weight_decay=decay, **options).fit())
    assert counters["stats"]["unique_graphs"] == before


def test_without_a_compiler_the_network_runs_as_it_is(trainer, weights):
    torch._dynamo.reset()

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    training = compiled_trainer(trainer, backend=broken)
    with pytest.warns(UserWarning, match="cannot be compiled here and runs as it is"):
        next(training.fit())
    plain = trainer(batch_size=32, max_batches=4, epochs=1)
    next(plain.fit())
    assert torch.equal(weights(plain), weights(training))


def test_running_out_of_memory_is_no_fault_of_the_compiler():
    torch._dynamo.reset()

    class Hungry(torch.nn.Module):
        def forward(self, images):
            raise torch.OutOfMemoryError("too many")

    compiled = Compiled(Hungry(), backend="eager")
    compiled._compiled = Hungry()
    with pytest.raises(torch.OutOfMemoryError):
        compiled(torch.zeros(2))


def test_compiling_pays_for_long_searches_only():
    """Measured on an H100: DenseNet-121 takes 7.6 s an epoch and 130 s to compile, ResNet-18 1.3 s and 30 s."""
    with torch.device("meta"):
        dense = build("densenet121", input_shape=(3, 32, 32), classes=10, dropout=0)
        residual = build("resnet18", input_shape=(3, 32, 32), classes=10, dropout=0)
    assert not worth_compiling(dense, epoch_seconds=7.6, epochs=30)
    assert worth_compiling(dense, epoch_seconds=7.6, epochs=64 * 30)
    assert not worth_compiling(residual, epoch_seconds=1.3, epochs=30)
    assert worth_compiling(residual, epoch_seconds=1.3, epochs=64 * 30)


def test_what_the_process_has_compiled_does_not_change_a_training_on_a_cpu(trainer):
    always = trainer(compile="always")
    assert always._compiled
    assert not trainer()._compiled
    assert not trainer(deterministic=True)._compiled
