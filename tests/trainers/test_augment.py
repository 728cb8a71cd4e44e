from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from trainers.augment import augment, colour, geometry, mix
from trainers.config import AugmentConfig

COUNT = 400
MEAN = torch.full((1, 2, 1, 1), 0.25)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(side=8):
    """Distinct values everywhere, none of them the mean, the same picture COUNT times."""
    values = torch.linspace(0.3, 1.0, 2 * side * side)
    return values.reshape(1, 2, side, side).repeat(COUNT, 1, 1, 1)


def coloured(count=64):
    """Real digits on a colour, (N, 3, 16, 16), all the same."""
    digit = torch.tensor(load_digits().images[5] / 16, dtype=torch.float32)
    digit = torch.nn.functional.interpolate(digit[None, None], (16, 16), mode="bilinear")[0, 0]
    return torch.stack([digit * 0.8, digit * 0.3 + 0.2, 0.6 - 0.5 * digit])[None].repeat(count, 1, 1, 1)


def test_crops_are_shifts_and_all_of_them_occur():
    images = pictures()
    found = geometry.random_crop(images, padding=1, mean=MEAN, generator=generator())
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1), value=0.25)
    shifts = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    hits = [sum(torch.equal(picture, shift) for picture in found) for shift in shifts]
    assert sum(hits) == COUNT
    assert min(hits) > COUNT / 9 / 2


def test_flips_half_of_the_pictures():
    images = pictures()
    found = geometry.flip(images, generator=generator())
    mirrored = (found == images.flip(-1)).all(dim=(1, 2, 3))
    assert ((found == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_cutout_is_one_square():
    found = geometry.cutout(pictures(), size=3, mean=MEAN, generator=generator())
    holes = found == 0.25
    assert torch.equal(holes[:, 0], holes[:, 1])
    area = holes[:, 0].sum(dim=(1, 2))
    height, width = holes[:, 0].any(dim=2).sum(dim=1), holes[:, 0].any(dim=1).sum(dim=1)
    assert torch.equal(area, height * width)
    assert int(area.max()) == 9
    assert int(area.min()) >= 1
    assert torch.equal(found[~holes], pictures()[~holes])


def test_erasing_takes_a_rectangle_of_some_pictures():
    found = geometry.erase(pictures(32), chance=0.3, mean=MEAN, generator=generator())
    holes = (found == 0.25)[:, 0]
    share = holes.float().mean(dim=(1, 2))
    assert 0.22 < (share > 0).float().mean() < 0.38
    assert 0.01 < share[share > 0].min() < 0.06
    assert 0.28 < share.max() < 0.4
    height, width = holes.any(dim=2).sum(dim=1), holes.any(dim=1).sum(dim=1)
    assert torch.equal(holes.sum(dim=(1, 2)), height * width)


@pytest.mark.parametrize(
    ("angle", "shear", "size", "across"),
    [(20, 0, 1, (0, 0)), (0, 15, 1, (0, 0)), (0, 0, 1.3, (0, 0)), (0, 0, 1, (0.25, -0.5)), (-35, 0, 1.2, (0, 0))],
)
@pytest.mark.parametrize("shape", [(16, 16), (16, 24)])
def test_affine_maps_equal_torchvisions(angle, shear, size, across, shape):
    torch.manual_seed(0)
    images = torch.rand(2, 3, *shape)
    found = geometry.resample(
        images,
        angle=torch.full((2,), math.radians(angle)),
        shear=torch.full((2,), math.radians(shear)),
        size=torch.full((2,), float(size)),
        across=torch.tensor(across).float()[:, None].repeat(1, 2),
        mean=torch.zeros(1, 3, 1, 1),
    )
    expected = reference.affine(
        images,
        angle=-angle,  # torchvision's affine turns clockwise
        translate=[-across[0] * shape[1] / 2, -across[1] * shape[0] / 2],
        scale=size,
        shear=[float(shear), 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    assert torch.allclose(found[inside], expected[inside], atol=0.02)
    assert not torch.allclose(found, images, atol=0.05)


def test_brightness_contrast_and_saturation_equal_torchvisions():
    images = coloured(1)
    for limits, expected in (
        (colour.Jitter(brightness=0.2, contrast=0, saturation=0, hue=0), reference.adjust_brightness),
        (colour.Jitter(brightness=0, contrast=0.2, saturation=0, hue=0), reference.adjust_contrast),
        (colour.Jitter(brightness=0, contrast=0, saturation=0.2, hue=0), reference.adjust_saturation),
    ):
        found = colour.jitter(images, limits, generator=generator(3))
        draws = torch.rand((4, 1, 1, 1), generator=generator(3)) * 2 - 1
        row = [limits.brightness, limits.contrast, limits.saturation].index(0.2)
        factor = 1 + 0.2 * float(draws[row])
        assert abs(factor - 1) > 0.02
        assert torch.allclose(found, expected(images, factor), atol=0.01)


def test_hue_keeps_grey_and_luma_and_turns_colours():
    limits = colour.Jitter(brightness=0, contrast=0, saturation=0, hue=0.1)
    grey = torch.linspace(0, 1, 16).reshape(1, 1, 4, 4).repeat(8, 3, 1, 1)
    assert torch.allclose(colour.jitter(grey, limits, generator=generator()), grey, atol=1e-3)
    muted = 0.4 + 0.2 * coloured(8)
    found = colour.jitter(muted, limits, generator=generator())
    assert torch.allclose(colour._grey(found), colour._grey(muted), atol=1e-3)
    assert (found - muted).abs().max() > 0.01


def test_blur_smooths_some_pictures():
    images = pictures(16) + 0.2 * torch.rand(1, 2, 16, 16, generator=generator(1)) - 0.2
    found = colour.blur(images, chance=0.25, generator=generator())
    changed = (found - images).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert 0.17 < changed.float().mean() < 0.33
    rough = images.diff(dim=-1).abs().mean(dim=(1, 2, 3))
    assert (found.diff(dim=-1).abs().mean(dim=(1, 2, 3)) <= rough + 1e-6).all()


@pytest.mark.parametrize("level", ["none", "light", "standard", "heavy"])
@pytest.mark.parametrize("images", [coloured(), pictures(8)[:64]], ids=["colour", "two channels"])
def test_levels_draw_for_every_picture_and_stay_in_range(level, images):
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    options = {"config": AugmentConfig(level=level), "mirrored": True, "mean": mean}
    one, again = (augment(images, **options, generator=generator(1)) for _ in range(2))
    assert torch.equal(one, again), "something else than the generator was drawn from"
    assert one.shape == images.shape
    assert one.min() >= -1e-5
    assert one.max() <= 1 + 1e-5
    kinds = len({tuple(picture.flatten().tolist()) for picture in one})
    assert kinds == 1 if level == "none" else kinds > 12
    if level != "none":
        assert not torch.equal(one, augment(images, **options, generator=generator(2)))


@pytest.mark.parametrize(
    ("flip", "mirrored", "expected"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_a_switch_beats_the_level(flip, mirrored, expected):
    images = pictures()
    config = AugmentConfig(level="light", crop=False, flip=flip)
    found = augment(images, config=config, mirrored=mirrored, mean=MEAN, generator=generator())
    assert (not torch.equal(found, images)) == expected


def test_mixing_off_draws_nothing():
    draws = generator()
    images, labels = pictures(), torch.arange(COUNT) % 3
    found, others, share = mix(images, labels, config=AugmentConfig(), generator=draws)
    assert found is images
    assert others is share is None
    assert torch.equal(draws.get_state(), generator().get_state())


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0), (0, 1.0), (0.4, 1.0)])
def test_shares_say_how_much_of_each_picture_is_left(mixup, cutmix):
    """Picture i is all of value i, so that what was mixed can be read off."""
    labels = torch.arange(COUNT)
    images = (labels / COUNT).reshape(-1, 1, 1, 1).repeat(1, 2, 16, 16)
    config = AugmentConfig(mixup=mixup, cutmix=cutmix)
    found, others, share = mix(images, labels, config=config, generator=generator())
    assert torch.equal(others.sort().values, labels)
    expected = share * labels / COUNT + (1 - share) * others / COUNT
    assert torch.allclose(found.mean(dim=(1, 2, 3)), expected, atol=1e-4)
    assert len(set(share.tolist())) > COUNT / 8
    values = torch.tensor([len(set(picture.flatten().tolist())) for picture in found])
    pasted, moved = values > 1, share < 1
    if mixup and cutmix:
        assert 0.3 < pasted[moved].float().mean() < 0.7
    else:
        assert bool(pasted.any()) == bool(cutmix)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_draws_from_its_beta_distribution(alpha):
    images, labels = torch.zeros(20_000, 1, 1, 1), torch.zeros(20_000, dtype=torch.long)
    _, _, share = mix(images, labels, config=AugmentConfig(mixup=alpha), generator=generator())
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
