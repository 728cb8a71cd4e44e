from __future__ import annotations

import pytest
import torch

from trainers.augment import augment, cutout, flip, random_crop

COUNT = 400


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(side=8):
    """Distinct positive values everywhere, the same picture COUNT times."""
    return torch.arange(1.0, 2 * side * side + 1).reshape(1, 2, side, side).repeat(COUNT, 1, 1, 1)


def test_crops_are_shifts_and_all_of_them_occur():
    images = pictures()
    found = random_crop(images, padding=1, generator=generator())
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1))
    shifts = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    hits = [sum(torch.equal(picture, shift) for picture in found) for shift in shifts]
    assert sum(hits) == COUNT
    assert min(hits) > COUNT / 9 / 2


def test_flips_half_of_the_pictures():
    images = pictures()
    found = flip(images, generator=generator())
    mirrored = (found == images.flip(-1)).all(dim=(1, 2, 3))
    assert ((found == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_cutout_is_one_square():
    found = cutout(pictures(), size=3, generator=generator())
    holes = found == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    area = holes[:, 0].sum(dim=(1, 2))
    height, width = holes[:, 0].any(dim=2).sum(dim=1), holes[:, 0].any(dim=1).sum(dim=1)
    assert torch.equal(area, height * width)
    assert int(area.max()) == 9
    assert int(area.min()) >= 1
    assert torch.equal(found[~holes], pictures()[~holes])


def test_levels():
    images = pictures()
    levels = {
        level: augment(images, level=level, mirrored=True, generator=generator())
        for level in ("none", "light", "standard")
    }
    assert levels["none"] is images
    assert all(level.shape == images.shape for level in levels.values())
    assert (levels["standard"] == 0).sum() > (levels["light"] == 0).sum() > 0


@pytest.mark.parametrize("level", ["light", "standard"])
def test_digits_are_never_mirrored(level):
    found = augment(pictures(), level=level, mirrored=False, generator=generator())
    rising = (found[..., 1:] > found[..., :-1]) | (found[..., 1:] == 0) | (found[..., :-1] == 0)
    assert rising.all()


def test_equal_generators_draw_alike():
    first, second, third = (
        augment(pictures(), level="standard", mirrored=True, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
