"""No code is ever read from a file: one reader of state files, none of pickles, hashes that are checked."""

import ast
import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from bomb import MARK, Bomb
from study_samples import open_study, scheduler_of

from hpo.search.searcher import Searcher
from hpo.study import Study
from hpo.workers.trial import Attempt
from trainers import checkpoint

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "hpo").rglob("*.py"), *(ROOT / "trainers").rglob("*.py")])
PICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
READER = ROOT / "trainers" / "checkpoint.py"
"""torch.load raises pickle.UnpicklingError for what it refuses, which has to be named there."""


def calls(path: Path) -> Iterator[tuple[str, dict[str, str], int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            given = {each.arg: ast.unparse(each.value) for each in node.keywords if each.arg}
            yield ast.unparse(node.func), given, node.lineno


def uses(path: Path) -> set[str]:
    """Names of pickling packages that a file imports, or what it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in PICKLERS}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLERS:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_reads_a_pickle(path: Path) -> None:
    assert uses(path) <= ({"pickle.UnpicklingError"} if path == READER else set())
    for name, given, line in calls(path):
        where = f"{path.name}:{line}"
        if name.endswith("torch.load"):
            assert path == READER, f"{where}: trainers/checkpoint.py is the reader of state files"
            assert given.get("weights_only") == "True", where
        if name in ("np.load", "numpy.load") or name.endswith(("open_memmap", "read_array")):
            assert given.get("allow_pickle", "False") == "False", where
        assert name not in ("read_pickle", "pd.read_pickle", "pandas.read_pickle", "torch.jit.load"), where


def test_the_bomb_goes_off_where_a_pickle_is_read() -> None:
    pickle.loads(pickle.dumps(Bomb()))
    assert MARK.exists()
    MARK.unlink()


def test_a_state_file_with_code_in_it_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    path = tmp_path / "epoch-0001.pt"
    torch.save({"model": Bomb()}, path)
    with pytest.raises(checkpoint.CheckpointError, match="not a readable"):
        checkpoint.load(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert not MARK.exists()


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    from trainers.arrays import read_npz

    path = tmp_path / "bad.npz"
    np.savez(path, train_images=np.array([Bomb()], dtype=object), train_labels=np.zeros(1, int))
    with pytest.raises(ValueError, match="objects are not loaded"):
        read_npz(path, "train", cache=tmp_path / "cache")
    assert not MARK.exists()


@pytest.mark.parametrize("at", [0, 0.3, 0.7, -1])
def test_a_flipped_byte_is_not_loaded(tmp_path: Path, at: float) -> None:
    path = tmp_path / "epoch-0001.pt"
    recorded = checkpoint.save({"weights": torch.arange(500.0)}, path)
    assert recorded == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(checkpoint.load(path, recorded)["weights"], torch.arange(500.0))
    content = bytearray(path.read_bytes())
    content[int(at * len(content)) if at >= 0 else -1] ^= 1
    path.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match="damaged or replaced"):
        checkpoint.load(path, recorded)


def waiting_trial(home: Path, path: str, sha256: str) -> tuple[Study, Attempt]:
    """A trial with two epochs on record and a checkpoint at `path`, as the worker of the next attempt starts it."""
    study = open_study(home)
    scheduler = scheduler_of(study)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    study.ledger.update_trial(study.id, 0, checkpoint=path, sha256=sha256, checkpoint_epoch=2, epoch=2)
    scheduler.requeue(0, "Ctrl-C")
    trial = Searcher(study).next()
    assert trial is not None
    assignment = scheduler_of(study).start(trial, cpu=1, gpu=0)
    assert assignment is not None
    return study, Attempt(assignment)


def test_what_sql_says_of_a_checkpoint_cannot_lead_out_of_its_folder(home: Path) -> None:
    """Somebody who may write a row must not have files elsewhere read, or deleted as superseded checkpoints."""
    outside = home.parent / "epoch-0002.json"
    state = synthetic.Resumable(lr=0.1).state_dict()
    sha256 = checkpoint.save(state, outside)
    study, attempt = waiting_trial(home, "../../epoch-0002.json", sha256)
    assert attempt._epoch == 0, "the state was loaded"
    assert study.checkpoint(0) is None
    assert study.rows()[0]["checkpoint"] is None
