"""The checks before a training: nothing planted, all pass; each planted fault is found by the check that is for it."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers import TrainConfig, Trainer
from trainers.checks.bench import Bench
from trainers.checks.evidence import Evidence
from trainers.checks.examine import examine
from trainers.checks.finding import Finding
from trainers.checks.learning import floor, overfit
from trainers.checks.memory import estimate, largest, memory
from trainers.checks.names import NAMES
from trainers.checks.network import expected_loss
from trainers.checks.signal import progress
from trainers.checks.speed import speed


def config(**more: Any) -> TrainConfig:
    tree = {"model": "lightweight_cnn_gap", "dataset": "digits", "epochs": 6, "lr": 0.03, "dropout": 0.2}
    return TrainConfig.model_validate({**tree, **more})


def trainer_of(kind: type[Trainer] = Trainer, **more: Any) -> Trainer:
    return kind(config(**more), seed=0, data_folder=Path("nowhere"), device="cpu")


def verdicts(trainer: Trainer, **more: Any) -> dict[str, str]:
    return {each.name: each.verdict for each in examine(trainer, **more)}


def found(trainer: Trainer, name: str) -> Finding:
    (finding,) = [each for each in examine(trainer, skip=set(NAMES) - {name}) if each.name == name]
    return finding


class Softmaxed(Trainer):
    def _build(self) -> nn.Module:
        return nn.Sequential(super()._build(), nn.Softmax(1))


class Mixed(Trainer):
    def _build(self) -> nn.Module:
        class Mixing(nn.Module):
            def forward(self, values: Tensor) -> Tensor:
                return values - values.mean(0, keepdim=True)

        return nn.Sequential(Mixing(), super()._build())


class Frozen(Trainer):
    def _build(self) -> nn.Module:
        model = super()._build()
        for parameter in list(model.parameters())[:-2]:
            parameter.requires_grad_(False)
        return model


class Elsewhere(Trainer):
    """Its optimizer moves the weights of a network that nobody trains."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        stray = [nn.Parameter(each.detach().clone()) for each in self.model.parameters()]
        self.optimizer.param_groups[0]["params"] = stray


class Unscaled(Trainer):
    """Scales by 255 what is on the scale of 1 already."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.normalise._factor /= 255


class Unread(Trainer):
    """Half of its weights are not used."""

    def _build(self) -> nn.Module:
        model = super()._build()
        model.register_module("spare", nn.Linear(60, 60))
        return model


def shuffled(trainer: Trainer) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    parts = (trainer.split.train_labels, trainer.split.val_labels)
    train, val = (labels[torch.randperm(len(labels), generator=generator)] for labels in parts)
    trainer.split = replace(trainer.split, train_labels=train, val_labels=val)
    return trainer


def test_nothing_planted_all_pass() -> None:
    trainer = trainer_of()
    most = largest([trainer.config], 2**33)
    found = verdicts(trainer, most=most, room=(2**33, 2, Path("nowhere")))
    assert found == dict.fromkeys(NAMES, "pass")


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (Softmaxed, "output", "they are probabilities"),
        (Mixed, "samples", "depends on 7 of 7 others"),
        (Frozen, "weights", "are frozen"),
        (Elsewhere, "weights", "the optimizer has no"),
        (Unscaled, "input", "deviation 0.00"),
        (Unread, "gradients", "spare.weight"),
    ],
    ids=[
        "softmax before cross entropy",
        "batch mixing",
        "frozen weights",
        "another's optimizer",
        "scaled twice",
        "unused",
    ],
)
def test_the_right_check_fails(kind: type[Trainer], check: str, words: str) -> None:
    finding = found(trainer_of(kind), check)
    assert finding.verdict == "fail"
    assert words in finding.said
    assert finding.do


def test_shuffled_labels_fail_and_little_evidence_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.checks.examine.LEARNING", 2.0)
    findings = {
        each.name: each for each in examine(shuffled(trainer_of())) if each.name in ("baseline", "labels", "overfit")
    }
    assert {name: each.verdict for name, each in findings.items()} == {
        "baseline": "warn",
        "labels": "fail",
        "overfit": "pass",  # any batch can be learnt by heart
    }
    assert "learnt by heart says nothing" in findings["labels"].said
    few = shuffled(trainer_of(dataset={"name": "digits", "limit": 400}))
    few.split = replace(few.split, val_images=few.split.val_images[:12], val_labels=few.split.val_labels[:12])
    assert found(few, "labels").verdict == "warn", "of 12 pictures many a network knows none"


def test_everything_is_left_as_it_was() -> None:
    trainer = trainer_of(ema=0.9, label_smoothing=0.1)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), trainer.optimizer.state_dict()
    assert set(verdicts(trainer).values()) == {"pass"}
    speed(Bench(trainer), seconds=0.2)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), trainer.optimizer.state_dict()
    assert torch.equal(state[0], after[0])
    assert state[1:] == after[1:]
    assert all(torch.equal(each, before[name]) for name, each in trainer.model.state_dict().items())
    assert [parameter.grad for parameter in trainer.model.parameters()] == [None] * len(
        list(trainer.model.parameters())
    )
    looked, fresh = list(trainer.fit()), list(trainer_of(ema=0.9, label_smoothing=0.1).fit())
    assert [each["train/loss"] for each in looked] == [each["train/loss"] for each in fresh]


def test_what_luck_explains_of_few_pictures() -> None:
    found = Evidence(train=1.0, val=0.6, guess=1 / 3, asked=45, asked_train=135)
    assert (found.luck, found.carries_over) == (pytest.approx(29 / 45), False)
    assert replace(found, val=found.luck).carries_over is False
    assert replace(found, val=found.luck + 1 / 45).carries_over


def test_better_than_a_guess_by_few_pictures_is_told_as_that() -> None:
    taught, still = trainer_of(), trainer_of(lr=1e-12)
    list(taught.fit())
    still.model.load_state_dict(taught.model.state_dict())
    split = taught.split
    with torch.no_grad():
        sure = taught.model.eval()(taught.normalise.stored(split.val_images)).softmax(1)
    chosen, said = sure.argmax(0), torch.arange(10)  # of each class the picture that it is surest of
    labels = torch.where(said < 4, said, (said + 1) % 10)
    few = {"train_images": split.train_images[:200], "train_labels": split.train_labels[:200]}
    still.split = replace(split, **few, val_images=split.val_images[chosen], val_labels=labels)
    finding = progress(Bench(still), seconds=1.0)
    assert (finding.verdict, finding.details["val"], finding.details["guess"]) == ("warn", 0.4, 0.2)
    assert str(finding.do).startswith("more validation pictures")
    assert "luck explains up to 0." in finding.said


def test_the_loss_of_a_guess_and_its_floor() -> None:
    focal = Bench(trainer_of(loss={"name": "focal", "gamma": 2.0}))
    assert expected_loss(focal) == pytest.approx(2.3026 * 0.81, abs=1e-4)
    assert found(focal.trainer, "start").verdict == "pass"
    smoothed = Bench(trainer_of(label_smoothing=0.1))
    assert floor(smoothed) == pytest.approx(0.500, abs=1e-3)
    assert expected_loss(smoothed) == pytest.approx(2.3026, abs=1e-4)
    loud = trainer_of()
    with torch.no_grad():
        list(loud.model.parameters())[-1][0] += 20.0  # it is sure of a class before it has seen a picture
    assert found(loud, "start").verdict == "fail"


def test_a_batch_that_cannot_be_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.checks.learning.STEPS", 100)
    bench = Bench(trainer_of())
    pictures = bench.split.train_images.clone()
    pictures[:] = pictures[0]
    bench.trainer.split = bench.split = replace(bench.split, train_images=pictures)
    finding = overfit(bench, seconds=60)
    assert (finding.verdict, finding.details["steps"]) == ("fail", 100)


def test_pictures_that_are_there_twice_and_classes_of_few() -> None:
    trainer = trainer_of(dataset={"name": "digits", "limit": 400})
    split = trainer.split
    images, labels = split.train_images.clone(), split.train_labels.clone()
    images[:20], labels[:20] = images[20:40], labels[20:40]
    images[40:60], labels[40:60] = split.val_images[:20], split.val_labels[:20]
    trainer.split = replace(split, train_images=images, train_labels=labels, skipped_files=("a.png", "b.png"))
    findings = {each.name: each for each in examine(trainer)}
    assert (findings["duplicates"].verdict, findings["duplicates"].details["pictures"]) == ("warn", 20)
    assert (findings["leaks"].verdict, findings["leaks"].details["pictures"]) == ("fail", 20)
    assert findings["files"].verdict == "warn"
    rare = split.train_labels != 3
    rare[torch.nonzero(~rare)[:4]] = True
    trainer.split = replace(split, train_images=split.train_images[rare], train_labels=split.train_labels[rare])
    assert found(trainer, "classes").verdict == "warn"
    assert found(trainer, "classes").details["train"]["3"] == 4


def test_memory_is_counted_and_names_what_fits() -> None:
    sizes = [config(batch_size=each) for each in (16, 1000, 1_000_000)]
    needs = [estimate(each) for each in sizes]
    assert needs == sorted(needs)
    assert needs[2] > 2**32
    bench = Bench(trainer_of())
    most = largest(sizes, 2**32)
    finding = memory(bench, most, room=2**32, at_once=1, folder=Path("nowhere"))
    assert (finding.verdict, "batch_size 1000 fits" in str(finding.do)) == ("fail", True)
    tight = memory(bench, most, room=2 * needs[2], at_once=2, folder=Path("nowhere"))
    enough = largest(sizes, 2**32, pictures=100)  # of which no batch has more
    assert enough.need == estimate(sizes[1], pictures=100) == needs[0] + (estimate(config(batch_size=100)) - needs[0])
    assert (tight.verdict, tight.do) == ("warn", "--concurrency 1, or a smaller batch_size")
