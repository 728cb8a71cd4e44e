"""Whatever the umask: what lies in the home folder is its owner's alone."""

import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bomb import MARK, Bomb

import hpo
from hpo import settings, spec
from hpo.model import evaluation
from hpo.model.training import Training
from hpo.study import Study
from trainers import downloaded
from trainers.cache import remembered
from trainers.config import DatasetConfig
from trainers.folders import private


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Folders and files at or below a folder that somebody else could read or write."""
    found = {path: path.lstat().st_mode & 0o777 for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in found.items() if mode & 0o077}


@pytest.mark.slow
def test_a_search_a_training_and_an_evaluation_leave_nothing_for_others(ray_cluster: str, home: Path) -> None:
    home = home / "not" / "there"
    generator = np.random.default_rng(0)
    parts = {"train": 64, "test": 16}
    arrays = {f"{part}_images": generator.integers(0, 256, (size, 8, 8), np.uint8) for part, size in parts.items()}
    labels = {f"{part}_labels": np.arange(size) % 2 for part, size in parts.items()}
    root = home.parents[2] / "pictures.npz"
    np.savez(root, **arrays, **labels)
    trainer = {"model": "linear", "dataset": {"name": "npz", "root": str(root)}, "epochs": 2, "batch_size": 16}
    tree = {"name": "modes", "metric": "val/accuracy", "sampler": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}
    where = settings.resolve(home=home)
    where.make_home()
    made = Study.open(spec.from_mapping({**tree, "trainer": trainer}), where)
    planted = private(home / ".tune" / made.folder_name / "search")
    for name in ("tuner.pkl", "trainable.pkl", "searcher-state.pkl", "experiment_state.json"):
        (planted / name).write_bytes(pickle.dumps(Bomb()))
    before = os.umask(0o022)
    try:
        study = hpo.run({**tree, "trainer": trainer}, home=home, skip_checks=("labels",))  # they mean nothing
        space = spec.from_mapping({**tree, "trainer": trainer})
        training = Training(space, space.resolve({"lr": 0.1}), where, name="once", seed=0)
        training.open(resume=False)
        training.run(lambda record: None)
        evaluation.evaluate([training.folder / "best.pt"], part="test", tta=False, device="cpu", settings=where)
    finally:
        os.umask(before)

    assert study.counts() == {"COMPLETE": 2}
    assert not MARK.exists(), "a pickle of Ray Tune was read"
    written = {path.relative_to(home).parts[0] for path in home.rglob("*")}
    assert written >= {
        "studies.db",
        "studies.db.lock",
        "mlflow.db",
        "artifacts",
        "checkpoints",
        "datasets",
        "trainings",
        "tracking.log",
        ".tracking-modes.lock",
        "test-openings.jsonl",
    }
    assert len(list((home / "artifacts").rglob("*.*"))) >= 4
    assert list((home / "datasets" / "cache").glob("*.npy"))
    assert open_to_others(home.parents[1]) == {}
    assert not any((home / ".tune").iterdir()), "Ray Tune's pickles were left"
    (home / "mlflow.db").unlink()
    command = [sys.executable, "-m", "hpo", "doctor", "--fix", "--home", str(home)]
    done = subprocess.run(command, umask=0o022, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert open_to_others(home.parents[1]) == {}, "a doctor that makes MLflow anew"


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path, umask: None) -> None:
    tmp_path.chmod(0o755)
    settings.resolve(home=tmp_path).make_home()
    remembered(tmp_path / "datasets" / "cache", "facts", lambda: 1)
    assert open_to_others(tmp_path) == {".": "0o755"}


def archive_of_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, member: tarfile.TarInfo | None = None) -> None:
    """Put a small archive where CIFAR-10's would be, and let its hash be the right one."""
    import hashlib

    inner = folder / "made" / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    (inner / "data_batch_1").write_bytes(b"pictures")
    path = folder / "datasets" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(inner, "cifar-10-batches-py")
        if member is not None:
            archive.addfile(member)
    monkeypatch.setattr(downloaded._dataset("cifar10"), "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())


def test_what_is_downloaded_into_the_home_folder_is_private(
    tmp_path: Path, umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive_of_cifar(tmp_path, monkeypatch)
    (tmp_path / "datasets").chmod(0o700)
    downloaded._make_whole(DatasetConfig(name="cifar10"), tmp_path / "datasets")
    assert (tmp_path / "datasets" / "cifar-10-batches-py" / "data_batch_1").read_bytes() == b"pictures"
    assert open_to_others(tmp_path / "datasets") == {}


def test_a_root_of_the_users_may_be_for_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_of_cifar(tmp_path, monkeypatch)
    root = tmp_path / "datasets"
    downloaded._make_whole(DatasetConfig(name="cifar10", root=root), root)
    assert (root / "cifar-10-batches-py" / "data_batch_1").stat().st_mode & 0o044 == 0o044


def bad_members() -> Iterator[tarfile.TarInfo]:
    yield tarfile.TarInfo("../outside")
    for kind, target in ((tarfile.SYMTYPE, "../.."), (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../outside")):
        member = tarfile.TarInfo("cifar-10-batches-py/link")
        member.type, member.linkname = kind, target
        yield member
    device = tarfile.TarInfo("cifar-10-batches-py/device")
    device.type = tarfile.CHRTYPE
    yield device


@pytest.mark.parametrize("member", list(bad_members()), ids=lambda each: f"{each.name} {each.linkname}".strip())
def test_an_archive_cannot_write_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: tarfile.TarInfo
) -> None:
    archive_of_cifar(tmp_path, monkeypatch, member)
    with pytest.raises(FileNotFoundError, match="is not unpacked"):
        downloaded._make_whole(DatasetConfig(name="cifar10"), tmp_path / "datasets")
    assert {path.name for path in tmp_path.iterdir()} == {"made", "datasets"}
    assert not list(tmp_path.rglob("link"))


def test_a_member_with_a_whole_path_comes_to_lie_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_of_cifar(tmp_path, monkeypatch, tarfile.TarInfo("/tmp/hpo-outside"))
    downloaded._make_whole(DatasetConfig(name="cifar10"), tmp_path / "datasets")
    assert (tmp_path / "datasets" / "tmp" / "hpo-outside").exists()
    assert not Path("/tmp/hpo-outside").exists()
