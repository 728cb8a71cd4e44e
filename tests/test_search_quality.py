"""The bench of searches over tables of curves: what it replays, and that it counts right."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.curves import STEPS, Curves
from benchmarks.replay import RayAsha, Rows, replay, space_of
from benchmarks.search_quality import METHODS
from hpo import settings
from hpo.store.storage import alone
from hpo.study import Study

ROWS = 200


def written(path: Path, *, fidelity: str = "27 steps", columns: int = STEPS) -> Path:
    """A table whose best rows are near lr 0.01, and whose curves cross nowhere."""
    draw = np.random.default_rng(0)
    points = np.stack([10 ** draw.uniform(-4, 0, ROWS), draw.uniform(0, 1, ROWS)], axis=1)
    final = np.abs(np.log10(points[:, 0]) + 2) + 0.1 * points[:, 1]
    val = final[:, None] + (1 - np.arange(1, columns + 1) / columns if fidelity != "none" else np.zeros(columns))
    options: dict[str, Any] = {"names": np.array(["lr", "dropout"]), "log": np.array([1, 0])}
    options |= {"lo": np.array([1e-4, 0.0]), "hi": np.array([1.0, 1.0]), "cost": np.full(ROWS, 50.0)}
    np.savez(path, X=points, val=val, test=val + 1, meta=json.dumps({"fidelity": fidelity}), **options)
    return path


def test_a_row_is_found_by_its_own_point_and_regret_runs_from_the_best_to_the_median(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    with np.load(tmp_path / "table.npz") as file:
        points, final = file["X"], file["val"][:, -1]
    assert all(curves.row({"its_lr": lr, "its_dropout": dropout}) == row for row, (lr, dropout) in enumerate(points))
    order = np.argsort(final)
    assert curves.regret(int(order[0])) == 0
    assert curves.regret(int(order[0]), test=True) == 0
    assert curves.regret(int(order[ROWS // 2])) == pytest.approx(100, abs=1)


def test_a_proposal_becomes_the_nearest_row_that_no_trial_has_had(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    near = curves.params(17)
    assert curves.row(near) == 17
    after = curves.row(near, {17})
    assert after != 17
    away = ((curves.points - curves.points[17]) ** 2).sum(axis=1)
    assert away[after] == np.partition(away, 1)[1]
    assert curves.row(near, set(range(ROWS))) == 17, "a table that is used up begins anew"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_trials_have_the_hyperparameters_of_rows_and_no_two_the_same(tmp_path: Path, sampler: str) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    space = space_of(curves, {"sampler": {"type": sampler}, "pruner": "none"}, 0)
    study = Study.open(space, settings.resolve(home=tmp_path / "home"))
    with alone(study.storage):
        searcher = Rows(study, curves, repeats=False)
        asked = [trial.params for trial in (searcher.next() for _ in range(25)) if trial is not None]
    rows = [curves.row(params) for params in asked]
    assert asked == [curves.params(row) for row in rows]
    assert len(set(rows)) == 25


def test_seeds_of_a_table_without_curves_are_runs_and_their_mean_is_the_truth(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz", fidelity="none", columns=5))
    assert curves.steps == 1
    assert curves.value(3, 1, seed=7) == curves.val[3, 2]
    found = replay(curves, METHODS["TPE, ASHA promote"], seed=0, budgets=[5, 20], workers=4)
    assert found.shape == (2, 2)


def test_a_search_is_replayed_the_same_and_spends_what_it_is_given(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    first, again = (replay(curves, METHODS["random"], seed=3, budgets=range(1, 9), workers=4) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.allclose(first[0], first[1]), "this table's test is its validation"
    assert not np.array_equal(first, replay(curves, METHODS["random"], seed=4, budgets=range(1, 9), workers=4))


def test_of_a_table_whose_curves_never_cross_early_stopping_finds_more_for_the_same(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    means = {
        name: np.mean([replay(curves, METHODS[name], seed=seed, budgets=[8], workers=4)[0, 0] for seed in range(3)])
        for name in ("random", "random, ASHA promote")
    }
    assert means["random, ASHA promote"] < means["random"] / 2


def test_rays_rule_takes_the_place_of_the_searchs_own(tmp_path: Path) -> None:
    curves = Curves.load(written(tmp_path / "table.npz"))
    rule = RayAsha(min_epochs=3, epochs=27, reduction=3)
    method = METHODS["TPE, Ray's ASHA"]
    found = [replay(curves, method, seed=1, budgets=[4, 8, 16], workers=4, pruner=each)[0] for each in (rule, None)]
    assert found[0].sum() < found[1].sum()


def test_rays_rule_stops_what_is_below_the_best_third(tmp_path: Path) -> None:
    import optuna

    rule, study = RayAsha(min_epochs=3, epochs=27, reduction=3), optuna.create_study()
    for value in (0.5, 0.4, 0.3, 0.9):
        study.add_trial(optuna.create_trial(value=value, intermediate_values={3: value}))
    decisions = [rule.prune(study, trial) for trial in study.trials]
    assert decisions == [False, False, False, True], "less is better, and each is held against those before it"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cost": np.ones(3)}, r"cost is (3,), not (200,)"),
        ({"val": np.full((ROWS, STEPS), np.nan)}, "val holds what is no finite number"),
        ({"test": np.ones((ROWS, 20))}, r"test is (200, 20), not (200, 27)"),
        ({"val": np.ones((ROWS, STEPS))}, "its best run is no better than its median"),
        ({"lo": np.array([1.0, 0.0])}, "lo is to be below hi, and cost above 0"),
        ({"names": np.array(["lr"])}, r"X is (200, 2), not (200, 1)"),
        ({"meta": "no JSON"}, "Expecting value"),
        ({"meta": "{}"}, "'fidelity'"),
    ],
)
def test_a_damaged_table_is_refused_in_a_sentence(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with np.load(written(tmp_path / "table.npz")) as file:
        np.savez(tmp_path / "table.npz", **({name: file[name] for name in file.files} | changes))
    with pytest.raises(SystemExit, match=re.escape(problem)):
        Curves.load(tmp_path / "table.npz")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.npz").write_text("no table")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search_quality", str(tmp_path / "table.npz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is no table of curves" in done.stderr
