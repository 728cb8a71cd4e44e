from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainers.config import DatasetConfig
from trainers.data import load, load_test


@pytest.fixture
def digits():
    images, labels = load_digits(return_X_y=True)
    return np.round(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), labels


def section(path, **changes):
    return DatasetConfig(name="npz", root=path, **changes)


def test_arrays_of_every_layout(tmp_path, digits):
    images, labels = digits
    splits = []
    layouts = (images, images[..., None], images[:, None], np.stack([images] * 3, -1), np.stack([images] * 3, 1))
    for number, stored in enumerate(layouts):
        path = tmp_path / f"{number}.npz"
        np.savez(path, train_images=stored, train_labels=labels)
        splits.append(load(section(path), tmp_path, "cpu"))
    assert [split.train_images.shape[1] for split in splits] == [1, 1, 1, 3, 3]
    for split in splits:
        assert np.array_equal(split.train_images[:, :1], splits[0].train_images)
        assert split.classes == tuple("0123456789")
        assert split.class_counts == tuple(np.bincount(split.train_labels))
    assert not splits[0].flip


def test_parts_and_classes_of_its_own(tmp_path, digits):
    images, labels = digits
    few = labels < 3
    names = np.array(["zero", "one", "two"])
    parts = {"train": slice(0, 300), "val": slice(300, 400), "test": slice(400, 450)}
    arrays = {f"{part}_images": images[few][cut] for part, cut in parts.items()}
    arrays |= {f"{part}_labels": labels[few][cut] for part, cut in parts.items()}
    np.savez_compressed(tmp_path / "digits.npz", classes=names, **arrays)
    split = load(section(tmp_path / "digits.npz"), tmp_path, "cpu")
    assert (len(split.train_labels), len(split.val_labels), split.classes) == (300, 100, ("zero", "one", "two"))
    assert len(load_test(section(tmp_path / "digits.npz"), tmp_path, "cpu").labels) == 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": None}, "lacks train_images; it holds train_labels"),
        ({"train_labels": None}, "lacks train_labels"),
        ({"train_images": np.zeros((10, 4, 4), np.float32)}, "is float32 .* it must be uint8"),
        ({"train_images": np.zeros((10, 4, 4, 5), np.uint8)}, "of 1 or 3 colours"),
        ({"train_labels": np.zeros(9, int)}, "a whole number for each of 10 pictures"),
        ({"train_labels": np.zeros(10)}, "a whole number for each"),
        ({"train_labels": np.arange(10) - 1}, r"must lie in 0\.\.8"),
        ({"classes": np.array(["a"])}, "names .* classes, and train_labels has 10"),
        ({"train_labels": np.array([{}] * 10, dtype=object)}, "no .npz file of plain arrays"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(tmp_path, change, words):
    arrays = {"train_images": np.zeros((10, 4, 4), np.uint8), "train_labels": np.arange(10)} | change
    np.savez(tmp_path / "bad.npz", **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(ValueError, match=words):
        load(section(tmp_path / "bad.npz"), tmp_path, "cpu")


def test_what_is_no_file_of_arrays(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no file"):
        load(section(tmp_path / "absent.npz"), tmp_path, "cpu")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"no \.npz file of plain arrays"):
        load(section(tmp_path / "text.npz"), tmp_path, "cpu")
    np.savez(tmp_path / "no_test.npz", train_images=np.zeros((40, 4, 4), np.uint8), train_labels=np.arange(40) % 2)
    with pytest.raises(FileNotFoundError, match="no arrays test_images and test_labels"):
        load_test(section(tmp_path / "no_test.npz"), tmp_path, "cpu")
