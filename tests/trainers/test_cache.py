from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainers import arrange, cache, decoding
from trainers.cache import cached, new_array, remembered, shrink
from trainers.config import DatasetConfig
from trainers.data import load
from trainers.pictures import Pictures

ROOT = Path(__file__).parent.parent.parent


def counting(value=7, count=5):
    """A build that tells how often it ran."""
    calls = []

    def build(allocate):
        calls.append(value)
        images = allocate((count, 1, 3, 3))
        images[:] = np.arange(count * 9, dtype=np.uint8).reshape(count, 1, 3, 3) + value
        return Pictures(images=images, labels=np.arange(count) % 2, classes=("a", "b"), skipped_files=("x.png",))

    return build, calls


def read(root, data, **changes):
    load.cache_clear()
    return load(DatasetConfig(name="imagefolder", root=root, image_size=10, **changes), data, "cpu")


def arrays(data):
    return sorted((data / "cache").glob("folder-*.npy"))


def test_built_once_and_mapped_from_the_file(tmp_path):
    build, calls = counting()
    first, second = (cached(tmp_path, "set", "k", build) for _ in range(2))
    assert calls == [7]
    assert isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable
    assert np.array_equal(first.images, second.images)
    assert (second.classes, second.skipped_files) == (("a", "b"), ("x.png",))
    assert second.content == Pictures(images=second.images, labels=second.labels, classes=second.classes).digest()


@pytest.mark.parametrize(
    "harm", ["cut", "zeros", "no json", "bad json", "other format", "foreign array", "other pixel"]
)
def test_a_damaged_cache_is_rebuilt(tmp_path, harm):
    build, calls = counting()
    whole = np.array(cached(tmp_path, "set", "k", build).images)
    array, facts = tmp_path / "set-k.npy", tmp_path / "set-k.json"
    raw = array.read_bytes()
    match harm:
        case "cut":
            array.write_bytes(raw[:-5])
        case "zeros":
            array.write_bytes(raw[:128] + bytes(len(raw) - 128))
        case "other pixel":
            array.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        case "foreign array":
            np.save(array, np.zeros(3))
        case "no json":
            facts.unlink()
        case "bad json":
            facts.write_text(facts.read_text()[:40])
        case "other format":
            facts.write_text(json.dumps(json.loads(facts.read_text()) | {"format": 0}))
    assert np.array_equal(cached(tmp_path, "set", "k", build).images, whole)
    assert calls == [7, 7]


def test_another_key_replaces_the_array_and_what_was_derived_from_it(tmp_path):
    old = cached(tmp_path, "set-32", "old", counting()[0])
    cached(tmp_path, "set-320", "old", counting()[0])
    derived = tmp_path / f"{cache.derived_name(old.digest())}-k-1.npy"
    derived.write_bytes(b"")
    (tmp_path / "set-32-old.npy.part").write_bytes(b"left by a killed process")
    cached(tmp_path, "set-32", "new", counting(9)[0])
    left = {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"}
    assert left == {"set-32-new.npy", "set-32-new.json", "set-320-old.npy", "set-320-old.json"}


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path):
    def broken(allocate):
        allocate((3, 1, 2, 2))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path, "set", "k", broken)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert len(cached(tmp_path, "set", "k", counting()[0]).labels) == 5


def test_threads_that_start_together_build_once(tmp_path):
    build, calls = counting()
    found = []
    threads = [threading.Thread(target=lambda: found.append(cached(tmp_path, "set", "k", build))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({pictures.digest() for pictures in found}) == 1


def test_processes_that_start_together_decode_once(tmp_path, picture_folder):
    root = picture_folder("train", count=200)
    code = """
import sys
from pathlib import Path
import trainers.imagefolder as folder
decode, calls = folder.decode_all, []
folder.decode_all = lambda *a, **k: (calls.append(1), decode(*a, **k))[1]
root, cache = map(Path, sys.argv[1:])
print(len(calls), folder.read_folder(root, "train", size=100, threads=1, cache=cache).digest(), len(calls))
"""
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "data")]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[0].split() for process in started]
    assert sorted(int(calls) for _, _, calls in told) == [0, 1]
    assert told[0][1] == told[1][1]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("no folder can be made here")
    build, calls = counting()
    found = [cached(tmp_path / "file" / "cache", "set", "k", build) for _ in range(2)]
    assert calls == [7, 7]
    assert found[0].digest() == found[1].digest()
    assert found[0].images.sum() == found[1].images.sum() > 0


def test_no_room_is_one_sentence(tmp_path):
    with pytest.raises(OSError, match=r"1000000 decoded pictures need 3000000\.00 GB in "):
        new_array(tmp_path / "a.npy", (10**6, 3, 1000, 10**6))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_dropped_in_place(tmp_path):
    images = new_array(tmp_path / "a.npy", (200, 1, 2, 2))
    images[:] = np.arange(200, dtype=np.uint8)[:, None, None, None]
    keep = np.arange(200) % 3 > 0
    shrunk = shrink(images, keep)
    assert np.array_equal(shrunk[:, 0, 0, 0], np.flatnonzero(keep))
    assert np.array_equal(np.load(tmp_path / "a.npy"), shrunk)


def test_remembered_values(tmp_path):
    assert remembered(tmp_path / "new", "x", lambda: [1.5, 2]) == [1.5, 2]
    assert remembered(tmp_path / "new", "x", lambda: 1 / 0) == [1.5, 2]
    (tmp_path / "new" / "x.json").write_text("[1.5,")
    assert remembered(tmp_path / "new", "x", lambda: [3]) == [3]


@pytest.mark.parametrize("change", ["pixels", "added", "removed", "touched"])
def test_the_cache_follows_the_files(tmp_path, picture_folder, change):
    root, data = picture_folder("train", "val"), tmp_path / "data"
    before, stored = read(root, data), arrays(data)
    assert read(root, data).fingerprint == before.fingerprint
    assert arrays(data) == stored
    file = root / "train" / "red" / "3.png"
    match change:
        case "pixels":
            Image.new("RGB", (12, 14), "white").save(file)
        case "added":
            file.with_name("new.png").write_bytes(file.read_bytes())
        case "removed":
            file.unlink()
        case "touched":
            os.utime(file, ns=(1, 1))
    after = read(root, data)
    assert (after.fingerprint == before.fingerprint) == (change == "touched"), "content counts, not the file's time"
    assert len(arrays(data)) == 2
    assert arrays(data) != stored
    assert sum(after.class_counts) == {"added": 21, "removed": 19}.get(change, 20)


def test_corrupt_files_are_named_when_they_come_from_the_cache_too(tmp_path, picture_folder):
    root, data = picture_folder("train", "val"), tmp_path / "data"
    for name in ("3.png", "9.png"):
        (root / "train" / "blue" / name).write_bytes(b"not a picture")
    splits = []
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 of 20 pictures cannot be read .*blue/3\.png, train/blue/9\.png"):
            splits.append(read(root, data))
    assert splits[0].skipped_files == splits[1].skipped_files == ("train/blue/3.png", "train/blue/9.png")
    assert splits[1].skipped == 2
    assert splits[1].class_counts == (8, 10)
    assert torch.equal(splits[0].train_images, splits[1].train_images)


def test_processes_decode_what_one_would(tmp_path, picture_folder, monkeypatch):
    root = picture_folder("train", count=80)
    (root / "train" / "blue" / "70.png").write_bytes(b"")
    (root / "train" / "red" / "0.png").write_bytes(b"\x89PNG")
    files = [f"train/{name}/{number}.png" for name in ("blue", "red") for number in range(80)]
    work = sum((root / file).stat().st_size for file in files)
    alone, together = (new_array(tmp_path / f"{name}.npy", (160, 3, 8, 8)) for name in ("one", "two"))
    one = decoding.decode_all(files, root, alone, size=8, work=work, threads=1)
    monkeypatch.setattr(decoding, "WORTH_A_PROCESS", 1)
    two = decoding.decode_all(files, root, together, size=8, work=work, threads=2)
    assert np.flatnonzero(~one).tolist() == np.flatnonzero(~two).tolist() == [70, 80]
    assert np.array_equal(alone[one], together[two])


def test_a_decoding_process_that_dies_is_an_error(tmp_path, picture_folder, monkeypatch):
    monkeypatch.setattr(decoding, "WORTH_A_PROCESS", 1)
    root = picture_folder("train")
    images = new_array(tmp_path / "a.npy", (10, 3, 8, 8))
    files = [f"train/blue/{number}.png" for number in range(10)]
    monkeypatch.setattr(decoding, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="ended with 3"):
        decoding.decode_all(files, root, images, size=8, work=100, threads=2)


def test_a_plain_jpeg_takes_the_short_way_to_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    plain, tagged = tmp_path / "plain.jpg", tmp_path / "tagged.jpg"
    Image.fromarray(pixels).save(plain, quality=90)
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(pixels).save(tagged, quality=90, exif=exif)
    assert np.array_equal(
        decoding.decode(plain.read_bytes(), (3, 16, 16)), decoding.decode(tagged.read_bytes(), (3, 16, 16))
    )


def test_large_choices_come_from_a_file_that_processes_share(tmp_path, picture_folder, monkeypatch):
    root, data = picture_folder("train"), tmp_path / "data"
    small = read(root, data, val_fraction=0.2)
    monkeypatch.setattr(arrange, "COPIED_IN_MEMORY", 0)
    mapped = read(root, data, val_fraction=0.2)
    assert len(list((data / "cache").glob("derived-*.npy"))) == 2
    assert mapped.fingerprint == small.fingerprint
    for name in ("train_images", "val_images", "train_labels", "val_labels"):
        assert torch.equal(getattr(mapped, name), getattr(small, name))
    Image.new("RGB", (12, 14), "white").save(root / "train" / "red" / "3.png")
    read(root, data, val_fraction=0.2)
    assert len(list((data / "cache").glob("derived-*.npy"))) == 2, "what came from the old files is gone"
