"""Training, scoring and asking one model from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_fscore_support

from hpo import settings_for, spec
from hpo.model.training import Training

ROOT = Path(__file__).parent.parent
QUICK = ("train", "--space", "search_spaces/quickstart.yaml", "--set", "lr=0.03", "--set", "batch_size=32")


@pytest.fixture
def hpo(home: Path):
    """Run a command in the repository with a home of its own."""

    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpo", *map(str, arguments)]
        environment = {**os.environ, "HPO_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.mark.long
@pytest.mark.slow
def test_from_training_to_a_prediction(hpo, home: Path) -> None:
    done = json.loads(hpo(*QUICK, "--set", "epochs=4", "--json").stdout)
    assert done["epochs"] == 4
    assert done["best_value"] > 0.85, "chance is 0.1"
    assert done["facts"]["model"] == "lightweight_cnn_gap"
    checkpoint = Path(done["checkpoint"])
    assert {"best.pt", "last.pt", "epoch-0004.pt", "training.json"} <= {
        each.name for each in checkpoint.parent.iterdir()
    }

    scored = json.loads(hpo("evaluate", "--checkpoint", checkpoint, "--json").stdout)
    assert scored["accuracy"] == pytest.approx(done["best_value"])
    low, high = scored["accuracy_interval"]
    assert low < scored["accuracy"] < high
    for average in ("macro", "weighted"):
        truth, said = np.nonzero(confusion := np.array(scored["confusion"]))
        pairs = [np.repeat(each, confusion[truth, said]) for each in (truth, said)]
        expected = precision_recall_fscore_support(*pairs, average=average, zero_division=0)[:3]
        assert [scored[f"{average}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected)
    assert np.trace(scored["confusion"]) == round(scored["accuracy"] * scored["pictures"])
    assert not (home / "test-openings.jsonl").exists()
    shown = hpo("evaluate", "--checkpoint", checkpoint, "--part", "test", "--tta").stdout
    assert "95% interval" in shown
    assert "true \\ predicted" in shown
    assert "weighted mean" in shown
    assert "test-openings.jsonl" in shown
    (line,) = (home / "test-openings.jsonl").read_text().splitlines()
    assert len(json.loads(line)["checkpoints"][0]["sha256"]) == 64

    digits = load_digits()
    files = []
    for number in range(5):
        files.append(home / f"{number}.png")
        Image.fromarray((digits.images[number] * 255 / 16).astype(np.uint8)).save(files[-1])
    images = [word for file in files for word in ("--image", str(file))]
    rows = json.loads(hpo("predict", "--checkpoint", checkpoint, *images).stdout)
    assert sum(row["label"] == str(digits.target[number]) for number, row in enumerate(rows)) >= 4
    broken = json.loads(hpo("predict", "--checkpoint", checkpoint, "--image", checkpoint, code=1).stdout)
    assert broken[0]["error"]


@pytest.mark.long
@pytest.mark.slow
def test_resumed_training_equals_one_that_was_never_interrupted(hpo, home: Path) -> None:
    hpo(*QUICK, "--set", "epochs=5", "--name", "whole")
    command = [sys.executable, "-m", "hpo", *QUICK, "--set", "epochs=5", "--name", "cut"]
    environment = {**os.environ, "HPO_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    journal = home / "trainings" / "cut" / "training.json"
    deadline = time.monotonic() + 60
    while not journal.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode:  # else it was quicker than the signal
        assert process.returncode == 130
        assert "--resume" in err
    hpo(*QUICK, "--set", "epochs=5", "--name", "cut", "--resume")
    whole, cut = (json.loads((home / "trainings" / name / "training.json").read_text()) for name in ("whole", "cut"))
    keys = ("train/loss", "val/loss", "val/accuracy")
    curves = [[[epoch["metrics"][key] for key in keys] for epoch in each["epochs"]] for each in (whole, cut)]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "lr=-1"), "trainer.lr"),
        (("--set", "learning_rate=1"), "written `lr`"),
        (("--set", "momentum=0.9", "--set", "optimizer=adam"), "momentum is read by optimizer sgd only"),
        (("--set", "lr"), "write path=value"),
        (("--resume",), "no training 'quickstart'"),
        (("--set", "trainer.dataset.root=x"), "digits are bundled"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(hpo, home: Path, arguments: tuple[str, ...], says: str) -> None:
    done = hpo("train", "--space", "search_spaces/quickstart.yaml", *arguments, code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists()


@pytest.mark.long
def test_an_existing_training_is_not_overwritten_nor_resumed_with_other_values(hpo) -> None:
    hpo(*QUICK, "--set", "trainer.epochs=1")  # the quickstart's pruner, which does not matter here, begins at 2
    assert "is complete" in hpo("train", "--space", "search_spaces/quickstart.yaml", "--resume").stderr
    assert "go on with --resume" in hpo(*QUICK, "--set", "epochs=1", code=2).stderr
    assert "trainer.epochs: 1 -> 2" in hpo(*QUICK, "--set", "epochs=2", "--resume", code=2).stderr


def test_a_trainer_of_ones_own(hpo, home: Path, tmp_path: Path) -> None:
    space = tmp_path / "own.yaml"
    space.write_text(
        "name: own\nmetric: val/accuracy\nsampler: random\nbudget: 1\n"
        "parameters: {lr: {min: 0.01, max: 1.0}}\ntrainer: {import: 'synthetic:Resumable', epochs: 3}\n"
    )
    done = json.loads(hpo("train", "--space", space, "--set", "lr=0.1", "--json").stdout)
    assert done["epochs"] == 3
    assert done["best_value"] == pytest.approx(0.875)
    assert done["checkpoint"].endswith("best.json")


OWN = "name: own\nmetric: val/accuracy\nsampler: random\nbudget: 1\nparameters: {lr: {min: 0.01, max: 1.0}}\n"
SEEING = """
import sys

def plain(lr):
    yield {"val/accuracy": float("torch" in sys.modules)}

def placed(lr, device):
    yield {"val/accuracy": float(device == "cuda")}
"""


def test_a_trainer_of_ones_own_that_asks_for_no_device_costs_no_torch(hpo, tmp_path: Path) -> None:
    (tmp_path / "seeing.py").write_text(SEEING)
    (tmp_path / "own.yaml").write_text(OWN + "trainer: {import: 'seeing:plain'}\n")
    done = json.loads(hpo("train", "--space", tmp_path / "own.yaml", "--set", "lr=0.1", "--json").stdout)
    assert done["best_value"] == 0.0


@pytest.mark.parametrize("there", [True, False])
def test_a_trainer_of_ones_own_is_told_of_the_gpu_that_is_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    (tmp_path / "seeing.py").write_text(SEEING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    space = spec.parse(OWN + "trainer: {import: 'seeing:placed'}\n")
    values = {"import": "seeing:placed", "lr": 0.1}
    run = Training(space, values, settings_for(space, home=home), name="own", seed=0)
    run.open(resume=False)
    assert run.run(lambda record: None).best_value == float(there)


def test_a_checkpoint_that_is_none(hpo, tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("nothing")
    assert "not a readable .pt state file" in hpo("evaluate", "--checkpoint", tmp_path / "notes.pt", code=2).stderr
    (tmp_path / "notes.txt").write_text("nothing")
    assert "those end in .pt" in hpo("evaluate", "--checkpoint", tmp_path / "notes.txt", code=2).stderr
    assert "there is no checkpoint" in hpo("evaluate", "--checkpoint", tmp_path / "absent.pt", code=2).stderr


def test_a_training_that_diverged_stays_one(hpo, home: Path) -> None:
    arguments = ("--set", "lr=1e18", "--set", "batch_size=32", "--set", "epochs=2")
    for more in ((), ("--resume",)):
        done = hpo("train", "--space", "search_spaces/quickstart.yaml", *arguments, *more, code=1)
        assert "try a smaller lr" in done.stderr
    assert not (home / "trainings" / "quickstart" / "best.pt").exists()


@pytest.mark.long
def test_pictures_that_are_others_now_are_not_taken_for_validation(hpo, home: Path, tmp_path: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", train_images=pixels[:400], train_labels=labels[:400])
    space = tmp_path / "npz.yaml"
    space.write_text(
        "name: npz\nmetric: val/accuracy\nsampler: random\nbudget: 1\nparameters: {lr: {min: 0.01, max: 1.0}}\n"
        f"trainer: {{model: linear, dataset: {{name: npz, root: {tmp_path}/digits.npz}}, epochs: 1}}\n"
    )
    checkpoint = json.loads(hpo("train", "--space", space, "--json").stdout)["checkpoint"]
    hpo("evaluate", "--checkpoint", checkpoint)
    np.savez(tmp_path / "digits.npz", train_images=pixels[300:800], train_labels=labels[300:800])
    assert "some of it may have been trained on" in hpo("evaluate", "--checkpoint", checkpoint, code=2).stderr
