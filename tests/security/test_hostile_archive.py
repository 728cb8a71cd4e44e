"""A file of somebody else: whatever is in it, it is taken whole or refused, and leads nowhere."""

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_samples import open_study, run

from hpo import settings
from hpo.archive.container import MANIFEST
from hpo.archive.export import export
from hpo.archive.restore import restore
from hpo.errors import SpecError
from hpo.store.ledger import Ledger
from hpo.store.storage import PatientStorage

CHECKPOINT = "0/checkpoints/000000/epoch-0001.json"
Members = dict[str, bytes]


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    return export(run(open_study(home), [0.5, 0.25]), tmp_path / "study.zip", checkpoints=True).path


def unpacked(path: Path) -> Members:
    with zipfile.ZipFile(path) as file:
        return {each: file.read(each) for each in file.namelist()}


def packed(members: Members, path: Path, *, kind: int | None = None, mode: int = 0o600) -> None:
    """Write members with a manifest that is right for them."""
    manifest = json.loads(members[MANIFEST])
    manifest["members"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != MANIFEST
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**members, MANIFEST: json.dumps(manifest).encode()}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            stored = zipfile.ZIP_STORED if "checkpoints" in name else zipfile.ZIP_DEFLATED
            file.writestr(entry, content, stored if kind is None else kind)


def refused(path: Path, tmp_path: Path, match: str) -> None:
    """It is refused with these words, and nothing is left of it in the database or on the disk."""
    where = settings.resolve(home=tmp_path / "other")
    with pytest.raises(SpecError, match=match) as caught:
        restore(path, where, None)
    assert str(path) in str(caught.value) or "does not fit" in str(caught.value)
    if where.home.exists():
        assert Ledger.open(where.storage).studies() == []
        assert PatientStorage.open(where.storage).get_all_studies() == []
        assert [each for each in where.checkpoints.rglob("*") if each.is_file()] == []


def edited(member: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    """Change the first line of a member."""

    def edit(members: Members) -> None:
        first, *others = members[member].splitlines(keepends=True)
        row = json.loads(first)
        change(row)
        members[member] = b"".join([json.dumps(row).encode() + b"\n", *others])

    return edit


def renamed(member: str, name: str) -> Callable[[Members], None]:
    return lambda members: members.update({name: members.pop(member)})


def doubled(member: str) -> Callable[[Members], None]:
    return lambda members: members.update({member: members[member] * 2})


EDITS = {
    "a path that climbs": (renamed(CHECKPOINT, "0/checkpoints/000000/../../../../x"), "which no export does"),
    "an absolute path": (renamed(CHECKPOINT, "/tmp/x"), "which no export does"),
    "another trial's folder": (renamed(CHECKPOINT, "0/checkpoints/000001/epoch-0002.json"), "are not those on record"),
    "a member too many": (lambda members: members.update({"0/extra.jsonl": b""}), "which no export does"),
    "a member too few": (lambda members: members.pop("0/epoch.jsonl"), "epoch.jsonl"),
    "a uid that climbs": (
        edited("0/study.jsonl", lambda row: row.update(uid="../" * 10 + "xx")),
        "no uid",
    ),
    "a name that climbs": (edited("0/study.jsonl", lambda row: row.update(name="../x")), "not the one"),
    "a column of ours that stays": (edited("0/study.jsonl", lambda row: row.update(home="/root")), "no column 'home'"),
    "a run of MLflow": (edited("0/trial.jsonl", lambda row: row.update(run_id="x")), "no column 'run_id'"),
    "another space": (edited("0/study.jsonl", lambda row: row.update(hash="0" * 16)), "not the one"),
    "text for a number": (edited("0/trial.jsonl", lambda row: row.update(started="soon")), "hpo_trial.started"),
    "a time out of time": (edited("0/trial.jsonl", lambda row: row.update(ended=1e300)), "hpo_trial.ended"),
    "no time": (edited("0/trial.jsonl", lambda row: row.update(started=None)), "hpo_trial.started is missing"),
    "too large a number": (edited("0/trial.jsonl", lambda row: row.update(epoch=2**40)), "hpo_trial.epoch"),
    "NUL in a text": (edited("0/trial.jsonl", lambda row: row.update(error="a\0b")), "hpo_trial.error"),
    "half a character": (edited("0/trial.jsonl", lambda row: row.update(error="\ud800")), "hpo_trial.error"),
    "no metrics": (edited("0/epoch.jsonl", lambda row: row.update(metrics="[]")), "hpo_epoch.metrics"),
    "a trial that Optuna has not": (edited("0/epoch.jsonl", lambda row: row.update(number=9)), "Optuna has not"),
    "another checkpoint": (lambda members: members.update({CHECKPOINT: b"{}"}), "not the SHA-256 on record"),
    "a link as a checkpoint on record": (
        edited("0/trial.jsonl", lambda row: row.update(checkpoint="../../etc/passwd")),
        "are not those on record",
    ),
    "a state of nobody": (edited("0/optuna_trial.jsonl", lambda row: row.update(state="WON")), "WON"),
    "trials out of order": (edited("0/optuna_trial.jsonl", lambda row: row.update(number=1)), "where trial 0 should"),
    "a value out of its range": (edited("0/optuna_trial.jsonl", lambda row: row["params"].update(lr=9.0)), "lr"),
    "too large a value": (edited("0/optuna_trial.jsonl", lambda row: row.update(values=[10**400])), "too large"),
    "too large a step": (
        edited("0/optuna_trial.jsonl", lambda row: row.update(intermediate_values={str(2**70): 1.0})),
        "does not fit",
    ),
    "a year that is none elsewhere": (
        edited("0/optuna_trial.jsonl", lambda row: row.update(datetime_start="0001-01-01T00:00:00+23:00")),
        "out of range",
    ),
    "a list for a space": (edited("0/study.jsonl", lambda row: row.update(canonical="[]")), "damaged"),
    "a list for a trial": (lambda members: members.update({"0/optuna_trial.jsonl": b"[]\n"}), "no mapping"),
    "rows twice": (doubled("0/epoch.jsonl"), "does not fit into the database"),
    "no study": (lambda members: members.update({"0/study.jsonl": b""}), "damaged"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_no_export_writes_is_refused(name: str, file: Path, tmp_path: Path) -> None:
    edit, match = EDITS[name]
    members = unpacked(file)
    edit(members)
    packed(members, tmp_path / "edited.zip")
    refused(tmp_path / "edited.zip", tmp_path, match)


def test_a_file_packed_anew_is_taken(file: Path, tmp_path: Path) -> None:
    packed(unpacked(file), tmp_path / "edited.zip")
    assert restore(tmp_path / "edited.zip", settings.resolve(home=tmp_path / "other"), None).checkpoints == 2


def test_a_text_that_is_no_yaml_stays_as_it_is(file: Path, tmp_path: Path) -> None:
    members = unpacked(file)
    edited("0/study.jsonl", lambda row: row.update(text="name: [\n"))(members)
    packed(members, tmp_path / "edited.zip")
    restored = restore(tmp_path / "edited.zip", settings.resolve(home=tmp_path / "other"), "other").studies[0]
    assert (restored.name, restored.row["text"]) == ("other", "name: [\n")


def test_a_link_is_a_file_like_others(file: Path, tmp_path: Path) -> None:
    packed(unpacked(file), tmp_path / "links.zip", mode=stat.S_IFLNK | 0o777)
    copy = restore(tmp_path / "links.zip", settings.resolve(home=tmp_path / "other"), None).studies[0]
    path = copy.checkpoint(0)
    assert path is not None
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_checkpoint_that_would_unfold_is_refused(file: Path, tmp_path: Path) -> None:
    packed(unpacked(file), tmp_path / "bomb.zip", kind=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "bomb.zip", tmp_path, "which no export does")


def test_damage_is_found_in_every_member(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    with zipfile.ZipFile(file) as opened:
        members = [each for each in opened.infolist() if each.file_size]
    assert len(members) > 5
    for each in members:
        header = content[each.header_offset : each.header_offset + 30]
        start = (
            each.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:], "little")
        )
        damaged = bytearray(content)
        damaged[start + each.compress_size // 2] ^= 0xFF
        (tmp_path / "damaged.zip").write_bytes(damaged)
        refused(tmp_path / "damaged.zip", tmp_path, "damaged or was not made by")
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "short.zip").write_bytes(content[:length])
        refused(tmp_path / "short.zip", tmp_path, "damaged or was not made by")


def test_a_newer_format_says_what_to_do(file: Path, tmp_path: Path) -> None:
    members = unpacked(file)
    members[MANIFEST] = members[MANIFEST].replace(b'"format": 1', b'"format": 2')
    packed(members, tmp_path / "newer.zip")
    refused(tmp_path / "newer.zip", tmp_path, "has format 2.*upgrade hpo here")
    refused(tmp_path / "nothing.zip", tmp_path, "cannot be read: No such file")


def test_no_password_and_no_address_of_a_database_is_in_it(home: Path, tmp_path: Path) -> None:
    study = run(open_study(home), [0.5, None])
    secret = f"cannot reach postgresql://me:s3cr3t@db.internal/runs, nor {study.settings.storage}"
    study.ledger.update_trial(study.id, 1, error=secret, traceback=secret)
    study.ledger.update_study(study.id, outcome=secret, mlflow="http://mlflow.internal:5000")
    study.storage.set_study_system_attr(1, "note", secret)
    study.storage.create_new_trial(1, study.frozen_trials()[1])
    path = export(study, tmp_path / "study.zip", checkpoints=True).path
    everything = b"".join(unpacked(path).values()).decode()
    for word in ("s3cr3t", study.settings.storage, study.settings.mlflow, "mlflow.internal"):
        assert word not in everything
    assert "cannot reach postgresql://me:***@" in everything
    study.ledger.update_study(study.id, text=f"# postgresql://me:s3cr3t@db/x\n{study.row['text']}")
    again = type(study).load("study", study.settings)
    with pytest.raises(SpecError, match="holds what looks like a password"):
        export(again, tmp_path / "again.zip", checkpoints=True)
    assert not (tmp_path / "again.zip").exists()
