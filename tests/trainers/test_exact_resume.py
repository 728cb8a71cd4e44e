from __future__ import annotations

from itertools import islice

import pytest
import torch

from trainers.checkpoint import load, save

TIMES = ("seconds", "images_per_second", "peak_memory_mb")
SCHEDULES = (
    "constant",
    {"name": "step", "step_epochs": 1},
    "multistep",
    {"name": "cosine", "warmup_epochs": 1},
    "onecycle",
    {"name": "plateau", "patience_epochs": 0},
)
EXTRAS = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "standard": {"augment": "standard"},
    "heavy and dropout": {"augment": "heavy", "dropout": 0.3},
    "mixed": {"augment": {"level": "light", "mixup": 0.2, "cutmix": 1.0}},
    "averaged": {"ema": 0.9, "dropout": 0.3},
    "focal": {"loss": {"name": "focal", "class_weights": "balanced"}},
    "in parts": {"accumulate": 3, "grad_clip": 1.0},
    "patient": {"early_stopping": {"patience": 2, "min_delta": 0.5}},
    "bf16": {"precision": "bf16"},
}


def untimed(epochs):
    return [{key: value for key, value in epoch.items() if key not in TIMES} for epoch in epochs]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("lr_schedule", SCHEDULES, ids=str)
def test_two_and_two_epochs_equal_four(tmp_path, trainer, weights, optimizer, lr_schedule):
    resumes_exactly(tmp_path, trainer, weights, optimizer=optimizer, lr_schedule=lr_schedule)


@pytest.mark.parametrize("extra", EXTRAS)
def test_whatever_else_is_switched_on(tmp_path, trainer, weights, extra):
    resumes_exactly(tmp_path, trainer, weights, **EXTRAS[extra])


def resumes_exactly(tmp_path, trainer, weights, **options):
    options = {"epochs": 4} | options
    whole = trainer(**options)
    expected = list(whole.fit())
    first = trainer(**options)
    found = list(islice(first.fit(), 2))
    torch.rand(7)  # what others draw meanwhile must not matter
    path = tmp_path / "state.pt"
    digest = save(first.state_dict(), path)
    second = trainer(**options)
    second.load_state_dict(load(path, digest))
    assert second.epoch == 2
    found += list(second.fit())
    assert untimed(found) == untimed(expected)
    assert torch.equal(weights(second), weights(whole))
    assert list(second.fit()) == [], "a finished training has nothing left to do"


def test_two_trainers_in_turns_do_not_disturb_each_other(trainer):
    alone = untimed(trainer(seed=1, dropout=0.3, epochs=3).fit())
    one, other = trainer(seed=1, dropout=0.3, epochs=3), trainer(seed=2, dropout=0.3, epochs=3)
    turns = list(zip(one.fit(), other.fit(), strict=True))
    assert untimed(epoch for epoch, _ in turns) == alone
    assert untimed(epoch for _, epoch in turns) != alone


def test_a_loaded_state_is_not_changed_by_training(trainer):
    first = trainer()
    next(first.fit())
    state = first.state_dict()
    momentum = [entry["momentum_buffer"].clone() for entry in state["optimizer"]["state"].values()]
    second = trainer()
    second.load_state_dict(state)
    list(second.fit())
    assert all(
        torch.equal(entry["momentum_buffer"], before)
        for entry, before in zip(state["optimizer"]["state"].values(), momentum, strict=True)
    )


def test_a_state_of_another_training_is_refused(trainer):
    state = trainer().state_dict()
    with pytest.raises(ValueError, match="differs in seed, dropout, lr"):
        trainer(seed=1, lr=0.5, dropout=0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="differs in data, dataset"):
        trainer(dataset={"name": "digits", "limit": 100}).load_state_dict(state)
    with pytest.raises(ValueError, match="format 7, not 2"):
        trainer().load_state_dict(state | {"format": 7})
