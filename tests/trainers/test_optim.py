from __future__ import annotations

import pytest
import torch
from torch import nn

from trainers.average import Ema
from trainers.config import EarlyStopping, TrainConfig
from trainers.optim import adopt, build_optimizer, peak_lr
from trainers.patience import Patience

LEAST = {"model": "linear", "dataset": "digits"}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_norms_and_biases_decay_only_when_asked_for(optimizer):
    for decay_norms in (True, False):
        model = network()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1.0)
        config = TrainConfig(
            **LEAST, optimizer=optimizer, weight_decay=0.1, decay_norms=decay_norms, lr=0.1, momentum=0
        )
        moving = build_optimizer(config, model, device=torch.device("cpu"))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        moving.step()
        shrunk = {name for name, parameter in model.named_parameters() if parameter.mean() < 0.9999}
        everything = {name for name, _ in model.named_parameters()}
        assert shrunk == (everything if decay_norms else {"0.weight", "4.weight"})


def test_the_learning_rate_grows_with_the_batch_where_a_reference_is_given():
    assert peak_lr(TrainConfig(**LEAST, lr=0.1, batch_size=512)) == 0.1
    assert peak_lr(TrainConfig(**LEAST, lr=0.1, batch_size=512, reference_batch=256)) == pytest.approx(0.2)


def test_the_average_follows_its_formula():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = Ema(model, decay=0.5)
    expected = model[0].weight.detach().clone()
    for update in range(1, 30):
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[1].num_batches_tracked.add_(1)
        ema.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected += (1 - decay) * (model[0].weight.detach() - expected)
    assert torch.allclose(ema.model[0].weight, expected, atol=1e-5)
    assert int(ema.model[1].num_batches_tracked) == 29
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


@pytest.mark.parametrize(
    ("monitor", "curve", "end"),
    [
        ("val/accuracy", [0.5, 0.6, 0.6005, 0.59, 0.6, 0.9], 4),
        ("val/accuracy", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None),
        ("val/loss", [2.0, 1.0, 1.1, 0.9995, 1.2, 0.1], 4),
    ],
)
def test_patience_ends_after_three_epochs_without_a_gain(monitor, curve, end):
    patience = Patience(EarlyStopping(patience=3, min_delta=0.001, monitor=monitor))
    lost = []
    for value in curve:
        patience.watch({monitor: value})
        lost.append(patience.lost)
    assert lost.index(True) if end else not any(lost)
    assert end is None or lost.index(True) == end


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_state_of_another_kind_of_device_goes_on_here(optimizer):
    """Meta tensors stand in for a GPU's: what counts is which flags and rates are kept, and where counters lie."""
    config = TrainConfig(**LEAST, optimizer=optimizer, lr=0.1)
    model = network()
    there = build_optimizer(config, model, device=torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    there.step()
    state = there.state_dict()
    for group in state["param_groups"]:  # as a GPU's would be
        group.update(lr=torch.tensor(0.05), fused=True, capturable=optimizer != "sgd")
    here = build_optimizer(config, model, device=torch.device("cpu"))
    adopt(here, state)
    assert here.param_groups[0]["lr"] == pytest.approx(0.05)
    assert not isinstance(here.param_groups[0]["lr"], torch.Tensor)
    assert not here.param_groups[0]["fused"]
    here.step()
    assert state["param_groups"][0]["fused"], "the caller's state was changed"
