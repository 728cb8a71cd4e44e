from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.datasets import MNIST

from trainers.config import DatasetConfig
from trainers.data import batches, load, load_test, steps_in_epoch
from trainers.pictures import stratified

CLASSES = ("ant", "bee", "cow")


def digits(folder, **changes):
    return load(DatasetConfig(name="digits", **changes), folder, "cpu")


def multiset(*groups):
    return Counter(picture.numpy().tobytes() for group in groups for picture in group)


def test_train_val_and_test_part_the_digits(tmp_path):
    split = digits(tmp_path)
    test = load_test(DatasetConfig(name="digits"), tmp_path, "cpu")
    stored = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    found = multiset(split.train_images, split.val_images, test.images)
    assert found == Counter(picture.tobytes() for picture in stored)
    assert split.train_images.shape[1:] == (1, 8, 8)
    assert split.train_images.dtype == torch.uint8


def test_the_test_part_stays_the_same_whatever_is_searched(tmp_path):
    plain = load_test(DatasetConfig(name="digits"), tmp_path, "cpu")
    other = load_test(DatasetConfig(name="digits", seed=9, val_fraction=0.4, limit=50), tmp_path, "cpu")
    assert plain.fingerprint == other.fingerprint


def test_the_split_is_stratified_seeded_and_independent_of_limit(tmp_path):
    split = digits(tmp_path, val_fraction=0.2)
    everything = torch.cat([split.train_labels, split.val_labels]).bincount()
    assert len(split.val_labels) == round(0.2 * int(everything.sum()))
    assert ((split.val_labels.bincount() - 0.2 * everything).abs() <= 1).all()
    limited = digits(tmp_path, val_fraction=0.2, limit=55)
    assert torch.equal(limited.val_images, split.val_images)
    assert sorted(limited.train_labels.bincount().tolist()) == [5] * 5 + [6] * 5
    assert digits(tmp_path, val_fraction=0.2, seed=1).fingerprint != split.fingerprint


def test_equal_arguments_share_one_copy(tmp_path):
    assert digits(tmp_path) is digits(tmp_path)


def test_resized_and_measured(tmp_path):
    split = digits(tmp_path, image_size=12)
    assert split.val_images.shape[2:] == (12, 12)
    pixels = split.train_images.double() / 255
    assert split.mean == pytest.approx([pixels.mean().item()])
    assert split.std == pytest.approx([pixels.std(correction=0).item()])


@pytest.mark.parametrize(("count", "spare"), [(3, 0), (4, 1), (60, 1), (110, 0), (107, 1)])
def test_stratified_counts_are_exact(count, spare):
    labels = np.repeat([0, 1, 2], [100, 7, 3])
    chosen = stratified(labels, count, seed=1, spare=spare, classes=CLASSES)
    found = np.bincount(labels[chosen], minlength=3)
    assert len(set(chosen)) == count == found.sum()
    assert (found >= 1).all()
    assert (found <= np.array([100, 7, 3]) - spare).all()
    assert np.array_equal(chosen, stratified(labels, count, seed=1, spare=spare, classes=CLASSES))


def test_too_small_to_be_split():
    labels = np.array([0, 0, 0, 1, 1, 2])
    with pytest.raises(ValueError, match=r"class 'cow' has 1 picture\(s\), too few"):
        stratified(labels, 3, seed=0, spare=1, classes=CLASSES)
    with pytest.raises(ValueError, match="cannot choose 2 of 6 pictures by class; choose 3 to 6"):
        stratified(labels, 2, seed=0, spare=0, classes=CLASSES)


@pytest.mark.parametrize(("count", "sizes"), [(8, [4, 4]), (10, [4, 4, 2]), (9, [4, 5]), (3, [3]), (1, [1])])
def test_batches_hold_every_picture_once(count, sizes):
    images, labels = torch.arange(count)[:, None, None, None], torch.arange(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    found = list(batches(images, labels, batch_size=4, order=order))
    assert [len(part) for _, part in found] == sizes
    assert torch.equal(torch.cat([part for _, part in found]), order)
    assert torch.equal(torch.cat([part.flatten() for part, _ in found]), order)
    for cap in (None, 1, 2, 9):
        capped = list(batches(images, labels, batch_size=4, max_batches=cap))
        assert len(capped) == steps_in_epoch(count, 4, cap) == min(len(sizes), cap or 9)


def write_mnist(root):
    """Store the digits as MNIST's four files, in its own format."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    bunch = load_digits()
    pixels = np.kron(bunch.images * 15, np.ones((1, 3, 3))).astype(np.uint8)[:, :24, :24]
    pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    for part, chosen in (("train", slice(0, 1000)), ("t10k", slice(1000, 1300))):
        labels = bunch.target[chosen].astype(np.uint8)
        head = np.array([0x803, len(labels), 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels[chosen].tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            np.array([0x801, len(labels)], dtype=">i4").tobytes() + labels.tobytes()
        )


@pytest.mark.parametrize("download", [True, False])
def test_mnist_files_that_are_there_are_used(tmp_path, download):
    write_mnist(tmp_path)
    config = DatasetConfig(name="mnist", download=download)
    split = load(config, tmp_path, "cpu")
    assert split.train_images.shape == (900, 1, 28, 28)
    assert split.val_images.shape == (100, 1, 28, 28)
    assert (split.mean, split.std, split.flip) == ((0.1307,), (0.3081,), False)
    expected = MNIST(tmp_path, train=True).data[:, None]
    assert multiset(split.train_images, split.val_images) == multiset(expected)
    assert len(load_test(config, tmp_path, "cpu").labels) == 300


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_absent_files_are_one_clear_sentence(tmp_path, name):
    with pytest.raises(
        FileNotFoundError,
        match=rf"{name} is not whole in .*download is false.*use dataset: {{name: imagefolder, root: ",
    ):
        load(DatasetConfig(name=name, download=False), tmp_path, "cpu")
    assert list(tmp_path.iterdir()) == []
