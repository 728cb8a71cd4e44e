from __future__ import annotations

import hashlib
import pickle
import stat
import subprocess
import sys

import pytest
import torch

from trainers.checkpoint import CheckpointError, load, save


class Payload:
    """Writes a file if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_what_is_saved_is_loaded(tmp_path, suffix):
    path = tmp_path / "new" / f"state{suffix}"
    state = {"epoch": 3, "names": ["a", "b"], "value": 0.1, "nothing": None}
    digest = save(state, path)
    assert load(path, digest) == load(path, None) == state
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_training_state_needs_no_code_to_load(tmp_path, trainer):
    training = trainer(optimizer="adamw", dropout=0.2)
    next(training.fit())
    path = tmp_path / "state.pt"
    state = load(path, save(training.state_dict(), path))
    assert state["epoch"] == 1
    assert torch.equal(state["model"]["head.weight"], training.model.state_dict()["head.weight"])


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_a_failed_save_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"state{suffix}"
    digest = save({"epoch": 1}, path)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save({"epoch": 2, "unsaveable": lambda: None}, path)
    assert load(path, digest) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_damage_is_noticed(tmp_path, suffix):
    path = tmp_path / f"state{suffix}"
    digest = save({"epoch": 1}, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=rf"state{suffix} has SHA-256 .*not the recorded {digest}"):
        load(path, digest)
    with pytest.raises(CheckpointError, match=r"not a readable .* delete it and retry"):
        load(path, None)


def test_code_in_a_file_is_not_run(tmp_path):
    path, trap = tmp_path / "state.pt", tmp_path / "trap"
    torch.save({"payload": Payload(trap)}, path)
    with pytest.raises(CheckpointError, match="not a readable"):
        load(path, None)
    assert not trap.exists()


def test_absent_not_a_mapping_and_unknown_suffix(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read .*retry the trial from its start"):
        load(tmp_path / "absent.pt", None)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="holds list, not a mapping"):
        load(tmp_path / "list.json", None)
    with pytest.raises(ValueError, match=r"suffix '\.pkl'; choose \.pt or \.json"):
        save({}, tmp_path / "state.pkl")


def test_json_states_need_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from trainers.checkpoint import load, save; "
        "path = Path(sys.argv[1]); load(path, save({'epoch': 1}, path)); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.json")], check=True, timeout=60)
