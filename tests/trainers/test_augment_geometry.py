from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch.nn import functional
from torchvision.transforms.v2 import functional as torchvision

from trainers.augment.boxes import cutout_holes, erasing_holes
from trainers.augment.geometry import Motion, draw_motion, shift, warp

COUNT = 400
BLACK = torch.zeros(1, 3, 1, 1)
STANDARD = {"degrees": 15, "zoom": 1.1, "flip": True, "probability": 0.3, "translate": 0.1, "scale": 0.1, "shear": 5}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(side=8):
    """Distinct values everywhere, the same picture COUNT times."""
    size = 2 * side * side
    return (torch.arange(1.0, size + 1) / size).reshape(1, 2, side, side).repeat(COUNT, 1, 1, 1)


def photograph():
    pixels = torch.from_numpy(load_sample_image("china.jpg")[100:356, 200:520].copy())
    return functional.avg_pool2d(pixels.permute(2, 0, 1)[None].float() / 255, 8)


def test_shifts_are_whole_and_all_of_them_occur():
    images, mean = pictures(), torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1)
    found = shift(images, most=1, flip=True, mean=mean, generator=generator())
    padded = mean.expand(1, 2, 10, 10).clone()
    padded[..., 1:9, 1:9] = images[:1]
    shifts = [
        each[0, :, y : y + 8, x : x + 8] for each in (padded, padded.flip(-1)) for y in range(3) for x in range(3)
    ]
    hits = [int((found == each).flatten(1).all(dim=1).sum()) for each in shifts]
    assert sum(hits) == COUNT
    assert min(hits) > COUNT / 18 / 2


def test_flips_half_of_the_pictures():
    images = pictures()
    found = shift(images, most=0, flip=True, mean=torch.zeros(1, 2, 1, 1), generator=generator())
    mirrored = (found == images.flip(-1)).flatten(1).all(dim=1)
    assert ((found == images).flatten(1).all(dim=1) ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize(
    ("angle", "shear", "scale", "move"),
    [
        (15, 0, 1, (0, 0)),
        (-30, 0, 1, (0, 0)),
        (90, 0, 1, (0, 0)),
        (0, 10, 1, (0, 0)),
        (0, 0, 1.25, (0, 0)),
        (0, 0, 1, (3, -2)),
        (20, -8, 0.8, (-5, 4)),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_motion_is_torchvisions_affine(angle, shear, scale, move, mirrored):
    image = photograph()
    assert image.shape[-2] != image.shape[-1], "sides that differ show swapped axes"
    numbers = {
        "angle": math.radians(angle),
        "shear": math.radians(shear),
        "scale": scale,
        "right": move[0],
        "down": move[1],
    }
    tensors = {key: torch.full((1, 1, 1), float(value)) for key, value in numbers.items()}
    found = warp(image, Motion(mirrored=torch.full((1, 1, 1), mirrored), **tensors), mean=BLACK)
    expected = torchvision.affine(
        image.flip(-1) if mirrored else image,
        angle=angle,
        translate=list(move),
        scale=scale,
        shear=[shear, 0],
        interpolation=torchvision.InterpolationMode.BILINEAR,
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_no_motion_changes_nothing():
    image = photograph()
    still = torch.zeros(1, 1, 1)
    motion = Motion(angle=still, shear=still, scale=still + 1, right=still, down=still, mirrored=still > 0)
    torch.testing.assert_close(warp(image, motion, mean=BLACK + 0.5), image, atol=1e-5, rtol=0)


def test_draws_fill_their_ranges_and_differ():
    motion = draw_motion(torch.empty(4000, 3, 32, 64), **STANDARD, generator=generator())
    degrees, shear = motion.angle.rad2deg(), motion.shear.rad2deg()
    for found, low, high in (
        (degrees, -15, 15),
        (shear, -5, 5),
        (motion.scale / 1.1, 0.9, 1.1),
        (motion.right / 64, -0.15, 0.15),
        (motion.down / 32, -0.15, 0.15),
    ):
        span = high - low
        assert low <= found.min() < low + 0.1 * span
        assert high - 0.1 * span < found.max() <= high + 1e-6
    assert len(degrees.unique()) > 3900
    chosen = shear != 0
    assert 0.27 < chosen.float().mean() < 0.33
    assert torch.equal(motion.scale[~chosen], torch.full_like(motion.scale[~chosen], 1.1))
    assert motion.right[~chosen].abs().max() <= 0.05 * 64 + 1e-5
    assert 0.47 < motion.mirrored.float().mean() < 0.53


def test_a_motion_without_crop_or_flip():
    motion = draw_motion(torch.empty(500, 3, 32, 32), **STANDARD | {"zoom": 1.0, "flip": False}, generator=generator())
    chosen = motion.shear != 0
    assert not motion.mirrored.any()
    assert motion.right[~chosen].abs().max() == 0
    assert (motion.scale[~chosen] == 1).all()


def sizes(holes):
    height, width = holes[:, 0].amax(dim=2).sum(dim=1), holes[:, 0].amax(dim=1).sum(dim=1)
    assert torch.equal(holes.sum(dim=(1, 2, 3)), height * width), "each hole is one rectangle"
    return height, width


def test_cutout_is_one_square_a_picture():
    holes = cutout_holes(torch.empty(COUNT, 3, 32, 32), generator=generator())
    height, width = sizes(holes)
    assert (int(height.max()), int(width.max())) == (8, 8)
    assert min(height.min(), width.min()) >= 1
    assert (height == 8).float().mean() > 0.5
    assert len(holes.flatten(1).unique(dim=0)) > COUNT / 2
    assert (holes.mean(dim=0) > 0).all(), "every pixel is blanked in some picture"


@pytest.mark.parametrize("probability", [0.1, 0.3])
def test_erasing_takes_a_share_of_the_pictures(probability):
    holes = erasing_holes(torch.empty(4000, 3, 32, 32), probability=probability, generator=generator())
    height, width = sizes(holes)
    erased = height > 0
    assert abs(erased.float().mean() - probability) < 0.025
    area = (height * width)[erased] / 1024
    assert 0.01 < area.min() < 0.05
    assert 0.3 < area.max() < 0.36
    assert (height > width)[erased].any()
    assert (height < width)[erased].any()
    assert len(holes[erased].flatten(1).unique(dim=0)) > 0.9 * int(erased.sum())
