"""What all trials of a study hold together, so that several searches share a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic
import yaml
from audit import disagreements
from typer.testing import CliRunner

import hpo
from hpo import settings, spec
from hpo.cli import app
from hpo.cluster.placement import place
from hpo.cluster.sharing import Sharing
from hpo.errors import SpecError
from hpo.space.sections import Resources
from hpo.study import Study

MACHINE = {"CPU": 16.0, "GPU": 4.0}
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("wanted", "slots"),
    [
        ({"gpu": 0.25, "max_gpus": 1}, 4),  # on however many cards
        ({"gpu": 0.1, "max_gpus": 0.3}, 3),  # 0.3 / 0.1 is 2.9999999999999996
        ({"gpu": 1, "max_gpus": 2.5}, 2),
        ({"gpu": 2, "max_gpus": 2}, 1),
        ({"gpu": 1, "max_gpus": 100}, 4),
        ({"gpu": 0, "cpu": 2, "max_cpus": 5}, 2),
        ({"gpu": 0.5, "max_gpus": 3, "max_cpus": 4}, 4),
        ({"gpu": "auto", "max_gpus": 0.5}, 1),
        ({"gpu": 0, "max_gpus": 1}, 16),
    ],
)
def test_no_more_trials_at_a_time_than_the_quota_has_shares(wanted: dict[str, Any], slots: int) -> None:
    assert place(Resources.model_validate({"cpu": 1.0, **wanted}, strict=False), MACHINE, None).slots == slots


def test_a_quota_below_one_trial_is_refused_where_it_is_written_and_where_it_is_found() -> None:
    head = "name: n\nmetric: m\nsampler: grid\nparameters: {lr: [1]}\ntrainer: {import: 'synthetic:curve'}\n"
    with pytest.raises(SpecError, match=r"max_gpus 0.5 is less than the 1 that one trial takes; raise max_gpus"):
        spec.parse(f"{head}resources: {{gpu: 1, max_gpus: 0.5}}")
    with pytest.raises(SpecError, match="max_cpus 1 is less than the 2"):
        spec.parse(f"{head}resources: {{cpu: 2, max_cpus: 1}}")
    with pytest.raises(SpecError, match="`max_gpu` is written `max_gpus`"):
        spec.parse(f"{head}resources: {{max_gpu: 1}}")
    with pytest.raises(SpecError, match=r"max_gpus is 0.5 and a trial takes 1: --set resources.max_gpus=N"):
        place(Resources(max_gpus=0.5), MACHINE, None, share=1.0)  # as it was measured
    limited, free = spec.parse(f"{head}resources: {{max_cpus: 2}}"), spec.parse(head)
    assert limited.hash() == free.hash()
    assert limited.resources.quota == "2 CPU at most"


def sharing(home: Path, most: float, per_card: int) -> Sharing:
    tree = {
        "name": f"at-most-{most}",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": [0.1]},
        "trainer": {"import": "synthetic:curve"},
        "resources": {"max_gpus": most},
    }
    study = Study.open(spec.from_mapping(tree), settings.resolve(home=home))
    study.ledger.add_packing(study.id, card="GPU", asked="auto", per_card=per_card, reason="measured", measured=[])
    return Sharing(study, MACHINE, None)


@pytest.mark.parametrize(
    ("most", "per_card", "gpu", "slots"), [(1, 4, 0.25, 4), (2, 8, 0.125, 16), (1.5, 4, 0.25, 6), (0.5, 4, 0.25, 2)]
)
def test_the_quota_counts_cards_and_packing_puts_more_trials_on_them(
    home: Path, most: float, per_card: int, gpu: float, slots: int
) -> None:
    placement = sharing(home, most, per_card).placement
    assert (placement.gpu, placement.slots) == (gpu, slots)


def at_once(spans: list[tuple[float, float]]) -> int:
    """The most trials that ran at the same time."""
    events = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    running = [sum(step for _, step in events[: index + 1]) for index in range(len(events))]
    return max(running)


@pytest.mark.slow
def test_two_searches_share_a_cluster_and_a_database(
    ray_cluster: str, postgresql: Any, home: Path, tmp_path: Path
) -> None:
    """The cluster has room for four trials, which each search alone would take; none ends before four have begun."""
    storage, marks = postgresql.database(), tmp_path / "marks"
    journals = {name: tmp_path / f"{name}.journal" for name in ("one", "two")}
    marks.mkdir()
    processes = []
    for index, (name, journal) in enumerate(journals.items()):
        tree = {
            "name": name,
            "metric": "val/accuracy",
            "sampler": "grid",
            "parameters": {"lr": {"values": [index + each / 10 for each in range(1, 7)]}},
            "trainer": {"import": "synthetic:meet", "company": 4, "marks": str(marks), "journal": str(journal)},
            "resources": {"gpu": 0.5, "max_gpus": 1},
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        line = ["run", "--space", f"{name}.yaml", "--home", str(home), "--storage", storage, "--ray", ray_cluster]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "hpo", *line],
                cwd=tmp_path,
                env={**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": os.environ["PYTHONPATH"]},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [each.communicate(timeout=120) for each in processes]
    assert [each.returncode for each in processes] == [0, 0], said
    for name, (_, errors) in zip(journals, said, strict=True):
        found = synthetic.read(journals[name])
        assert len(found) == 6
        assert at_once([(each["began"], each["ended"]) for each in found]) == 2
        assert "2 trials at a time, 1 CPU + 0.5 GPU each" in errors
        study = hpo.load(name, home=home, storage=storage)
        assert study.counts() == {"COMPLETE": 6}
        assert disagreements(study) == []


def test_a_quota_is_shown_and_may_change_with_a_resume(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_WEBHOOK", "https://hooks.slack.com/services/quite-a-secret")
    tree = {
        "name": "limited",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": [0.1]},
        "trainer": {"import": "synthetic:curve"},
        "resources": {"max_cpus": 2, "max_gpus": 1},
        "notify": {"webhook": "$HPO_WEBHOOK", "command": ["sh"], "on": ["end"]},
    }
    Study.open(spec.from_mapping(tree), settings.resolve(home=home))
    again = ["resume", "limited", "--home", str(home), "--dry-run", "--set", "resources.max_gpus=2"]
    plan = CliRunner().invoke(app, [*again, "--set", "resources.max_cpus=null"])
    assert plan.exit_code == 0, plan.output
    assert "2 GPU at most" in plan.stdout
    assert "CPU at most" not in plan.stdout
    assert "end: command sh; webhook $HPO_WEBHOOK: https://hooks.slack.com/***" in plan.stdout
    assert "quite-a-secret" not in plan.output
    assert "1 GPU and 2 CPU at most" in CliRunner().invoke(app, ["status", "limited", "--home", str(home)]).stdout
