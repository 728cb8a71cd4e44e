"""`hpo models` as typed: what it prints, and what it ends with."""

import json
import sys

import pytest

from hpo import cli
from trainers.config import model_names


def hpo(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process, for torch takes seconds to import; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_all_networks_with_their_parameters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert hpo(monkeypatch, "models") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["model", "parameters"]
    assert [name for name, _ in lines[1:]] == list(model_names())
    assert ["densenet121", "6,956,426"] in lines

    assert hpo(monkeypatch, "models", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["model"]: row["parameters"] for row in rows} == {
        name: int(count.replace(",", "")) for name, count in lines[1:]
    }


def test_one_network_as_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert hpo(monkeypatch, "models", "describe", "lightweight_cnn", "--input", "1x28x28") == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["features.3", "Conv2d", "20x24x24", "1,820"] in lines
    assert ["features.6", "MaxPool2d", "20x12x12"] in lines
    assert "parameters   30,790, of which 30,790 are trained" in out
    assert "operations   2.25 MFLOP" in out
    assert "optimizer    0.12 MB sgd with momentum, 0.25 MB adam or adamw" in out
    assert "activations  0.18 MB" in out


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["densenet_bc", "--depth", "40", "--growth", "12"], 176_170),
        (["lightweight_cnn_gap", "--input", "1x28x28", "--width", "8"], 1_466),
        (["linear", "--classes", "100"], 307_300),
    ],
)
def test_one_network_as_json(
    arguments: list[str], parameters: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert hpo(monkeypatch, "models", "describe", *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"]) == parameters
    assert found["memory"]["adam_state"] == 8 * parameters


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet81"], "there is no network 'resnet81'; choose one of linear, "),
        (["resnet81"], "did you mean `resnet18`?"),
        (["linear", "--input", "32x32"], "--input '32x32' is no size of a picture"),
        (["linear", "--input", "3x0x32"], "such as 3x32x32"),
        (["lightweight_cnn", "--input", "1x5x5"], "needs pictures of 6 px or more, got 5x5"),
        (["densenet_bc", "--depth", "41"], "depth 41 of densenet_bc must be 6n + 4, three blocks of n layers: try 40"),
        (["resnet18", "--width", "8"], "--width: width is read by lightweight_cnn, "),
        (["linear", "--classes", "0"], "--classes"),
    ],
)
def test_errors_are_sentences_and_exit_code_2(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert hpo(monkeypatch, "models", "describe", *arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert not out
