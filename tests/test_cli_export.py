"""A checkpoint or the winner of a study, written for use elsewhere from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from study_samples import open_study

import hpo
from hpo import settings
from hpo.errors import SpecError
from hpo.model import export
from trainers.checkpoint import digest, save
from trainers.config import TrainConfig
from trainers.data import load
from trainers.export import load_weights
from trainers.predict import Predictor
from trainers.train import Trainer

SECTION = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits"}, "epochs": 4, "batch_size": 32, "lr": 0.03}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a small network that has learnt digits."""
    config = TrainConfig.model_validate(SECTION)
    training = Trainer(config, seed=0, data_folder=tmp_path_factory.mktemp("data"), device="cpu")
    list(training.fit())
    path = tmp_path_factory.mktemp("state") / "state.pt"
    save(training.state_dict(), path)
    return path


def typed(home: Path, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HPO_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hpo", "export", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.long
@pytest.mark.slow
def test_all_formats_at_once(home: Path, checkpoint: Path, tmp_path: Path) -> None:
    shown = typed(home, checkpoint, "--onnx", "--int8", "--torch").stdout
    folder = home / "exports" / digest(checkpoint)[:12]
    assert {each.name for each in folder.iterdir()} == {
        "model.onnx",
        "model.int8.onnx",
        "model.safetensors",
        "config.json",
    }
    for word in ("with PyTorch over 1 and 64 validation pictures", "model.int8.onnx", "256 training pictures, seed 0"):
        assert word in shown

    images = load(TrainConfig.model_validate(SECTION).dataset, home / "datasets", "cpu").val_images
    expected = Predictor.load([checkpoint], device="cpu").probabilities(images)
    assert torch.equal(load_weights(folder, "cpu").probabilities(images), expected)
    opened = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    found = opened.run(["predictions"], {"images": images.numpy()})[0]
    assert np.abs(found - expected.numpy()).max() <= 1e-4

    told = json.loads(typed(home, "--checkpoint", checkpoint, "--int8", "--out", tmp_path / "out", "--json").stdout)
    assert [Path(each["file"]).name for each in told["files"]] == ["model.onnx", "model.int8.onnx"]
    assert all(Path(each["file"]).stat().st_size == each["bytes"] for each in told["files"])
    assert told["sha256"] == digest(checkpoint)
    assert told["int8"]["accuracy_change"] == pytest.approx(
        told["int8"]["int8"]["accuracy"] - told["int8"]["float32"]["accuracy"]
    )
    assert told["int8"]["float32"]["latency"]["n"] == 200


@pytest.mark.long
@pytest.mark.slow
def test_the_best_trial_of_a_study_or_the_one_asked_for(home: Path) -> None:
    tree = {
        "name": "small",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": [1e-6, 0.03]}},
    }
    trainer = {key: value for key, value in SECTION.items() if key != "lr"} | {"epochs": 1}
    study = hpo.run(
        {**tree, "trainer": trainer, "resources": {"gpu": 0}}, home=home, progress=False, skip_checks=("all",)
    )
    where = settings.resolve(home=home)
    for trial in (None, 0):
        source = export.of_study(study, trial)
        number = 1 if trial is None else trial
        done = export.export(source, ["torch"], folder=None, settings=where)
        assert (done["study"], done["trial"], done["checkpoint"]) == ("small", number, str(study.checkpoint(number)))
        assert len(load_weights(Path(done["folder"]), "cpu").classes) == 10
    with pytest.raises(SpecError, match="no complete trial 7"):
        export.of_study(study, 7)


def test_a_trainer_of_ones_own_is_not_exported(home: Path) -> None:
    with pytest.raises(SpecError, match=r"trains synthetic:Resumable: .* only networks of the built-in trainer"):
        export.of_study(open_study(home), None)


@pytest.mark.parametrize("lacking", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_one_sentence_with_what_to_type(
    home: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    source, where = export.of_file(checkpoint), settings.resolve(home=home)
    for formats in (["onnx"], ["int8"]):
        with pytest.raises(SpecError, match=rf"^ONNX needs {lacking}, .*: pip install 'hpo-service\[export\]'$"):
            export.export(source, formats, folder=None, settings=where)
    assert export.export(source, ["torch"], folder=None, settings=where)["files"]


def test_what_cannot_be_exported(home: Path, checkpoint: Path, tmp_path: Path) -> None:
    where = settings.resolve(home=home)
    with pytest.raises(SpecError, match="choose what to write: --onnx, --int8, --torch"):
        export.export(export.of_file(checkpoint), [], folder=None, settings=where)
    with pytest.raises(SpecError, match="there is no checkpoint"):
        export.of_file(tmp_path / "absent.pt")
    (tmp_path / "notes.pt").write_text("nothing")
    with pytest.raises(SpecError, match=r"not a readable \.pt state file"):
        export.export(export.of_file(tmp_path / "notes.pt"), ["torch"], folder=None, settings=where)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(SpecError, match=r"those end in \.pt"):
        export.export(export.of_file(tmp_path / "state.json"), ["torch"], folder=None, settings=where)
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match="cannot be written to"):
        export.export(export.of_file(checkpoint), ["torch"], folder=tmp_path / "file" / "out", settings=where)
    assert "give a checkpoint, or --study NAME" in typed(home, "--onnx", code=2).stderr
    assert "give --study NAME too" in typed(home, checkpoint, "--trial", "1", "--onnx", code=2).stderr
