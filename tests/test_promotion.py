"""Promotion end to end: a study that was really trained, MLflow's own registry, its own server."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import promotable
import pytest
import torch
from mlflow import MlflowClient, pyfunc
from PIL import Image
from promotable import STRONG, WEAK, copied
from servers import MlflowServer, serving
from study_samples import open_study, train

from hpo import cli, settings
from hpo.errors import NoUsableTrial, SpecError, Unavailable
from hpo.model import evaluation, openings
from hpo.promotion import bundle
from hpo.promotion import summary as promoted
from hpo.promotion.journal import Promotions, alone
from hpo.promotion.promote import Promotion, Wish, promote
from hpo.promotion.registry import Registry
from hpo.promotion.rollback import rollback
from hpo.space.sections import Winner
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from trainers.decoding import decode
from trainers.predict import Predictor
from trainers.sources import read

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    promotable.make(home, empty_mlflow)
    return home


@pytest.fixture
def study(made: Path, home: Path) -> Study:
    return copied(made, home)


def done(study: Study, trial: int | None = STRONG, **wish: object) -> Promotion:
    return promote(study, Wish(trial=trial, **wish), lambda text: None)  # type: ignore[arg-type]


def rows(study: Study) -> list[str | None]:
    return [row["outcome"] for row in Promotions(study.ledger).all(study.id)]


def pictures(study: Study, part: str = "test") -> np.ndarray:
    config = Predictor.load([study.checkpoint(STRONG)]).members[0].config.dataset  # type: ignore[list-item]
    found = read(config, study.settings.datasets, part, threads=1)  # type: ignore[arg-type]
    assert found is not None
    return found.images[:40]


def registry_of(study: Study) -> Registry:
    return Registry(study.settings, "digits", study.settings.home / "read-back")


def hpo(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_promoted_model_answers_as_its_checkpoint_bit_for_bit(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study.checkpoint(STRONG)
    assert path is not None
    evaluated = evaluation.evaluate([path], part="test", tta=False, device=None, settings=study.settings)
    found = done(study, None)
    assert (found.outcome, found.trial, found.version, found.previous) == ("promoted", STRONG, 1, None)
    assert found.test is not None
    assert (found.test["accuracy"], found.test["openings"]) == (evaluated["accuracy"], 2)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.settings.mlflow)
    served, shown = pyfunc.load_model("models:/digits@champion"), pictures(study)
    direct = Predictor.load([path]).probabilities(torch.from_numpy(shown)).numpy()
    assert np.array_equal(served.predict(shown), direct)

    client = MlflowClient(study.settings.mlflow)
    version = client.get_model_version_by_alias("digits", "champion")
    row = study.ledger.trial(study.id, STRONG)
    assert row is not None
    assert version.run_id == row["run_id"]
    assert version.current_stage in (None, "None")
    tags = version.tags
    assert (tags["hpo.study"], tags["hpo.trial"], tags["hpo.sha256"]) == ("digits", "1", row["sha256"])
    assert float(tags["hpo.test_accuracy"]) == evaluated["accuracy"]
    facts = json.loads(row["facts"])
    assert (tags["hpo.git_commit"], tags["hpo.data"]) == (facts["git_commit"], facts["dataset_fingerprint"])
    for words in (f"n = {evaluated['pictures']} pictures", "opened 2 times", "2,190 parameters", row["sha256"], "p95"):
        assert words in version.description, words
    assert client.get_run(row["run_id"]).data.tags["hpo.model.version"] == "1"


def test_the_version_is_plain_files(study: Study) -> None:
    done(study)
    registry = registry_of(study)
    version = registry.pointed("champion")
    assert version is not None
    with registry.fetched(version) as folder:
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert not [name for name in files if name.endswith((".pkl", ".pt", ".pth", ".pickle"))]
        assert {"artifacts/network/model.safetensors", "artifacts/MODEL_CARD.md", "artifacts/space.yaml"} <= files
        for path in folder.rglob("*"):
            if path.is_file() and path.name not in ("served.py", "requirements.txt"):
                assert str(study.settings.home) not in path.read_text(errors="replace"), path
        model = pyfunc.load_model(str(folder))
        inputs, outputs = model.metadata.signature.inputs.inputs[0], model.metadata.signature.outputs.inputs[0]
        assert (inputs.type, inputs.shape, outputs.type, outputs.shape) == ("uint8", (-1, 1, 8, 8), "float32", (-1, 10))
        assert model.input_example.shape == (2, 1, 8, 8)
        record = json.loads((folder / "artifacts" / "record.json").read_text())
    assert [path for path in study.settings.home.rglob("*") if path.lstat().st_mode & 0o077] == []
    assert (record["seed"], record["test"]["openings"]) == (study.ledger.trial(study.id, STRONG)["seed"], 1)  # type: ignore[index]


def test_what_is_refused_changes_nothing_and_a_waiver_is_kept(
    study: Study, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("promote", "digits", "--home", home, "--set", "gate.latency_ms=0.000001", "--quiet")
    assert hpo(monkeypatch, *typed) == 3
    out = capsys.readouterr().out
    assert "refused     trial 1 of digits: latency; the registry is as it was" in out
    assert "stays closed" in out
    assert registry_of(study).versions() == []
    assert not (home / openings.FILE).exists()
    assert rows(study) == ["refused"]

    assert hpo(monkeypatch, *typed, "--waive", "latency=answers overnight", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["name"]: each["outcome"] for each in told["checks"]}["latency"] == "waived"
    version = registry_of(study).pointed("champion")
    assert version is not None
    assert json.loads(version.tags["hpo.waived"]) == {"latency": "answers overnight"}
    kept = Promotions(study.ledger).all(study.id)[-1]
    assert [each["waiver"] for each in json.loads(kept["checks"]) if each["waiver"]] == ["answers overnight"]


def test_rollback_goes_to_the_version_before_as_far_as_there_is_one(study: Study, home: Path) -> None:
    registry = registry_of(study)
    with pytest.raises(NoUsableTrial, match="no version of 'digits' holds the alias 'champion'"):
        rollback(study, "champion")
    assert done(study, WEAK).version == 1
    assert done(study, STRONG).version == 2
    assert done(study, STRONG).outcome == "unchanged"
    worse = done(study, WEAK)
    assert (worse.outcome, [each.outcome for each in worse.checks][-1]) == ("refused", "fail")
    assert registry.aliases() == {"champion": 2}

    assert rollback(study, "champion") == {"model": "digits", "alias": "champion", "from": 2, "to": 1}
    with pytest.raises(NoUsableTrial, match="version 1 is the first"):
        rollback(study, "champion")
    again = done(study, STRONG)
    assert (again.outcome, again.version, len(registry.versions())) == ("promoted", 2, 2)
    assert len((home / openings.FILE).read_text().splitlines()) == 2, "one for each checkpoint, however often asked"

    second = next(each for each in registry.versions() if each.number == 2)
    card = Path(second.source.removeprefix("file://")) / "artifacts" / "MODEL_CARD.md"
    card.unlink()
    whole = done(study, STRONG)
    assert (whole.outcome, whole.version, whole.previous) == ("promoted", 3, 2), "the champion was not whole"
    with pytest.raises(NoUsableTrial, match=r"files of version 2 .* are not those that were promoted"):
        rollback(study, "champion")

    first = next(each for each in registry.versions() if each.number == 1)
    weights = Path(first.source.removeprefix("file://")) / "artifacts" / "network" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert done(study, WEAK, waived={"test": "a drill"}).version == 4, "the first is not used again"
    assert registry.aliases() == {"champion": 4}


def test_code_of_others_in_a_version_is_not_run(study: Study, tmp_path: Path) -> None:
    done(study, WEAK)
    done(study, STRONG)
    registry = registry_of(study)
    version = registry.pointed("champion")
    assert version is not None
    rollback(study, "champion")
    place = Path(version.source.removeprefix("file://"))
    code = place / "served.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{code.read_text()}")
    registry.tag(2, {"hpo.digest": bundle.digest(place)})
    again = done(study, STRONG)
    assert (again.outcome, again.version, again.previous) == ("promoted", 3, 1)
    assert not (tmp_path / "ran").exists()


def test_a_confirmed_winner_brings_its_interval(study: Study) -> None:
    runs = confirmation.prepare(study, Winner(top=1, seeds=2))
    train(runs, 2)
    found = done(study.afresh(), None)
    version = registry_of(study).pointed("champion")
    assert version is not None
    fresh = confirmation.find(study)
    assert fresh is not None
    assert fresh.winner is not None
    assert found.outcome == "promoted"
    assert version.tags["hpo.training"].startswith("digits.confirm ")
    assert tuple(json.loads(version.tags["hpo.interval"])) == fresh.winner.interval
    assert len(json.loads(version.tags["hpo.seeds"])) == 2
    own = candidate(study.afresh(), STRONG)
    assert (own.runs.name, own.interval) == ("digits", fresh.winner.interval), "told of the trial asked for too"


def test_what_cannot_be_promoted_is_said(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="trains synthetic:Resumable: what a trainer of your own has saved"):
        done(open_study(tmp_path / "own"), None)
    with pytest.raises(SpecError, match=r"confirms 'digits'.*hpo promote digits"):
        done(confirmation.prepare(study, Winner(top=1, seeds=1)), None)
    with alone(study), pytest.raises(Unavailable, match="another promotion or rollback of 'digits' is at work"):
        done(study)
    for arguments in (["--set", "trainer.epochs=9"], ["--alias", "v1"], ["--waive", "speed=x"], ["--trial", "9"]):
        assert hpo(monkeypatch, "promote", "digits", "--home", study.settings.home, *arguments) == 2
    path = study.checkpoint(STRONG)
    assert path is not None
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(NoUsableTrial, match="not the recorded"):
        done(study)


def test_an_int8_file_goes_with_a_version_and_is_checked(made: Path, home: Path) -> None:
    pytest.importorskip("onnxruntime")
    study = copied(made, home, ("gate.quantised_mb=0.001",))
    assert done(study).version == 1
    large = done(study, int8=True)
    assert {each.name: each.outcome for each in large.checks}["quantised"] == "fail"
    found = done(study, int8=True, waived={"quantised": "there is room"})
    assert (found.outcome, found.version, found.previous) == ("promoted", 2, 1)
    registry = registry_of(study)
    version = registry.pointed("champion")
    assert version is not None
    with registry.fetched(version) as folder:
        file = folder / "artifacts" / "model.int8.onnx"
        assert file.stat().st_size == int(version.tags["hpo.int8"])
        assert "model.int8.onnx" in (folder / "artifacts" / "MODEL_CARD.md").read_text()
    assert done(study, int8=True).outcome == "unchanged"


@pytest.mark.slow
def test_killed_at_any_step_the_alias_is_at_a_whole_version(made: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(HERE / "promote_and_die.py"), str(made), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # a process with threads is not to be forked
    )
    found = {each["step"]: each for each in map(json.loads, ran.stdout.splitlines())}
    assert len(found) == 8, ran.stderr
    for step in ("rollback before the alias", "rollback before the end"):
        assert found.pop(step) == {
            "step": step,
            "signal": signal.SIGKILL,
            "left": 1 if step.endswith("end") else 2,
            "told": [{"model": "digits", "alias": "champion", "from": 2, "to": 1}, "version 1 is the first"],
            "aliases": {"champion": 1},
            "rows": ["promoted", "undone"],
        }
    for step, each in found.items():
        moved = step == "before the end"
        assert each["signal"] == signal.SIGKILL, step
        assert (each["left"], each["whole"]) == (2 if moved else 1, True), step
        assert (each["outcome"], each["version"], each["versions"]) == ("promoted", 2, 2), step
        assert each["aliases"] == {"champion": 2}, step
        assert each["openings"] == (3 if step == "written down" else 2), step
        assert each["rows"] == ["promoted", "promoted"], step
        assert each["back"] == 1, step


@pytest.mark.slow
def test_the_served_champion_answers_pictures(study: Study, tmp_path: Path) -> None:
    done(study)
    files = []
    for number, picture in enumerate(pictures(study)[:8]):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture[0]).save(files[-1])
    path = study.checkpoint(STRONG)
    assert path is not None
    predicted = Predictor.load([path]).predict(files)
    stored = np.stack([decode(file.read_bytes(), (1, 8, 8)) for file in files])
    with serving(promoted.serving("digits", "champion", study.settings), tmp_path) as url:
        body = json.dumps({"inputs": stored.tolist()}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.loads(answer.read())["predictions"]
        wrong = urllib.request.Request(url, b'{"inputs": [[1, 2]]}', {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(wrong, timeout=60)
    assert done(study).outcome == "unchanged", "MLflow adds a file to what it serves"
    for row, told in zip(said, predicted, strict=True):
        assert np.array_equal(np.float32(row), np.float32(list(told.probabilities.values())))


@pytest.mark.slow
def test_promotion_and_rollback_over_a_server(made: Path, home: Path, tmp_path: Path) -> None:
    server = MlflowServer(tmp_path)
    try:
        copied(made, home)
        study = Study.load("digits", settings.resolve(home=home, mlflow=server.url))
        study.ledger.post(study.id, None, "start", {})
        assert done(study, WEAK).version == 1
        assert done(study, STRONG).version == 2
        assert rollback(study, "champion")["to"] == 1
    finally:
        server.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        done(study, STRONG)
