"""Arrays, ImageNet's folders, statistics, and pictures that lie elsewhere than the labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from trainers import arrange, statistics
from trainers.config import DatasetConfig
from trainers.data import batches, load, load_test
from trainers.statistics import IMAGENET, KNOWN, moments

DIGITS = load_digits()
PIXELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)
LABELS = DIGITS.target.astype(np.int64)


def npz(path, **changes):
    arrays = {"train_images": PIXELS[:400], "train_labels": LABELS[:400]} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return DatasetConfig(name="npz", root=path)


@pytest.mark.parametrize("layout", ["grey", "colours last", "colours first", "one colour"])
def test_arrays_of_every_layout(tmp_path, layout):
    colour = np.stack([PIXELS, PIXELS // 2, PIXELS // 4], axis=1)
    images, expected = {
        "grey": (PIXELS, PIXELS[:, None]),
        "one colour": (PIXELS[..., None], PIXELS[:, None]),
        "colours last": (colour.transpose(0, 2, 3, 1), colour),
        "colours first": (colour, colour),
    }[layout]
    labels = LABELS.astype(np.uint8)[:, None] if layout == "grey" else LABELS
    config = npz(
        tmp_path / "a.npz",
        train_images=images[:400],
        train_labels=labels[:400],
        val_images=images[400:600],
        val_labels=labels[400:600],
        test_images=images[600:700],
        test_labels=labels[600:700],
        classes=np.array([f"digit {number}" for number in range(10)]),
    )
    split = load(config, tmp_path, "cpu")
    assert np.array_equal(split.train_images, expected[:400])
    assert np.array_equal(split.val_labels, LABELS[400:600])
    assert np.array_equal(load_test(config, tmp_path, "cpu").images, expected[600:700])
    assert split.classes[3] == "digit 3"
    assert sum(split.class_counts) == 400
    assert not split.flip, "who knows what mirrored pictures of this file mean"


def test_arrays_without_val_are_split(tmp_path):
    config = npz(tmp_path / "a.npz")
    split = load(config, tmp_path, "cpu")
    assert (len(split.train_labels), len(split.val_labels), split.classes[9]) == (360, 40, "9")
    with pytest.raises(FileNotFoundError, match="has no test_images and test_labels"):
        load_test(config, tmp_path, "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": None}, "has no array train_images; it has train_labels"),
        ({"train_images": PIXELS[:400] / 255.0}, "train_images is float64; it must be uint8"),
        ({"train_images": PIXELS[:400, 0]}, r"has shape \(400, 8\); give"),
        ({"train_images": PIXELS[:390]}, "train_images holds 390 pictures, train_labels 400"),
        ({"train_labels": LABELS[:400] / 2}, "train_labels is float64 of shape"),
        ({"train_labels": LABELS[:400] - 1}, "train_labels reach from -1 to 8"),
        ({"train_labels": LABELS[:400] * 0}, r"has 1 class\(es\)"),
        ({"classes": np.array(["a", "b"])}, "reach from 0 to 9; with 2 classes they must be 0 to 1"),
        ({"classes": np.array(["a", "a"])}, "must be different strings"),
        ({"train_labels": np.array([None, {}])}, "objects are not loaded"),
        ({"val_labels": LABELS[:3]}, "has no array val_images"),
    ],
    ids=lambda each: "" if isinstance(each, dict) else each[:20],
)
def test_mistakes_in_arrays_are_one_sentence(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(npz(tmp_path / "a.npz", **changes), tmp_path, "cpu")
    assert "\n" not in str(caught.value)


def test_what_is_no_npz(tmp_path):
    path = tmp_path / "a.npz"
    config = DatasetConfig(name="npz", root=path)
    with pytest.raises(FileNotFoundError, match=r"is not a file; give a \.npz"):
        load(config, tmp_path, "cpu")
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"cannot be read as \.npz"):
        load(config, tmp_path, "cpu")
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(ValueError, match="holds a single array"):
        load(DatasetConfig(name="npz", root=tmp_path / "a.npy"), tmp_path, "cpu")
    whole = npz(path)
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 255
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="train_images cannot be read"):
        load(whole, tmp_path, "cpu")


def test_imagenet_wants_its_own_val_with_equal_classes(tmp_path, picture_folder):
    root = picture_folder("train", "val")
    config = DatasetConfig(name="imagenet", root=root, image_size=16, statistics="imagenet")
    split = load(config, tmp_path, "cpu")
    assert (len(split.train_labels), len(split.val_labels)) == (20, 20)
    assert (split.mean, split.std) == IMAGENET == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert split.flip
    only_train = picture_folder("train", shift=1)
    with pytest.raises(FileNotFoundError, match=r"imagenet needs .*val with the same classes"):
        load(DatasetConfig(name="imagenet", root=only_train), tmp_path, "cpu")


def test_pixel_and_picture_statistics(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 6)).astype(np.uint8)
    pictures[:25] //= 4
    scaled = pictures / 255
    mean, deviation = moments(pictures, "pixel")
    assert mean == pytest.approx(scaled.mean(axis=(0, 2, 3)))
    assert deviation == pytest.approx(scaled.std(axis=(0, 2, 3)))
    mean, deviation = moments(pictures, "picture")
    assert mean == pytest.approx(scaled.mean(axis=(0, 2, 3)))
    assert deviation == pytest.approx(scaled.std(axis=(2, 3)).mean(axis=0))
    assert moments(np.zeros((4, 1, 3, 3), np.uint8), "pixel") == ((0.0,), (1 / 255,))
    by_picture = load(DatasetConfig(name="digits", statistics="picture"), tmp_path, "cpu")
    by_pixel = load(DatasetConfig(name="digits"), tmp_path, "cpu")
    assert by_picture.std[0] < by_pixel.std[0]
    with pytest.raises(ValueError, match="imagenet are for colour, and digits is grey"):
        load(DatasetConfig(name="digits", statistics="imagenet"), tmp_path, "cpu")


def test_statistics_see_training_pictures_only(tmp_path, picture_folder):
    root = picture_folder("train", "val")
    split = load(DatasetConfig(name="imagefolder", root=root, image_size=10), tmp_path, "cpu")
    assert split.mean == pytest.approx((split.train_images / 255).mean(dim=(0, 2, 3)).tolist())
    assert split.mean != pytest.approx((split.val_images / 255).mean(dim=(0, 2, 3)).tolist(), rel=1e-4)


def test_known_statistics_hold_at_the_stored_size_only():
    small, large = np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 3, 64, 64), np.uint8)
    given = {"dataset": "cifar10", "fingerprint": "x", "cache": None}
    assert statistics.statistics(small, "pixel", **given) == KNOWN["cifar10", "pixel"]
    assert statistics.statistics(small, "pixel", **given)[1] == (0.247, 0.243, 0.262)
    assert statistics.statistics(small, "picture", **given)[1] == (0.2023, 0.1994, 0.2010)
    assert statistics.statistics(large, "pixel", **given)[0] == (0, 0, 0)


def test_long_computations_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_WORTH_KEEPING", 0)
    first = load(DatasetConfig(name="digits"), tmp_path, "cpu")
    load.cache_clear()
    monkeypatch.setattr(statistics, "moments", None)
    again = load(DatasetConfig(name="digits"), tmp_path, "cpu")
    assert (again.mean, again.std) == (first.mean, first.std)


def test_scaled_pictures_are_the_same_from_memory_and_from_the_cache(tmp_path, monkeypatch):
    config = DatasetConfig(name="digits", image_size=12, limit=100)
    memory = load(config, tmp_path, "cpu")
    load.cache_clear()
    monkeypatch.setattr(arrange, "RESIZED_IN_MEMORY", 0)
    mapped = load(config, tmp_path, "cpu")
    assert torch.equal(mapped.train_images, memory.train_images)
    assert torch.equal(mapped.val_images, memory.val_images)
    assert mapped.fingerprint == memory.fingerprint


@pytest.mark.parametrize("cap", [None, 3])
def test_batches_come_to_the_labels_device(cap):
    """The meta device stands for a GPU that has no room: it keeps shapes and places, and no values."""
    images, labels = torch.arange(11, dtype=torch.uint8)[:, None, None, None], torch.arange(11)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    found = list(batches(images, labels.to("meta"), batch_size=4, order=order, max_batches=cap))
    assert [tuple(part.shape) for part, _ in found] == [(4, 1, 1, 1), (4, 1, 1, 1), (3, 1, 1, 1)]
    assert {each.device.type for pair in found for each in pair} == {"meta"}


def test_batches_read_ahead_are_in_order_and_errors_arrive(monkeypatch):
    from trainers.data import _ahead

    read = []

    def fetch(step):
        read.append(step)
        if step == 8:
            raise OSError("disk gone")
        return torch.tensor(step)

    stream = _ahead(fetch, range(10))
    assert [int(next(stream)) for _ in range(3)] == [0, 1, 2]
    assert set(read) <= set(range(6)), "a few steps ahead, no more"
    with pytest.raises(OSError, match="disk gone"):
        list(stream)
