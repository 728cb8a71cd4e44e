"""Trainings on real pictures."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pictures import jpegs, need
from PIL import Image
from scipy.stats import binomtest
from sklearn.model_selection import StratifiedGroupKFold

from trainers.config import TrainConfig
from trainers.predict import Member, Predictor
from trainers.synth import synthesise
from trainers.train import Trainer

VARIANTS = 8
"""Soiled pictures made of each clean one."""


def test_a_small_densenet_learns_cifar(tmp_path):
    with np.load(need("cifar10_packed.npz")) as packed:
        images, labels = jpegs(packed, 140)
    train = np.arange(len(labels)) % 140 < 100
    parts = {"train": train, "val": ~train}
    arrays = {f"{part}_images": images[chosen] for part, chosen in parts.items()}
    arrays |= {f"{part}_labels": labels[chosen] for part, chosen in parts.items()}
    np.savez(tmp_path / "cifar.npz", **arrays)
    config = TrainConfig(
        model="densenet_bc",
        depth=10,
        growth=8,
        dataset={"name": "npz", "root": tmp_path / "cifar.npz"},
        epochs=3,
        batch_size=16,
        lr=0.05,
        lr_schedule={"name": "onecycle", "warmup_epochs": 1},
    )
    training = Trainer(config, seed=0, data_folder=tmp_path, device="cpu")
    list(training.fit())
    scores = training.validate()
    assert scores.count == 400
    assert scores.interval()[0] > 0.15, "chance is 0.1"


def same_plate():
    """Picture -> number of its plate: the same plate, or one of the same service or on the same cloth."""
    plates = """
        c04 c12 d05 d13 d14; c06 c07 d06; c00 c03 d09 d12; c08 d15; c11 d07; c01 c15 d02 d17; c13 d00; c18 c19 d16;
        c16 d19; c02 c10; d03 d04; d08 d18; c05; c09; c14; c17; d01; d10; d11
    """
    return {
        f"{'cleaned' if name[0] == 'c' else 'dirty'}/00{name[1:]}.jpg": number
        for number, names in enumerate(plates.split(";"))
        for name in names.split()
    }


def cut(file, place):
    """Write the middle of a picture, three quarters of its shorter side: the plate and little of the table."""
    with Image.open(file) as picture:
        side = round(0.75 * min(picture.size))
        left, top = ((length - side) // 2 for length in picture.size)
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").crop((left, top, left + side, top + side)).save(place, quality=95)


@pytest.mark.long  # a minute of training, measured in docs/log.md
def test_painted_dirt_teaches_to_tell_real_dirt_on_plates_never_seen(tmp_path):
    """Three folds, whole plates in each; trained on clean ones and on dirt painted on these, scored on real pictures.

    The same plate on the same cloth is there clean and dirty: a split that parts the two teaches the wrong thing.
    Seeds differ: these settings got 28, 26, 20 and 24 of 40 with seeds 0 to 3 (docs/log.md has larger trials).
    """
    with tarfile.open(need("plates.tar.gz")) as tar:
        tar.extractall(tmp_path, filter="data")
    plates = same_plate()
    names = sorted(plates)
    real = {name: next((tmp_path / "plates").glob(f"*/{name}")) for name in names}
    (tmp_path / "clean").mkdir()
    for name in names[:20]:
        shutil.copy(real[name], tmp_path / "clean")
    synthesise(tmp_path / "clean", tmp_path / "made", per_picture=VARIANTS, seed=0)
    labels, groups = [name.startswith("dirty") for name in names], [plates[name] for name in names]
    right = 0
    for kept, held in StratifiedGroupKFold(3, shuffle=True, random_state=0).split(names, labels, groups):
        root = tmp_path / f"without-{names[held[0]][-8:-4]}"
        lay_out(
            root, tmp_path / "made", kept=[names[index] for index in kept], held=[real[names[index]] for index in held]
        )
        right += count_right(root)
    assert binomtest(right, len(names)).proportion_ci(0.9, "wilson").low > 0.5, f"{right} of {len(names)} are right"


def lay_out(root, made, *, kept, held):
    """Write train/, the clean plates kept, each as often as soiled ones made of it, and val/, the pictures held."""
    for name in (name for name in kept if name.startswith("cleaned")):
        stem = Path(name).stem
        for number in range(1, VARIANTS + 1):
            soiled = f"dirty/{stem}_jpg_synth{number}.jpg"
            cut(made / soiled, root / "train" / soiled)
            cut(made / name, root / "train" / "cleaned" / f"{stem}_{number}.jpg")
    for file in held:
        cut(file, root / "val" / file.parent.name / file.name)


def count_right(root):
    """How many pictures of val/ are right, each seen as it is and mirrored."""
    config = TrainConfig(
        model="densenet_bc",
        depth=10,
        growth=12,
        dataset={"name": "imagefolder", "root": root, "image_size": 96},
        epochs=20,
        batch_size=16,
        optimizer="adamw",
        lr=5e-3,
        weight_decay=0.05,
        lr_schedule={"name": "onecycle", "warmup_epochs": 2},
        label_smoothing=0.1,
        ema=0.98,
    )
    training = Trainer(config, seed=0, data_folder=root / "data", device="cpu")
    list(training.fit())
    files = sorted((root / "val").glob("*/*.jpg"))
    predictor = Predictor([Member(training.state_dict(), device=training.device)], tta=True)
    return sum(told.label == file.parent.name for told, file in zip(predictor.predict(files), files, strict=True))
