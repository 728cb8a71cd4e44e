"""A new study that begins with the best points of another; over SQLite and PostgreSQL."""

import json
from pathlib import Path
from typing import Any

import pytest
from study_samples import TREE, open_study, run_all

import hpo
from hpo import spec
from hpo.audit.agreement import audit
from hpo.editing.warm_start import first_entry
from hpo.errors import NoUsableTrial, SpecError
from hpo.settings import Settings
from hpo.spec import SearchSpec
from hpo.store import history
from hpo.store.lease import Lease
from hpo.study import Study

PARAMETERS = {
    "lr": {"values": [0.1, 0.2, 0.3]},
    "weight_decay": {"min": 0, "max": 1},
}


def other(home: Path, storage: str | None = None, **sections: Any) -> Study:
    """Six cells, of which each is better than those before it: lr 0.3, weight_decay 1 is the best."""
    study = open_study(home, storage, name="other", sampler="grid", parameters=PARAMETERS, budget={}, **sections)
    run_all(study)
    return study


def space(**sections: Any) -> SearchSpec:
    ranges = {"lr": {"min": 0.05, "max": 0.4}, "weight_decay": {"values": [0.0, 1.0]}}
    return spec.from_mapping({**TREE, "sampler": "tpe", "parameters": ranges, **sections})


def begin(wish: str, settings: Settings, **sections: Any) -> Study:
    """As a run does: open, and what a driver does first."""
    study = Study.open(space(**sections), settings, first_entry(wish, space(**sections), settings))
    with Lease(study):
        history.enqueue(study)
    return study.afresh()


def test_the_best_points_run_first_in_the_types_of_the_new_space(home: Path, storage: str) -> None:
    study = begin("other:2", other(home, storage).settings)
    points = run_all(study)
    assert points[:2] == [{"lr": 0.3, "weight_decay": 1.0}, {"lr": 0.3, "weight_decay": 0.0}]
    assert [type(value) for value in points[0].values()] == [float, float]
    assert len(points) == 4, "they count as trials of the budget"
    assert [row["origin"] for row in study.afresh().rows()] == ["trial 5 of other", "trial 4 of other", None, None]
    (entry,) = study.ledger.history(study.id)
    assert json.loads(entry["changes"]) == [
        "trial 5 of other: lr=0.3 weight_decay=1",
        "trial 4 of other: lr=0.3 weight_decay=0",
    ]


def test_points_that_do_not_fit_are_left_out_with_the_reason(home: Path) -> None:
    settings = other(home).settings
    narrow = space(parameters={"lr": {"min": 0.05, "max": 0.25}})
    entry = first_entry("other", narrow, settings)
    assert entry is not None
    assert [point.params for point in entry.points] == [{"lr": 0.2}, {"lr": 0.1}]
    assert list(entry.changes)[2:] == [
        "left out trial 5 of other, lr 0.3 is not in this space",
        "left out trial 4 of other, lr 0.3 is not in this space",
        "left out trial 2 of other, the same point as trial 3",
        "left out trial 0 of other, the same point as trial 1",
        "weight_decay of other is not searched here",
    ]
    with pytest.raises(SpecError, match=r"it has no sleep; lr 0\.3 is not") as caught:
        first_entry("other", space(parameters={"sleep": {"min": 1, "max": 4}, "lr": {"values": [7, 8]}}), settings)
    assert str(caught.value).count("left out trial") == 6


def test_a_condition_decides_what_a_point_must_have(home: Path) -> None:
    parameters = {
        "lr": {"values": [0.2, 0.3]},
        "weight_decay": {"values": [0, 1], "when": {"lr": [0.3]}},
        "sleep": {"min": 1, "max": 4, "when": {"lr": [0.2]}},
    }
    entry = first_entry("other:3", space(parameters=parameters), other(home).settings)
    assert entry is not None
    assert [point.params for point in entry.points] == [{"lr": 0.3, "weight_decay": 1}, {"lr": 0.3, "weight_decay": 0}]
    assert "left out trial 3 of other, it has no sleep" in entry.changes


def test_the_same_again_does_nothing_even_when_the_other_has_gone(home: Path, storage: str) -> None:
    source = other(home, storage)
    study = begin("other:3", source.settings)
    run_all(study)
    source.delete()
    again = begin("other:3", study.settings)
    assert len(again.frozen_trials()) == 4
    with pytest.raises(SpecError, match="was begun with points of other"):
        first_entry("another", space(), study.settings)
    again.delete()
    assert study.ledger.history(study.id) == []


def test_what_a_kill_left_undone_is_made_up_for_by_any_driver(home: Path, storage: str) -> None:
    source = other(home, storage)
    study = Study.open(space(), source.settings, first_entry("other", space(), source.settings))
    source.delete()
    study.optuna.enqueue_trial({"lr": 0.3, "weight_decay": 1.0}, user_attrs={"warm_start": "other:5"})
    with Lease(study):
        assert history.enqueue(study) == 4
        assert history.enqueue(study.afresh()) == 0
    assert len(study.afresh().frozen_trials()) == 5


@pytest.mark.parametrize(
    ("wish", "sections", "reason"),
    [
        ("other:0", {}, "write the name of a study, or NAME:K"),
        ("other:best", {}, "write the name of a study, or NAME:K"),
        ("nobody", {}, "no study 'nobody'.*there are: other"),
        ("other", {"sampler": "grid", "parameters": PARAMETERS}, "a grid visits its own cells"),
        ("other", {"name": "other", "sampler": "random", "parameters": PARAMETERS}, "was begun without it"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(
    home: Path, wish: str, sections: Any, reason: str
) -> None:
    source = other(home)
    with pytest.raises(SpecError, match=reason):
        first_entry(wish, space(**sections), source.settings)
    assert [row["name"] for row in source.ledger.studies()] == ["other"]


def test_another_that_has_no_complete_trial_is_said_to_have_none(home: Path) -> None:
    study = open_study(home, name="other")
    with pytest.raises(NoUsableTrial, match="no complete trial"):
        first_entry("other", space(), study.settings)


@pytest.mark.slow
def test_a_search_begins_where_the_other_was_best(ray_cluster: str, home: Path) -> None:
    other(home, None)
    tree = spec.from_mapping(
        {**TREE, "sampler": "random", "budget": {"trials": 3}, "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    )
    study = hpo.run(tree, home=home, progress=False, warm_start="other:1")
    assert study.rows()[0]["lr"] == 0.3
    assert study.counts() == {"COMPLETE": 3}
    assert audit(study).agrees, audit(study)
    assert hpo.run(tree, home=home, progress=False, warm_start="other:1").counts() == {"COMPLETE": 3}
