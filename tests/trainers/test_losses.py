from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from trainers.config import LossConfig
from trainers.losses import Loss

WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.1])


def mean(loss, logits, *labels):
    return loss.sum(logits, *labels) / loss.weight(*labels)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return 3 * torch.randn(40, 4), torch.arange(40) % 4


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("config", [LossConfig(), LossConfig(name="focal", gamma=0)], ids=["cross entropy", "gamma 0"])
def test_cross_entropy_is_torchs(batch, config, smoothing, weights):
    found = mean(Loss(config, label_smoothing=smoothing, weights=weights), *batch)
    expected = functional.cross_entropy(*batch, weight=weights, label_smoothing=smoothing)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_follows_its_formula(batch):
    logits, labels = batch
    p = logits.softmax(dim=1)[torch.arange(40), labels]
    each = 0.25 * (1 - p) ** 2 * -p.log()
    config = LossConfig(name="focal", gamma=2, alpha=0.25)
    assert mean(Loss(config, label_smoothing=0, weights=None), *batch).item() == pytest.approx(
        each.mean().item(), rel=1e-5
    )
    weighted = (each * WEIGHTS[labels]).sum() / WEIGHTS[labels].sum()
    found = mean(Loss(config, label_smoothing=0, weights=WEIGHTS), *batch)
    assert found.item() == pytest.approx(weighted.item(), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 10])
def test_focal_at_the_start_of_a_training(classes):
    logits, labels = torch.zeros(8, classes), torch.zeros(8, dtype=torch.long)
    found = mean(Loss(LossConfig(name="focal"), label_smoothing=0, weights=None), logits, labels)
    assert found.item() == pytest.approx((1 - 1 / classes) ** 2 * math.log(classes), rel=1e-5)


def test_a_sure_picture_has_a_finite_gradient():
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    mean(
        Loss(LossConfig(name="focal", gamma=0.5), label_smoothing=0, weights=None), logits, torch.tensor([0])
    ).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_parts_add_up_to_the_whole(batch, weights):
    logits, labels = batch
    others, share = labels.flip(0), torch.linspace(0, 1, 40)
    loss = Loss(LossConfig(name="focal"), label_smoothing=0.1, weights=weights)
    whole = mean(loss, logits, labels, others, share)
    cuts = [slice(0, 13), slice(13, 40)]
    total = sum(loss.sum(logits[cut], labels[cut], others[cut], share[cut]) for cut in cuts)
    weight = sum(loss.weight(labels[cut], others[cut], share[cut]) for cut in cuts)
    assert float(total / weight) == pytest.approx(whole.item(), rel=1e-6)


def test_mixed_labels_are_weighed_by_their_share(batch):
    logits, labels = batch
    others, share = labels.flip(0), torch.full((40,), 0.3)
    loss = Loss(LossConfig(), label_smoothing=0, weights=None)
    expected = 0.3 * mean(loss, logits, labels) + 0.7 * mean(loss, logits, others)
    assert mean(loss, logits, labels, others, share).item() == pytest.approx(expected.item(), rel=1e-6)
