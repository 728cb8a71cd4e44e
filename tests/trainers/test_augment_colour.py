from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch.nn import functional
from torchvision.transforms.v2 import functional as torchvision

from trainers.augment.colour import blur, jitter, recolour, smooth

KEEP = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photograph(side=32):
    pixels = torch.from_numpy(load_sample_image("flower.jpg")[100:356, 200:456].copy())
    return functional.avg_pool2d(pixels.permute(2, 0, 1)[None].float() / 255, 256 // side)


def recoloured(images, **changes):
    return recolour(images, **{key: torch.full((1, 1, 1, 1), value) for key, value in (KEEP | changes).items()})


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.6, 0.8, 1.0, 1.2, 1.4])
def test_factors_are_torchvisions(change, factor):
    expected = getattr(torchvision, f"adjust_{change}")(photograph(), factor)
    torch.testing.assert_close(recoloured(photograph(), **{change: factor}), expected, atol=2e-4, rtol=0)


def test_factors_follow_each_other_as_in_torchvision():
    image = photograph() / 2 + 0.2  # nothing is cut off on the way
    expected = image
    for change, factor in (("brightness", 0.9), ("contrast", 1.1), ("saturation", 0.7)):
        expected = getattr(torchvision, f"adjust_{change}")(expected, factor)
    found = recoloured(image, brightness=0.9, contrast=1.1, saturation=0.7)
    torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)


def test_a_third_of_a_turn_leads_from_red_to_green_to_blue():
    red, green, blue = torch.eye(3).reshape(3, 1, 3, 1, 1)
    torch.testing.assert_close(recoloured(red, hue=1 / 3), green, atol=1e-6, rtol=0)
    torch.testing.assert_close(recoloured(green, hue=1 / 3), blue, atol=1e-6, rtol=0)
    torch.testing.assert_close(recoloured(red, hue=-1 / 3), blue, atol=1e-6, rtol=0)


def test_a_turn_of_the_hue_keeps_greys_and_brightness_and_goes_torchvisions_way():
    grey = torch.linspace(0, 1, 16).expand(1, 3, 4, 16)
    torch.testing.assert_close(recoloured(grey, hue=0.1), grey, atol=1e-6, rtol=0)
    image = photograph() / 2 + 0.25
    for turn in (-0.1, 0.1):
        found, theirs = recoloured(image, hue=turn), torchvision.adjust_hue(image, turn)
        torch.testing.assert_close(found.mean(dim=1), image.mean(dim=1), atol=1e-6, rtol=0)
        moved = ((found - image) * (theirs - image)).sum() / ((found - image).norm() * (theirs - image).norm())
        assert moved > 0.8, "the two take different paths in the same direction"


def test_grey_pictures_have_brightness_and_contrast():
    image = photograph()[:, :1]
    expected = torchvision.adjust_contrast(torchvision.adjust_brightness(image, 0.8), 0.7)
    found = recoloured(image, brightness=0.8, contrast=0.7, saturation=0.0, hue=0.5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_jitter_draws_for_every_picture():
    amounts = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    images = (photograph() / 2 + 0.2).repeat(64, 1, 1, 1)
    torch.testing.assert_close(jitter(images, **amounts, generator=generator()), images, atol=1e-6, rtol=0)
    for name in amounts:
        found = jitter(images, **amounts | {name: 0.2}, generator=generator())
        assert len(found.flatten(1).unique(dim=0)) == 64, name
    factors = jitter(images, **amounts | {"brightness": 0.2}, generator=generator()).mean(dim=(1, 2, 3)) / images.mean()
    assert 0.8 <= factors.min() < 0.83
    assert 1.17 < factors.max() <= 1.2


@pytest.mark.parametrize(("side", "radius"), [(32, 1), (64, 2), (128, 4)])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_torchvisions(side, radius, sigma):
    image = photograph(side)
    expected = torchvision.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2)
    found = smooth(image, sigma=torch.full((1, 1, 1, 1), sigma), radius=radius)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [8, 32])
def test_blur_takes_a_share_of_the_pictures(side):
    images = photograph(side).repeat(1000, 1, 1, 1)
    found = blur(images, probability=0.2, generator=generator())
    blurred = (found != images).flatten(1).any(dim=1)
    assert 0.15 < blurred.float().mean() < 0.25
    assert len(found.flatten(1).unique(dim=0)) > 0.8 * int(blurred.sum()), "sigma is drawn for each"
