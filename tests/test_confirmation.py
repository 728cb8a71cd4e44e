"""The best trials of a search, trained again with fresh seeds: real Ray, real SQL, real MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from mlflow import MlflowClient
from study_samples import confirmed, open_study, run

import hpo
from hpo import spec
from hpo.commands import summary
from hpo.errors import NoUsableTrial, SpecError, StudyOwned
from hpo.space.sections import Winner
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from hpo.winner.confirmation import Confirmation


def space(name: str, rates: tuple[float, ...] = (0.1, 0.2), **options: Any) -> dict:
    return {
        "name": name,
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": list(rates)}},
        "trainer": {"import": "synthetic:noisy", "epochs": 1, **options},
        "winner": {"top": 3, "seeds": 3},
    }


def extended(study: Study, wish: Winner) -> Study:
    """The study of the trainings as a driver begins with it."""
    runs = confirmation.prepare(study, wish)
    runs.begin()
    return runs


def found_of(study: Study) -> Confirmation:
    found = confirmation.find(study)
    assert found is not None
    return found


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_pure_noise_is_not_separable_and_the_search_was_flattered(home: Path) -> None:
    study = hpo.run(
        space("noise", rates=tuple(each / 100 for each in range(1, 13)), noise=0.1), home=home, progress=False
    )
    found = found_of(study)
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


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_planted_winner_wins_though_the_search_saw_another_better(home: Path) -> None:
    # with these seeds the search's own best is not the one that is best
    rates = tuple(each / 10 for each in range(1, 7))
    log = home.parent / "told"
    notify = {"command": ["sh", "-c", 'echo "$HPO_TEXT" >> "$0"', str(log)], "on": ["end"]}
    tree = space("planted", rates=rates, noise=0.05, signal=0.5) | {"notify": notify}
    study = hpo.run(tree, home=home, progress=False)
    found = found_of(study)
    search, winner = log.read_text().splitlines()
    assert search.endswith("now its best 3 are trained again with fresh seeds")
    assert winner.startswith("study planted: the winner is trial 5, val/accuracy 0.")
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


def test_the_defaults_of_a_search_are_none_of_its_winners_trainings(home: Path) -> None:
    study = confirmed(run(open_study(home, baseline=True), [0.5, 0.75]), [0.7, 0.72])
    assert found_of(study).winner is not None
    assert not confirmation.prepare(study, Winner(top=1, seeds=2)).spec.baseline


def test_more_seeds_and_more_trials_keep_what_was_trained(home: Path) -> None:
    study = confirmed(run(open_study(home), [0.9, 0.8, 0.7]), [0.5])
    first = found_of(study)
    assert (first.ties, [each.fresh for each in first.ranked]) == (None, [(0.5,)])
    runs = extended(study, Winner(top=2, seeds=2))
    run(runs, [0.6, 0.7, 0.8])  # trial 1 with the first seed, then both with the second
    found = found_of(study)
    assert {each.trial: each.fresh for each in found.ranked} == {0: (0.5, 0.7), 1: (0.6, 0.8)}
    assert found.open == 0
    extended(study, Winner(top=1, seeds=1))
    assert found_of(study).facts() == found.facts(), "less than there is changes nothing"


def test_epochs_of_its_own_and_other_epochs_are_refused_later(home: Path) -> None:
    study = run(open_study(home, name="long"), [0.9])
    runs = confirmation.prepare(study, Winner(top=1, seeds=2, epochs=3))
    assert runs.spec.resolve({"trial": 0, "seed": 5})["epochs"] == 3
    with pytest.raises(SpecError, match=r"trainer.epochs: 3 -> 2.*hpo delete long.confirm"):
        confirmation.prepare(study, Winner(top=1, seeds=2, epochs=2))


def test_a_trial_that_fails_with_some_seeds_does_not_win(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = confirmed(run(open_study(home), [0.9, 0.8, 0.7]), [0.9, None, 0.9], [0.5, 0.6, 0.7], [None, None, None])
    found = found_of(study)
    assert [(each.trial, each.failed) for each in found.ranked] == [(1, 0), (0, 1), (2, 3)]
    assert (found.open, found.ties, found.undecided) == (0, (), (0, 2))
    summary.best(study, as_json=False)
    assert "\n            undecided: trials 0, 2, of which trainings failed\n" in capsys.readouterr().out


def test_unfinished_confirmation_has_no_winner(home: Path) -> None:
    study = run(open_study(home), [0.1, 0.2, 0.3, 0.4])
    runs = confirmation.prepare(study, Winner(top=3, seeds=3))
    found = found_of(study)
    assert (found.winner, found.open) == (None, 9)
    with pytest.raises(NoUsableTrial, match="9 trainings are left"):
        candidate(study)
    worst = found.ranked[-1].trial
    assert runs.spec.resolve({"trial": worst, "seed": 5})["lr"] == study.frozen_trials()[worst].params["lr"]


def test_candidate_is_the_best_training_of_the_winner(home: Path) -> None:
    study = confirmed(run(open_study(home), [0.7, 0.9]), [0.5, 0.6], [0.8, 0.7])
    found = candidate(study)
    assert (found.trial, found.runs.name, found.run) == (0, "study.confirm", 1)
    assert found.checkpoint.exists()
    assert found.params == study.frozen_trials()[0].params
    assert (found.fresh, len(set(found.seeds))) == ((0.8, 0.7), 2)
    own = candidate(study, 0)
    assert (own.runs.name, own.fresh, own.interval) == ("study", found.fresh, found.interval)
    with pytest.raises(SpecError, match="no complete trial 9"):
        candidate(study, 9)


def test_a_small_budget_of_disk_leaves_the_winner_a_checkpoint(home: Path) -> None:
    # the best single training is not the winner's
    study = confirmed(run(open_study(home, budget={"trials": 2, "disk": 1}), [0.9, 0.8]), [0.9, 0.1], [0.6, 0.6])
    found = candidate(study)
    assert found.trial == 1
    assert found.checkpoint.exists()


def test_how_cards_are_shared_is_taken_over_once_and_under_the_lease(home: Path) -> None:
    study = run(open_study(home), [0.9])
    runs = confirmation.prepare(study, Winner(top=1, seeds=2))
    study.ledger.add_packing(study.id, card="H100", asked="auto", per_card=4, reason="measured", measured=[])
    with Lease(runs), pytest.raises(StudyOwned):
        confirmation.prepare(study, Winner(top=1, seeds=2))
    assert study.ledger.packings(runs.id) == []
    for _ in range(2):
        confirmation.prepare(study, Winner(top=1, seeds=2))
    assert [each["per_card"] for each in study.ledger.packings(runs.id)] == [4]


def test_better_trials_that_came_after_a_confirmation_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = confirmed(run(open_study(home, budget={"trials": 9}), [0.5, 0.6, 0.1]), [0.5, 0.5], [0.4, 0.4])
    assert found_of(study).missed == ()
    run(study, [0.2])
    assert found_of(study.afresh()).missed == (), "it is not among the best two"
    run(study, [0.55])
    study = study.afresh()
    assert found_of(study).missed == (4,)
    summary.best(study, as_json=False)
    printed = capsys.readouterr().out
    assert "trial 4 is among the best 2 of the search since, and was not trained again: `" in printed
    assert "hpo confirm study --home" in printed
    summary.status(study.name, study.settings, as_json=False)
    assert "trial 4" in capsys.readouterr().out
    run(extended(study, Winner(top=2, seeds=2)), [0.5, 0.5])
    assert found_of(study.afresh()).missed == ()
    assert len(found_of(study.afresh()).ranked) == 3


def test_a_file_cannot_say_that_it_confirms(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown key `confirms`"):
        spec.from_mapping({**space("sly"), "confirms": {"study": "x", "uid": "y", "points": {}, "seeds": []}})
