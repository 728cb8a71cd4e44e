"""The best trials of a search, trained again with fresh seeds: real Ray, real SQL, real MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from mlflow import MlflowClient

import hpo
from hpo import confirmation, spec
from hpo.confirmation import Confirmation
from hpo.errors import NoUsableTrial, SpecError
from hpo.space.sections import Winner
from hpo.study import Study
from hpo.winner import candidate

pytestmark = pytest.mark.usefixtures("ray_cluster")


def space(name: str, trainer: str = "noisy", rates: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4), **more: Any) -> dict:
    options = more.pop("options", {"noise": 0.1})
    return {
        "name": name,
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": list(rates)}},
        "trainer": {"import": f"synthetic:{trainer}", "epochs": 1, **options},
        "winner": {"top": 3, "seeds": 3},
        **more,
    }


def confirmed(study: Study) -> Confirmation:
    found = confirmation.find(study)
    assert found is not None
    return found


def test_pure_noise_is_not_separable_and_the_search_was_flattered(home: Path) -> None:
    study = hpo.run(space("noise", rates=tuple(each / 100 for each in range(1, 13))), home=home, progress=False)
    found = confirmed(study)
    assert found.winner is not None
    assert found.ties is not None
    assert set(found.ties) == {each.trial for each in found.ranked[1:]}
    assert len(found.study.frozen_trials()) == 9
    assert len({each.params["seed"] for each in found.study.frozen_trials()}) == 3
    seeds = {row["seed"] for row in study.ledger.trials(study.id)}
    assert not seeds & {each.params["seed"] for each in found.study.frozen_trials()}
    assert sum(each.flattery(1.0) or 0.0 for each in found.ranked) > 0
    assert found.winner.mean == max(each.mean or 0.0 for each in found.ranked)
    assert disagreements(study) == []
    assert disagreements(found.study) == []


def test_a_planted_winner_wins_though_the_search_saw_another_better(home: Path) -> None:
    # with these seeds the search's own best is not the one that is best
    rates = tuple(each / 10 for each in range(1, 7))
    study = hpo.run(space("planted", rates=rates, options={"noise": 0.05, "signal": 0.5}), home=home, progress=False)
    found = confirmed(study)
    assert found.winner is not None
    assert study.frozen_trials()[found.winner.trial].params == {"lr": 0.6}
    assert found.winner.interval is not None
    low, high = found.winner.interval
    assert low < 0.8 < high

    told = json.loads(study.afresh().optuna.user_attrs["hpo:winner"])
    assert told["winner"] == found.winner.trial
    client = MlflowClient(study.settings.mlflow)
    row = study.ledger.study("planted")
    assert row is not None
    assert client.get_run(row["run_id"]).data.tags["hpo.winner"] == str(found.winner.trial)
    group = client.get_experiment_by_name("planted.confirm")
    assert group is not None
    runs = client.search_runs([group.experiment_id], "tags.`hpo.trial` != ''")
    assert {run.data.params["lr"] for run in runs} == {str(rates[each.trial]) for each in found.ranked}


def test_more_seeds_and_more_trials_keep_what_was_trained(home: Path) -> None:
    study = hpo.run(space("more", winner={"top": 1, "seeds": 1}), home=home, progress=False)
    first = confirmed(study)
    assert first.ties is None
    done = [(each.params, each.values) for each in first.study.frozen_trials()]
    found = confirmation.confirm(study, Winner(top=2, seeds=2), progress=False)
    runs = [(each.params, each.values) for each in found.study.afresh().frozen_trials()]
    assert runs[:1] == done
    assert len(runs) == 4
    assert confirmation.confirm(study, Winner(top=1, seeds=1), progress=False).facts() == found.facts()


def test_epochs_of_its_own_and_other_epochs_are_refused_later(home: Path) -> None:
    study = hpo.run(space("long", winner={"top": 1, "seeds": 2, "epochs": 3}), home=home, progress=False)
    runs = confirmed(study).study
    assert {row["epoch"] for row in runs.ledger.trials(runs.id)} == {3}
    with pytest.raises(SpecError, match=r"trainer.epochs: 3 -> 2.*hpo delete long.confirm"):
        confirmation.confirm(study, Winner(top=1, seeds=2, epochs=2), progress=False)


def test_a_trial_that_fails_with_some_seeds_does_not_win(home: Path) -> None:
    study = hpo.run(space("frail", "frail", options={}, winner={"top": 4, "seeds": 4}), home=home, progress=False)
    found = confirmed(study)
    failed = [each.failed for each in found.ranked]
    assert sum(failed) > 0
    assert failed == sorted(failed, key=bool)
    assert found.open == 0


def test_unfinished_confirmation_has_no_winner(home: Path) -> None:
    tree = space("cut")
    winner = tree.pop("winner")
    study = hpo.run(tree, home=home, progress=False)
    runs = confirmation._open(study, Winner(**winner))
    found = confirmed(study)
    assert (found.winner, found.open) == (None, 9)
    with pytest.raises(NoUsableTrial, match="9 trainings are left"):
        candidate(study)
    worst = found.ranked[-1].trial
    assert runs.spec.resolve({"trial": worst, "seed": 5})["lr"] == study.frozen_trials()[worst].params["lr"]


def test_candidate_is_the_best_training_of_the_winner(home: Path) -> None:
    tree = space("take", "Resumable", winner={"top": 2, "seeds": 2}, options={})
    study = hpo.run(tree, home=home, progress=False)
    found = candidate(study)
    assert found.runs.name == "take.confirm"
    assert found.checkpoint.exists()
    assert found.params == {"lr": 0.1}
    assert len(found.fresh) == len(found.seeds) == 2
    own = candidate(study, 0)
    assert (own.runs.name, own.fresh) == ("take", ())
    with pytest.raises(SpecError, match="no complete trial 9"):
        candidate(study, 9)


def test_a_file_cannot_say_that_it_confirms(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown key `confirms`"):
        spec.from_mapping({**space("sly"), "confirms": {"study": "x", "uid": "y", "points": {}, "seeds": []}})
