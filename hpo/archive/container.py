"""The file that a study travels in: a zip of JSON lines and checkpoints, with the SHA-256 of each in a manifest.

A file of others is hostile until it is checked: its members have names of a short list and are written under names of
our own, so that nothing in it can lead out of the checkpoint folder; nothing of it is unpickled or run.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from hpo.errors import SpecError, Unavailable
from trainers.folders import replaced

__all__ = ["FORMAT", "TABLES", "Reader", "Writer", "reading", "sound", "writing"]

FORMAT = 1
MANIFEST = "manifest.json"
TABLES = ("study", "trial", "attempt", "epoch", "packing", "history", "promotion", "optuna_study", "optuna_trial")
"""Members of a study, one a table: ours without their `hpo_`, then Optuna's."""
MEMBER = re.compile(rf"[01]/(({'|'.join(TABLES)})\.jsonl|checkpoints/\d{{6,9}}/[A-Za-z0-9][A-Za-z0-9._-]{{0,99}})")
LONGEST = 2**25  # bytes of a line, and of the manifest
MOST = 2**30  # bytes of all lines: more is for the database's own tools
CHUNK = 2**20
FAULTS = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError),
    *(ValueError, KeyError, TypeError, AttributeError, ArithmeticError),
)
"""What reading a damaged zip raises, and values in it of another kind or size than they should be."""


class Writer:
    """Members are added one after the other; the manifest is written last."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._members: dict[str, dict[str, Any]] = {}

    def lines(self, name: str, values: Iterable[Mapping[str, Any]]) -> None:
        """A member of JSON lines; NaN and Infinity are spelled as Python does."""
        self._add(name, zipfile.ZIP_DEFLATED, (f"{json.dumps(dict(each))}\n".encode() for each in values))

    def copy(self, name: str, path: Path) -> None:
        """A member with the content of a file, not compressed: weights hardly are."""
        with path.open("rb") as file:
            self._add(name, zipfile.ZIP_STORED, iter(lambda: file.read(CHUNK), b""))

    def close(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, with `facts` in it."""
        manifest = {"format": FORMAT, **facts, "members": self._members}
        self._file.writestr(_entry(MANIFEST, zipfile.ZIP_DEFLATED), json.dumps(manifest, indent=1))

    def _add(self, name: str, kind: int, parts: Iterable[bytes]) -> None:
        hashed, size = hashlib.sha256(), 0
        with self._file.open(_entry(name, kind), "w", force_zip64=True) as member:
            for part in parts:
                member.write(part)
                hashed.update(part)
                size += len(part)
        self._members[name] = {"size": size, "sha256": hashed.hexdigest()}


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A new file for its owner alone (0600), written beside and renamed once it is whole.

    Raises:
        Unavailable: it cannot be written, as where the disk is full; nothing is left of it.
    """
    try:
        with replaced(path) as beside, zipfile.ZipFile(beside, "w") as file:
            yield Writer(file)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error}") from error


class Reader:
    """A file of which every member was found to be what the manifest says."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self._path, self._file = path, file
        self.manifest = self._manifest()
        self.members: Mapping[str, Mapping[str, Any]] = self.manifest["members"]
        self._check_names()
        for name in self.members:
            self._check(name)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The values of a member of JSON lines, each a mapping."""
        with self._file.open(name) as member:
            found = [json.loads(line) for line in iter(lambda: member.readline(LONGEST), b"")]
        if not all(isinstance(each, dict) for each in found):
            raise ValueError(f"{name} holds a line that is no mapping")
        return found

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Write the content of a member."""
        with self._file.open(name) as member:
            while part := member.read(CHUNK):
                target.write(part)

    def checkpoints(self, index: int) -> list[str]:
        """Checkpoints of the study `index`, as trial/file."""
        start = f"{index}/checkpoints/"
        return [name.removeprefix(start) for name in self.members if name.startswith(start)]

    def size(self, index: int) -> int:
        """Bytes of the checkpoints of the study `index`."""
        return sum(int(self.members[f"{index}/checkpoints/{name}"]["size"]) for name in self.checkpoints(index))

    def _manifest(self) -> dict[str, Any]:
        if MANIFEST not in self._file.namelist() or self._file.getinfo(MANIFEST).file_size > LONGEST:
            raise SpecError(f"{self._path} was not made by `hpo export-study`: it holds no {MANIFEST}")
        manifest = json.loads(self._file.read(MANIFEST))
        if manifest["format"] != FORMAT:
            raise SpecError(
                f"{self._path} has format {manifest['format']!r}, made by hpo {manifest.get('hpo')}; this one reads "
                f"format {FORMAT}: upgrade hpo here, or export the study again with this version"
            )
        if not isinstance(manifest["members"], dict) or not isinstance(manifest["studies"], list):
            raise ValueError("its manifest lists no members and studies")
        return dict(manifest)

    def _check_names(self) -> None:
        """No member twice, none but those of the manifest, all with names of ours, and in all not too much text."""
        there = [each for each in self._file.infolist() if each.filename != MANIFEST]
        if sorted(each.filename for each in there) != sorted(self.members):
            raise ValueError("its members are not those of its manifest")
        for each in there:
            kinds = (zipfile.ZIP_STORED,) if "/checkpoints/" in each.filename else (zipfile.ZIP_DEFLATED,)
            if not MEMBER.fullmatch(each.filename) or each.compress_type not in kinds:
                raise ValueError(f"it holds {each.filename!r}, which no export does")
            if each.file_size != self.members[each.filename]["size"]:
                raise ValueError(f"{each.filename} has not the size that its manifest says")
        if sum(each.file_size for each in there if each.compress_type == zipfile.ZIP_DEFLATED) > MOST:
            raise ValueError(f"it holds more than {MOST} bytes of text")

    def _check(self, name: str) -> None:
        hashed = hashlib.sha256()
        with self._file.open(name) as member:
            while part := member.read(CHUNK):
                hashed.update(part)
        if hashed.hexdigest() != self.members[name]["sha256"]:
            raise ValueError(f"{name} has not the SHA-256 that its manifest says")


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a file and check all of it.

    Raises:
        SpecError: it is not there, damaged, of another format, or holds what no export does.
    """
    with ExitStack() as stack:
        with sound(path):
            reader = Reader(path, stack.enter_context(zipfile.ZipFile(path)))
        yield reader


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn what is raised by a file that is no whole export into SpecError."""
    try:
        yield
    except FAULTS as error:
        raise SpecError(f"{path} is damaged or was not made by `hpo export-study`: {error}") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def _entry(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr = kind, 0o600 << 16
    return entry
