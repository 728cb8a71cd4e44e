"""Grids: exact points, in file order, conditional parameters only where they are active."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_samples import searching

from hpo.errors import SpecError
from hpo.space.parameters import Choice, FloatRange, IntRange
from hpo.spec import load, parse
from trainers.config import TrainConfig

SPACES = Path(__file__).parents[2] / "search_spaces"


def test_shipped_grids() -> None:
    nine = load(SPACES / "densenet_cifar_grid.yaml").grid()
    assert nine == [{"lr": lr, "weight_decay": wd} for lr in (0.01, 0.05, 0.1) for wd in (1e-4, 1e-3, 1e-2)]
    pictures = load(SPACES / "image_folder_grid.yaml")
    assert len(pictures.grid()) == len({str(point) for point in pictures.grid()}) == 108
    assert list(pictures.grid()[0]) == ["lr", "batch_size", "weight_decay", "optimizer", "lr_schedule.name"]


def test_condition_adds_points_only_where_it_holds() -> None:
    entries = "momentum: {values: [0.8, 0.9], when: {optimizer: sgd}}\noptimizer: [adam, sgd]\nlr: [0.1, 0.2]"
    spec = parse(searching(entries, sampler="sampler: grid", budget=None))
    assert list(spec.parameters) == ["optimizer", "momentum", "lr"], "parents first"
    assert spec.grid() == [
        {"optimizer": "adam", "lr": 0.1},
        {"optimizer": "adam", "lr": 0.2},
        {"optimizer": "sgd", "momentum": 0.8, "lr": 0.1},
        {"optimizer": "sgd", "momentum": 0.8, "lr": 0.2},
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.2},
    ]


def test_condition_on_condition() -> None:
    entries = "\n".join(
        (
            "optimizer: [adam, sgd]",
            "nesterov: {values: [true, false], when: {optimizer: sgd}}",
            "momentum: {values: [0.8, 0.9], when: {nesterov: true}}",
        )
    )
    points = parse(searching(entries, sampler="sampler: grid")).grid()
    assert [tuple(point.values()) for point in points] == [
        ("adam",),
        ("sgd", True, 0.8),
        ("sgd", True, 0.9),
        ("sgd", False),
    ]


def test_condition_on_a_fixed_or_default_value_always_holds() -> None:
    spec = parse(searching("momentum: {min: 0.8, max: 0.9, when: {optimizer: sgd}}"))
    assert spec.parameters["momentum"] == FloatRange(min=0.8, max=0.9)
    assert spec.parameters["momentum"].active({})


def test_values_of_steps_are_exact() -> None:
    assert FloatRange(min=0.0, max=0.4, step=0.1).values() == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert IntRange(min=1, max=7, step=3).values() == [1, 4, 7]
    assert FloatRange(min=0.0, max=0.4, step=0.1).size == 5
    with pytest.raises(ValueError, match="without `step`"):
        FloatRange(min=0.0, max=0.4).values()


def test_true_is_not_one() -> None:
    child = Choice(values=(1, 2), when={"nesterov": [True]})
    assert child.active({"nesterov": True})
    assert not child.active({"nesterov": 1})
    assert not child.active({})


def test_only_a_grid_has_points() -> None:
    with pytest.raises(SpecError, match="sampler: grid"):
        parse(searching("lr: [0.1, 0.2]")).grid()


@pytest.mark.parametrize("name", ["densenet_cifar_grid", "image_folder_grid"])
def test_every_point_is_a_training(name: str) -> None:
    spec = load(SPACES / f"{name}.yaml", ["trainer.dataset.root=pictures"])
    for point in spec.grid():
        built = TrainConfig.model_validate(spec.resolve(point))
        assert (built.lr, built.weight_decay) == (point["lr"], point["weight_decay"])
        assert built.lr_schedule.name == point.get("lr_schedule.name", "cosine")
