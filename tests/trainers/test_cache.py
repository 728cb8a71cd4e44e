"""Folders are decoded once, and never wrongly taken from what was decoded before."""

from __future__ import annotations

import json
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from trainers.cache import cached
from trainers.imagefolder import read_folder
from trainers.pictures import Pictures


def read(root: Path, folder: Path, **changes):
    return read_folder(root, "train", **{"size": 10, "threads": 2, "cache": folder / "cache"} | changes)


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("*.npy"))


def test_a_second_reading_opens_no_picture(tmp_path, picture_folder):
    root = picture_folder("train")
    first = read(root, tmp_path)
    times = {path: path.stat() for path in root.rglob("*.png")}
    for path, status in times.items():  # the same name, size and time, another content
        path.write_bytes(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = read(root, tmp_path)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert (first.classes, first.digest()) == (again.classes, again.digest())
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize("change", ["written", "added", "removed", "size"])
def test_any_change_is_noticed(tmp_path, picture_folder, change):
    root = picture_folder("train")
    before = read(root, tmp_path)
    picture = root / "train" / "red" / "3.png"
    if change == "written":
        picture.write_bytes((root / "train" / "blue" / "3.png").read_bytes())
    elif change == "added":
        (root / "train" / "red" / "new.png").write_bytes(picture.read_bytes())
    elif change == "removed":
        picture.unlink()
    after = read(root, tmp_path, **({"size": 12} if change == "size" else {}))
    assert after.digest() != before.digest()
    assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut short", "another byte", "no facts", "facts cut short"])
def test_a_damaged_cache_is_made_anew(tmp_path, picture_folder, damage):
    root = picture_folder("train")
    whole = np.array(read(root, tmp_path).images)
    (pixels,) = stored(tmp_path)
    facts = pixels.with_suffix(".json")
    if damage == "cut short":
        pixels.write_bytes(pixels.read_bytes()[:-100])
    elif damage == "another byte":
        content = bytearray(pixels.read_bytes())
        content[-1] ^= 255
        pixels.write_bytes(content)
    elif damage == "no facts":
        facts.unlink()
    else:
        facts.write_text(facts.read_text()[:50])
    assert np.array_equal(read(root, tmp_path).images, whole)
    assert json.loads(facts.read_text())["digest"] == read(root, tmp_path).digest()


def test_files_that_cannot_be_read_are_named_from_the_cache_too(tmp_path, picture_folder):
    root = picture_folder("train")
    (root / "train" / "red" / "broken.png").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 of 21 pictures cannot be read and are left out: .*red/broken\.png"):
            assert read(root, tmp_path).skipped == ("train/red/broken.png",)
    assert len(stored(tmp_path)) == 1


def _make(folder: Path, journal: Path) -> None:
    def make() -> Pictures:
        with journal.open("a") as file:
            file.write("made\n")
        return Pictures(
            images=np.ones((4, 1, 2, 2), np.uint8), labels=np.array([0, 1, 0, 1], dtype=np.int64), classes=("a", "b")
        )

    assert cached(folder, "key", make).images.sum() == 16


def test_of_processes_that_start_together_one_decodes(tmp_path):
    context = get_context("fork")
    several = [context.Process(target=_make, args=(tmp_path / "cache", tmp_path / "journal")) for _ in range(4)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    assert [process.exitcode for process in several] == [0] * 4
    assert (tmp_path / "journal").read_text() == "made\n"


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, picture_folder):
    root = picture_folder("train")
    (tmp_path / "cache").write_text("a file where the folder belongs")
    with pytest.warns(UserWarning, match="cannot be kept in"):
        assert len(read(root, tmp_path).labels) == 20
