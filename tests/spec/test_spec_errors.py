"""Bad files: each error stands at its line and column and says the way out. `@` marks the place in a text."""

from __future__ import annotations

import pytest
from spec_samples import searching, space

from hpo.errors import SpecError
from hpo.spec import load, parse

ADAM = "trainer: {model: lightweight_cnn_gap, dataset: digits, optimizer: adam}"

BAD = {
    "not a mapping": ("@- a\n- b", "is a mapping"),
    "empty": ("@", "is a mapping"),
    "tab": (space(sampler="sampler:\n@\ttype: tpe"), "use spaces"),
    "unclosed": (space(sampler="sampler: {type: tpe\nmetric@: x"), "expected"),
    "two documents": (space() + "@---\na: 1\n", "remove this second document"),
    "duplicate key": (space(ray="@name: again"), "`name` is given twice, first at 1:1"),
    "number as key": (space(ray="@1: one"), "a key is text"),
    "merge key": (space(sampler="sampler: {@<<: 1, type: tpe}"), "write the keys out"),
    "python tag": (space(sampler="sampler: @!!python/name:os.system"), "not allowed"),
    "tag on top": ("@!!set {a}", "not allowed"),
    "wrong tag": (space(sampler="sampler: {type: tpe, seed: @!!int two}"), "`two` is no int"),
    "infinite": (space(budget="budget: {trials: 1, time: @.inf}"), "finite"),
    "unknown alias": (space(sampler="sampler: @*tpe"), "undefined alias"),
    "unknown section": (space(ray="@budgett: 1"), "did you mean `budget`?"),
    "reserved key": (space(ray="@text: x"), "unknown key `text`"),
    "missing section": ("@" + space(trainer=None), "`trainer` is missing"),
    "name": (space(name="name: @my study"), "`my-study` would do"),
    "name as number": (space(name="name: @5"), "should be text"),
    "metric of test data": (space(metric="metric: @test/accuracy"), "use val/accuracy"),
    "metric direction": (space(metric="metric: {name: lr, @direction: maximize}"), "written `goal`"),
    "goal of others": (space(metric="metric: {name: lr, goal: @max}"), "did you mean `maximize`?"),
    "sampler": (space(sampler="sampler: @tpee"), "grid, random, tpe, gp, staged; did you mean `tpe`?"),
    "sampler of others": (space(sampler="sampler: @bayes"), "did you mean `gp`?"),
    "top level method": (space(sampler=None, ray="@method: tpe"), "`method` is written `sampler: {type: ...}`"),
    "run cap": (space(budget="budget: {@run_cap: 5}"), "`run_cap` is written `trials`"),
    "seed": (space(sampler="sampler: {type: tpe, seed: @-1}"), "greater than or equal to 0"),
    "option of another sampler": (space(sampler="sampler: {type: random, @startup_trials: 3}"), "belongs to tpe, gp"),
    "option of another pruner": (space(ray="pruner: {type: median, @reduction: 3}"), "belongs to asha, hyperband"),
    "pruner": (space(ray="pruner: {type: @successive_halving}"), "did you mean `asha`?"),
    "no size": (space(budget="budget: {trials: 1, disk: @lots}"), "'lots' is no size; write 500MB, 20GB"),
    "no price": (space(budget="budget: @{trials: 1, cost: 5}"), "cost 5 needs price_per_gpu_hour"),
    "no budget": (space(budget="budget: @{failures: 3}"), "does not end by itself"),
    "time": (space(budget="budget: {time: @8 hours}"), "write 8h, 30m, 90s, 1h30m"),
    "trials": (space(budget="budget: {trials: @yes}"), "should be a whole number"),
    "gpu": (space(ray="resources: {gpu: @1.5}"), "a share such as 0.25, or a whole number"),
    "type as mapping": (space(ray="pruner: {type: @{}, min_epochs: 2}"), "is not one of none, asha"),
    "empty section": (space(ray="pruner: @null"), "`null` should be a mapping"),
    "gate": (space(ray="gate: {@latency: 5}"), "`latency` is written `latency_ms` here"),
    "winner": (space(ray="winner: {top: @0}"), "greater than or equal to 1"),
    "password": (space(ray="storage: @postgresql://me:sesame@host/db".replace("me@", "me@")), "holds no password"),
    "parameters empty": (space(parameters="parameters: @{}"), "names what to search"),
    "fixed value": (searching("lr: @0.1"), "put it in `trainer`"),
    "low": (searching("lr: {@low: 1e-3, max: 1.0}"), "`low` is written `min` here"),
    "choices": (searching("lr: {@choices: [0.1]}"), "`choices` is written `values` here"),
    "max missing": (searching("@lr: {min: 1e-3}"), "`max` is missing"),
    "order": (searching("lr: @{min: 1.0, max: 0.1}"), "is not below max"),
    "log of zero": (searching("dropout: @{min: 0, max: 0.5, log: true}"), "needs min above 0"),
    "log and step": (searching("lr: @{min: 0.1, max: 0.5, log: true, step: 0.1}"), "exclude each other"),
    "step beside max": (searching("lr: @{min: 0.1, max: 0.5, step: 0.3}"), "use 0.4 or 0.7"),
    "number as text": (searching("lr: {min: @'1e-3', max: 1.0}"), '`"1e-3"` should be a valid number'),
    "same choice": (searching("lr: {values: @[0.1, 0.1]}"), "stands twice"),
    "no choice": (searching("lr: {values: @[]}"), "at least one"),
    "nested path": (searching("@lr_schedule: {warmup_epochs: {min: 1, max: 2}}"), "`lr_schedule.warmup_epochs`"),
    "unknown path": (searching("@weight_decy: [0.1, 0.2]"), "did you mean `weight_decay`?; valid: "),
    "path of others": (searching("@learning_rate: [0.1, 0.2]"), "`learning_rate` is written `lr` here"),
    "bound": (searching("batch_size: {min: @0, max: 64}"), "greater than or equal to 2"),
    "upper bound": (searching("dropout: {min: 0.0, max: @1.0}"), "less than 1"),
    "choice": (searching("batch_size: [64, @0]"), "greater than or equal to 2"),
    "choice of a name": (searching("optimizer: {values: [sgd, @adm]}"), "did you mean `adam`?"),
    "values that disagree": (searching("epochs: [3, @1]", trainer="trainer: {model: linear, dataset: digits, "
                             "lr_schedule: {name: cosine, warmup_epochs: 2}}"), "must be less than epochs"),
    "patience in vain": (searching("epochs: [9, @4]", trainer="trainer: {model: linear, dataset: digits, "
                         "early_stopping: 3}"), "patience 3 can never end 4 epochs early"),
    "searched patience in vain": (searching("early_stopping.patience: {min: 2, max: @9}", trainer="trainer: {model: "
                                  "linear, dataset: digits, epochs: 10}"), "patience 9 can never end 10 epochs early"),
    "searched and fixed": (searching("@epochs: [2, 3]"), "searched here and fixed in `trainer`"),
    "searched in vain": (searching("momentum: @{min: 0.1, max: 0.9}", trainer=ADAM), "read by optimizer sgd only"),
    "condition on nothing": (searching("momentum: {min: 0.1, max: 0.9, when: {@optimiser: sgd}}"), "`optimizer`?"),
    "empty condition": (searching("lr: {values: [0.1], when: @{optimizer: []}}"), "the values it must have"),
    "condition never true": (
        searching("momentum: {min: 0.1, max: 0.9, when: {optimizer: @sgd}}", trainer=ADAM),
        "`momentum` is never searched: `optimizer` is `adam`, not `sgd`",
    ),
    "condition on no choice": (
        searching("optimizer: [sgd, adam]\nmomentum: {min: 0.1, max: 0.9, when: {optimizer: @adamw}}"),
        "`optimizer` is never `adamw`; it is one of sgd, adam",
    ),
    "condition on itself": (searching("lr: {min: 0.1, max: 1.0, when: @{lr: 0.1}}"), "wait for each other"),
    "unknown trainer key": (space(trainer="trainer: {model: linear, dataset: digits, @bathc_size: 4}"), "`batch_size`"),
    "unread trainer key": (space(trainer=ADAM[:-1] + ", @momentum: 0.5}"), "read by optimizer sgd only"),
    "model missing": (space(trainer="@trainer: {dataset: digits}"), "`model` is missing"),
    "model": (space(trainer="trainer: {model: @densenet12, dataset: digits}"), "did you mean `densenet121`?"),
    "model as list": (space(trainer="trainer: {model: @[linear], dataset: digits}"), "is not one of linear"),
    "dataset": (space(trainer="trainer: {model: linear, dataset: @digit}"), "did you mean `digits`?"),
    "schedule": (
        space(trainer="trainer: {model: linear, dataset: digits, lr_schedule: {name: step, gamma: @3}}"),
        "less than or equal to 1",
    ),
    "schedule key": (
        space(trainer="trainer: {model: linear, dataset: digits, lr_schedule: {name: step, @gama: 0.5}}"),
        "did you mean `gamma`?",
    ),
    "grid without step": (searching("lr: @{min: 0.1, max: 0.9}", sampler="sampler: grid"), "a `step`"),
    "grid too large": (
        space(sampler="sampler: grid", parameters="@parameters: {batch_size: {min: 2, max: 900000}}"),
        "the limit is 100,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("marked", "piece"), BAD.values(), ids=BAD)
def test_error_stands_where_it_is_and_helps(marked: str, piece: str) -> None:
    before, text = marked.partition("@")[0], marked.replace("@", "", 1)
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    with pytest.raises(SpecError) as caught:
        parse(text, source="x.yaml")
    assert str(caught.value).splitlines()[0].startswith(f"x.yaml:{line}:{column}: ")
    assert piece in str(caught.value).splitlines()[0]
    assert len(str(caught.value).splitlines()) == 1, "one mistake, one error"


def test_all_errors_at_once_in_the_order_of_the_file() -> None:
    text = searching(
        "lr: {low: 1e-3, high: 1}\nmomentun: [0.1, 0.2]",
        sampler="sampler: tpee",
        budget="budget: {trials: 0, time: x}",
    )
    with pytest.raises(SpecError) as caught:
        parse(text, source="x.yaml", overrides=["trainer.max_batches=0"])
    lines = str(caught.value).splitlines()
    places = ["x.yaml:3:10", "x.yaml:5:8", "x.yaml:5:19", "x.yaml:6:3", "x.yaml:8:18", "x.yaml:8:27"]
    assert [line.split(": ")[0] for line in lines] == [*places, "--set trainer.max_batches=0", "7 errors"]


def test_float_range_of_whole_numbers_is_refused() -> None:
    with pytest.raises(SpecError, match=r"x:5:21: `8.0` should be a whole number"):
        parse(searching("batch_size: {min: 8.0, max: 64.0}"), source="x")


def test_password_is_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        parse(space(), overrides=["storage=postgresql://me:sesame@host/db", "mlflow=5"])
    assert "sesame" not in str(caught.value)


def test_nested_aliases_cannot_explode() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(SpecError, match="aliases included"):
        parse(bomb)
    with pytest.raises(SpecError, match="levels deep"):
        parse("a: &a [*a]")


@pytest.mark.parametrize("text", ["[" * 50_000, "a: " + "{a: " * 50, "- " * 5_000])
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)


def test_size_and_encoding_are_checked(tmp_path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(SpecError, match="larger than 1,048,576 bytes"):
        load(file)
    file.write_bytes(b"name: ok\nmetric: \xff\n")
    with pytest.raises(SpecError, match=r"x\.yaml:2:9: this byte is no UTF-8"):
        load(file)
    with pytest.raises(SpecError, match=r"did you mean `x\.yaml`"):
        load(tmp_path / "xx.yaml")
    with pytest.raises(SpecError, match="directory"):
        load(tmp_path)


def test_fields_that_disagree_are_found_whatever_the_dataset(tmp_path) -> None:
    schedule = "lr_schedule: {name: onecycle, warmup_epochs: 2}"
    for dataset in ("digits", f"{{name: imagefolder, root: {tmp_path}}}"):
        trainer = f"trainer: {{model: custom_cnn, dataset: {dataset}, epochs: 2, {schedule}}}"
        with pytest.raises(SpecError, match="warmup_epochs 2 must be less than epochs 2"):
            parse(space(trainer=trainer))


def test_a_missing_image_folder_is_found_before_the_search(tmp_path) -> None:
    found = parse(space(trainer="trainer: {model: custom_cnn, dataset: imagefolder}"))
    with pytest.raises(SpecError, match=r"not set: add --set trainer\.dataset\.root"):
        found.require_sources()
    for root, fine in ((tmp_path, True), (tmp_path / "nowhere", False)):
        found = parse(space(trainer=f"trainer: {{model: custom_cnn, dataset: {{name: imagefolder, root: {root}}}}}"))
        if fine:
            found.require_sources()
        else:
            with pytest.raises(SpecError, match="which is no folder"):
                found.require_sources()
