"""Good files: the shipped ones, shorthand, overrides, what does not count as a change, and what loading must not do."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from spec_samples import searching, space

from hpo.errors import SpecError
from hpo.space.parameters import Choice, FloatRange, IntRange
from hpo.space.tree import SCALAR_IS
from hpo.spec import changes, from_mapping, load, parse
from trainers.config import SHORTHAND

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_file_loads_and_round_trips(path: Path) -> None:
    spec = load(path)
    again = from_mapping(json.loads(json.dumps(spec.canonical())))
    assert again.canonical() == spec.canonical()
    assert again.hash() == spec.hash()
    assert spec.text == path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith("# "), "says what it is for"
    assert f"--space search_spaces/{path.name}" in spec.text, "and how to run it"


def test_six_spaces_are_shipped() -> None:
    assert len(SHIPPED) == 6


def test_defaults_and_shorthand() -> None:
    spec = parse(space(ray="pruner: asha\nwinner: 2"))
    assert (spec.metric.name, spec.metric.goal) == ("val/accuracy", "maximize")
    assert (spec.sampler.type, spec.sampler.seed, spec.sampler.startup_trials) == ("tpe", 0, None)
    assert (spec.pruner.type, spec.pruner.min_epochs, spec.pruner.reduction) == ("asha", 1, 3)
    assert (spec.resources.gpu, spec.resources.cpu) == ("auto", 1.0)
    assert spec.winner is not None
    assert (spec.winner.top, spec.winner.seeds) == (2, 3)
    assert spec.trainer == {"model": "lightweight_cnn_gap", "dataset": {"name": "digits"}, "epochs": 6}
    assert parse(space(metric="metric: val/loss")).metric.goal == "minimize"
    assert parse(space(metric="metric: {name: val/loss, goal: maximize}")).metric.goal == "maximize"


@pytest.mark.parametrize(("time", "seconds"), [("8h", 28800), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("45", 45)])
def test_time(time: str, seconds: float) -> None:
    assert parse(space(budget=f"budget: {{time: {time}}}")).budget.time == seconds


def test_kinds_of_parameters() -> None:
    spec = parse(searching("max_batches: {min: 2, max: 10}\nlr: {min: 1e-3, max: 1}\nbatch_size: [32, 64]"))
    assert spec.parameters["max_batches"] == IntRange(min=2, max=10)
    assert spec.parameters["lr"] == FloatRange(min=1e-3, max=1)
    assert spec.parameters["batch_size"] == Choice(values=(32, 64))


OVERRIDES = {
    "sampler=random": lambda spec: (spec.sampler.type, spec.sampler.seed) == ("random", 9),
    "sampler.seed=4": lambda spec: (spec.sampler.type, spec.sampler.seed) == ("tpe", 4),
    "pruner=none": lambda spec: spec.pruner.type == "none",
    "budget=7": lambda spec: (spec.budget.trials, spec.budget.failures) == (7, 2),
    "budget.time=1h": lambda spec: spec.budget.time == 3600,
    "budget.disk=20GB": lambda spec: spec.budget.disk == 20e9,
    "budget.epoch_time=10m": lambda spec: spec.budget.epoch_time == 600,
    "budget.failures=null": lambda spec: spec.budget.failures is None,
    "trainer.lr_schedule=step": lambda spec: spec.trainer["lr_schedule"] == {"name": "step"},
    "trainer.weight_decay=1e-5": lambda spec: spec.trainer["weight_decay"] == 1e-5,
    "parameters.lr.max=0.5": lambda spec: spec.parameters["lr"].max == 0.5,
    "parameters.dataset.seed.values=[4, 5]": lambda spec: spec.parameters["dataset.seed"].values() == [4, 5],
    "parameters.dropout=[0, 0.5]": lambda spec: spec.parameters["dropout"].values() == [0, 0.5],
    "parameters.lr=null": lambda spec: list(spec.parameters) == ["dataset.seed"],
    "name=other": lambda spec: spec.name == "other",
    "storage=sqlite:///x.db": lambda spec: spec.storage == "sqlite:///x.db",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_override(override: str) -> None:
    text = searching(
        "lr: {min: 1e-3, max: 1.0, log: true}\ndataset.seed: [1, 2]",
        sampler="sampler: {type: tpe, seed: 9, startup_trials: 3}",
        budget="budget: {trials: 4, failures: 2}",
        ray="pruner: {type: asha, reduction: 4}",
    )
    spec = parse(text, overrides=[override])
    assert OVERRIDES[override](spec)
    assert spec.text == text
    assert spec.overrides == (override,)


@pytest.mark.parametrize("override", ["nothing", "=1", "a..b=1", "trainer.epochs=[", "name=a\nray: b"])
def test_override_that_is_none(override: str) -> None:
    with pytest.raises(SpecError, match="--set"):
        parse(space(), overrides=[override])


def test_identity_is_what_may_not_change() -> None:
    base = parse(space())
    for override in (
        "name=b",
        "budget.trials=9",
        "resources.cpu=3",
        "winner=1",
        "gate.gap=1",
        "storage=sqlite:///x.db",
    ):
        assert parse(space(), overrides=[override]).hash() == base.hash(), override
    for override in ("sampler.seed=1", "metric=val/loss", "parameters.lr.max=0.5", "trainer.epochs=7", "pruner=none"):
        assert parse(space(), overrides=[override]).hash() != base.hash(), override
    written_out = space(
        sampler="sampler: {seed: 0, type: tpe}", parameters="parameters: {lr: {log: true, max: 1, min: 0.001}}"
    )
    assert parse(written_out).hash() == base.hash(), "spelling is no change"
    folders = load(SHIPPED[3]).hash(), load(SHIPPED[3], ["trainer.dataset.root=/pictures"]).hash()
    assert folders[0] == folders[1], "where the pictures are is no change"


def test_hash_is_the_same_in_every_version() -> None:
    assert parse(space(), overrides=["pruner=none"]).hash() == "692b483ae667acdb"
    assert parse(space()).hash() == "46f6379fc21bc0e9", "asha is what a file that names no pruner has"


def test_changes_are_told() -> None:
    old = parse(space()).canonical()
    new = parse(space(), overrides=["parameters.lr.max=0.5", "trainer.dropout=0.1", "budget.time=60"]).canonical()
    assert changes(old, new) == [
        "parameters.lr.max: 1.0 -> 0.5",
        "trainer.dropout: (absent) -> 0.1",
        "budget.time: (absent) -> 60.0",
    ]
    assert changes(old, old) == []


def test_mapping_gets_the_same_checks_with_paths_for_places() -> None:
    good = parse(space()).canonical()
    assert from_mapping(good).hash() == parse(space()).hash()
    bad = good | {"parameters": {"lr": {"low": 1}}, "budget": {"trials": {1, 2}}}
    with pytest.raises(SpecError, match=r"budget\.trials: .*is no value for a space"):
        from_mapping(bad)
    with pytest.raises(SpecError, match=r"parameters\.lr\.low: `low` is written `min` here"):
        from_mapping(bad | {"budget": {"trials": 1}})


def test_resolve_places_parameters_and_drops_what_is_not_read() -> None:
    entries = "optimizer: [sgd, adam]\nlr_schedule.name: [step, cosine]\nlr: [0.1, 0.2]"
    trainer = "trainer: {model: linear, dataset: digits, momentum: 0.5, lr_schedule: {step_epochs: 2}}"
    spec = parse(searching(entries, trainer=trainer))
    assert spec.resolve({"optimizer": "sgd", "lr_schedule.name": "step", "lr": 0.1}) == {
        "model": "linear",
        "dataset": {"name": "digits"},
        "momentum": 0.5,
        "lr_schedule": {"step_epochs": 2, "name": "step"},
        "optimizer": "sgd",
        "lr": 0.1,
    }
    other = spec.resolve({"optimizer": "adam", "lr_schedule.name": "cosine", "lr": 0.1})
    assert "momentum" not in other
    assert other["lr_schedule"] == {"name": "cosine"}
    with pytest.raises(SpecError, match="did you mean `optimizer`"):
        spec.resolve({"optimiser": "sgd"})


def test_resolve_expands_shorthand_on_the_way() -> None:
    trainer = "trainer: {model: linear, dataset: digits, lr_schedule: cosine, epochs: 6}"
    spec = parse(searching("lr_schedule.warmup_epochs: [1, 2]", trainer=trainer))
    assert spec.resolve({"lr_schedule.warmup_epochs": 2})["lr_schedule"] == {"name": "cosine", "warmup_epochs": 2}


def test_garbled_files_raise_nothing_but_spec_errors() -> None:
    chance = random.Random(11)
    texts = [path.read_text(encoding="utf-8") for path in SHIPPED]
    for _ in range(600):
        text = chance.choice(texts)
        for _ in range(chance.randint(1, 4)):
            at, length = chance.randrange(len(text)), chance.choice((0, 1, 1, 5, 40))
            text = (
                text[:at]
                + chance.choice(("", "{", "]", ": ", "-", "\n", "0", "null", "\\U9", '"', "&a", "*a", "\t", "é"))
                + text[at + length :]
            )
        with contextlib.suppress(SpecError):
            parse(text)


def test_bad_file_is_answered_without_heavy_imports_or_traces(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\nsampler: tpee\ntrainer: {model: linear}\n")
    code = (
        "import sys; from pathlib import Path; from hpo.spec import load; from hpo.errors import SpecError\n"
        "try: load(Path('x.yaml'))\n"
        "except SpecError as error: print(error)\n"
        "print({'torch', 'ray', 'optuna', 'mlflow', 'pandas', 'sqlalchemy', 'numpy'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "did you mean `tpe`" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_scalar_stands_for_the_same_key_in_overrides_as_in_the_trainer() -> None:
    assert {section: SCALAR_IS.get(section, "name") for section in SHORTHAND} == SHORTHAND
