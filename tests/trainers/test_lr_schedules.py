from __future__ import annotations

import math

import pytest
import torch
from pydantic import TypeAdapter
from torch.optim import SGD, lr_scheduler

from trainers.config import CosineSchedule, Schedule
from trainers.schedule import LrSchedule, lr_factor

STEPS, EPOCHS = 5, 12
TOTAL = STEPS * EPOCHS


def factors(**schedule):
    config = TypeAdapter(Schedule).validate_python(schedule)
    return [lr_factor(config, step, STEPS, EPOCHS) for step in range(TOTAL)]


def torch_factors(make, *, every=1):
    """What torch's own scheduler does to a learning rate of 1, stepped after `every` batches."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for step in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0 and step + 1 < TOTAL:
            scheduler.step()
    return found


def test_constant():
    assert factors(name="constant") == [1.0] * TOTAL


def test_step_equals_torch():
    expected = torch_factors(lambda optimizer: lr_scheduler.StepLR(optimizer, 5, gamma=0.2), every=STEPS)
    assert factors(name="step", step_epochs=5, gamma=0.2) == pytest.approx(expected)


def test_multistep_equals_torch():
    expected = torch_factors(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [6, 9], gamma=0.1), every=STEPS)
    assert factors(name="multistep", milestones=[0.5, 0.75], gamma=0.1) == pytest.approx(expected)


def test_cosine_equals_torch():
    expected = torch_factors(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, TOTAL, eta_min=0.1))
    assert factors(name="cosine", final_lr_fraction=0.1) == pytest.approx(expected)


def test_cosine_after_a_warmup():
    found = factors(name="cosine", warmup_epochs=2)
    warmup = 2 * STEPS
    assert found[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    length = TOTAL - warmup
    assert found[warmup:] == pytest.approx([(1 + math.cos(math.pi * t / length)) / 2 for t in range(length)])


def test_onecycle_equals_torch():
    expected = torch_factors(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=TOTAL, pct_start=3 / EPOCHS, cycle_momentum=False
        )
    )
    assert factors(name="onecycle", warmup_epochs=3) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "step", "multistep", "cosine", "onecycle"])
@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (1, 2), (7, 3)])
def test_never_zero_nor_above_the_peak(name, steps, epochs):
    options = {"warmup_epochs": 0.5} if name in ("cosine", "onecycle") else {}
    config = TypeAdapter(Schedule).validate_python({"name": name, **options})
    found = [lr_factor(config, step, steps, epochs) for step in range(steps * epochs)]
    assert all(0 < factor <= 1 for factor in found)


def test_plateau_equals_torch():
    losses = [1.0, 0.8, 0.8, 0.9, 0.85, 0.7, 0.7, 0.7, 0.71, 0.72, 0.6, 0.9]
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0)
    config = TypeAdapter(Schedule).validate_python({"name": "plateau", "patience_epochs": 1, "gamma": 0.5})
    schedule = LrSchedule(config, steps_per_epoch=STEPS, epochs=EPOCHS)
    for epoch, loss in enumerate(losses):
        assert schedule.factor(epoch, 0) == pytest.approx(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
        schedule.after_epoch(loss)
    assert optimizer.param_groups[0]["lr"] == 0.125, "three drops were to be compared"


def test_a_closed_form_ignores_the_loss():
    schedule = LrSchedule(TypeAdapter(Schedule).validate_python({"name": "cosine"}), steps_per_epoch=5, epochs=2)
    before = schedule.factor(1, 2)
    schedule.after_epoch(1.0)
    schedule.after_epoch(2.0)
    assert schedule.factor(1, 2) == before == lr_factor(CosineSchedule(), 7, 5, 2)
