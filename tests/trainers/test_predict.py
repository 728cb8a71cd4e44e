"""Predictions from a checkpoint are what the training would have said, whatever the picture file is like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from trainers.checkpoint import CheckpointError, save
from trainers.predict import Predictor


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory):
    """Twenty real digits as PNG files with their labels."""
    folder = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    files = []
    for number in range(20):
        pixels = np.round(images[number].reshape(8, 8) * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        files.append(folder / f"{number:02d}.png")
    return files, [str(each) for each in labels[:20]]


@pytest.fixture
def checkpoint(trainer, tmp_path):
    """Train on digits until most are right; returns the state file and the trainer."""

    def make(name: str = "state.pt", seed: int = 0, **options):
        training = trainer(seed=seed, dataset="digits", epochs=3, max_batches=None, batch_size=64, **options)
        list(training.fit())
        save(training.state_dict(), tmp_path / name)
        return tmp_path / name, training

    return make


def test_digits_are_recognised_and_batches_equal_singles(checkpoint, digit_files):
    files, labels = digit_files
    predictor = Predictor.load([checkpoint()[0]], device="cpu")
    together = predictor.predict(files)
    assert sum(each.label == label for each, label in zip(together, labels, strict=True)) >= 18
    for each, file in zip(together, files, strict=True):
        (alone,) = predictor.predict([file])
        assert alone.label == each.label
        assert alone.probabilities == pytest.approx(each.probabilities, abs=1e-6)
        assert sum(each.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"precision": "bf16"}], ids=["plain", "averaged", "bf16"])
def test_the_loaded_network_is_the_one_that_was_validated(checkpoint, options):
    path, training = checkpoint(**options)
    images = training.split.val_images
    expected = training.logits(images).log_softmax(dim=1)
    found = Predictor.load([path], device="cpu").log_probabilities(images)
    assert torch.equal(found, expected)


def test_views_and_networks_are_averaged(checkpoint, digit_files):
    images = torch.tensor(np.stack([np.asarray(Image.open(file)) for file in digit_files[0]]))[:, None]
    paths = [checkpoint(f"{seed}.pt", seed)[0] for seed in (0, 1)]
    alone = [Predictor.load([path], device="cpu").probabilities(images) for path in paths]
    both = Predictor.load(paths, device="cpu")
    assert torch.allclose(both.probabilities(images), (alone[0] + alone[1]) / 2, atol=1e-6)
    viewed = Predictor.load(paths, device="cpu", tta=True)
    assert (both.passes, viewed.passes) == (2, 10)
    assert not torch.allclose(viewed.probabilities(images), both.probabilities(images))
    assert torch.allclose(viewed.probabilities(images).sum(dim=1), torch.ones(20), atol=1e-5)


def test_mirrored_views_of_folders(trainer, picture_folder, tmp_path):
    dataset = {"name": "imagefolder", "root": str(picture_folder("train")), "image_size": 8}
    training = trainer(dataset=dataset, batch_size=4)
    save(training.state_dict(), tmp_path / "state.pt")
    viewed = Predictor.load([tmp_path / "state.pt"], device="cpu", tta=True)
    plain = Predictor.load([tmp_path / "state.pt"], device="cpu")
    images = training.split.val_images
    expected = (plain.probabilities(images) + plain.probabilities(images.flip(-1))) / 2
    assert torch.allclose(viewed.probabilities(images), expected, atol=1e-6)
    assert viewed.passes == 2


def test_every_kind_of_picture_file(trainer, picture_folder, tmp_path):
    root = picture_folder("train")
    dataset = {"name": "imagefolder", "root": str(root), "image_size": 12}
    training = trainer(dataset=dataset, batch_size=4, epochs=4, max_batches=None, lr=0.01)
    list(training.fit())
    save(training.state_dict(), tmp_path / "state.pt")
    red = np.asarray(Image.open(root / "train" / "red" / "0.png"))
    kinds = {
        "plain.png": Image.fromarray(red),
        "grey.png": Image.fromarray(red[..., 1]),
        "clear.png": Image.fromarray(np.concatenate([red, np.full((14, 12, 1), 255, np.uint8)], axis=2)),
        "palette.gif": Image.fromarray(red).quantize(64),
        "deep.png": Image.fromarray(red[..., 1].astype(np.uint16) * 256),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "plain.png").read_bytes()[:40])
    files = [tmp_path / name for name in (*kinds, "broken.png", "absent.png")]
    found = Predictor.load([tmp_path / "state.pt"], device="cpu").predict(files)
    assert [each.image for each in found] == [str(file) for file in files]
    assert [bool(each.error) for each in found] == [False] * 5 + [True] * 2
    assert all(each.label in ("blue", "red") for each in found[:5])
    assert found[0].label == found[3].label == "red"
    assert found[0].probabilities == found[2].probabilities
    assert found[5].label is None


def test_other_shapes_transparency_and_colours(trainer, picture_folder, checkpoint, tmp_path):
    dataset = {"name": "imagefolder", "root": str(picture_folder("train")), "image_size": 12}
    save(trainer(dataset=dataset, batch_size=4).state_dict(), tmp_path / "colour.pt")
    grey, _ = checkpoint("grey.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 36, 3)).astype(np.uint8)
    clear = np.concatenate([pixels[:, :12], np.zeros((12, 12, 1), np.uint8)], axis=2)

    def said(network, picture):
        picture.save(tmp_path / "asked.png")
        return Predictor.load([network], device="cpu").predict([tmp_path / "asked.png"])[0].probabilities

    wide, middle = Image.fromarray(pixels), Image.fromarray(pixels[:, 12:24])
    assert said(tmp_path / "colour.pt", wide) == said(tmp_path / "colour.pt", middle), "cropped at the centre"
    white = Image.new("RGB", (12, 12), "white")
    assert said(tmp_path / "colour.pt", Image.fromarray(clear)) == said(tmp_path / "colour.pt", white)
    three = Image.merge("RGB", [middle.convert("L")] * 3)
    assert said(tmp_path / "colour.pt", middle.convert("L")) == said(tmp_path / "colour.pt", three)
    assert said(grey, middle) == said(grey, middle.convert("L"))
    assert said(grey, middle) != said(grey, white)


def test_what_is_no_checkpoint_of_a_training(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        Predictor.load([tmp_path / "absent.pt"])
    save({"epoch": 1}, tmp_path / "own.json")
    with pytest.raises(ValueError, match="no state of a built-in training"):
        Predictor.load([tmp_path / "own.json"])


def test_an_ensemble_must_agree(checkpoint, trainer, picture_folder, tmp_path):
    dataset = {"name": "imagefolder", "root": str(picture_folder("train")), "image_size": 8}
    save(trainer(dataset=dataset, batch_size=4).state_dict(), tmp_path / "folder.pt")
    with pytest.raises(ValueError, match=r"10 classes of \(1, 8, 8\) pictures and 2 classes of \(3, 8, 8\)"):
        Predictor.load([checkpoint()[0], tmp_path / "folder.pt"])


def test_probabilities_too_small_to_be_numbers_keep_their_logarithm(checkpoint, tmp_path):
    path, training = checkpoint()
    with torch.no_grad():
        training.model.head.weight.mul_(1000)
    save(training.state_dict(), path)
    logs = Predictor.load([path], device="cpu", tta=True).log_probabilities(training.split.val_images)
    assert logs.isfinite().all()
    assert logs.min() < -200
