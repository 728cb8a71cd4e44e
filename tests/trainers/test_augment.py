from __future__ import annotations

from dataclasses import astuple, fields

import pytest
import torch
from capturable import Capturable
from sklearn.datasets import load_digits, load_sample_images
from torch.nn import functional

from trainers.augment import STRENGTHS, Strength, augment
from trainers.config import AugmentConfig

LEVELS = ("none", "light", "standard", "heavy")
SWITCHES = ({}, {"crop": False}, {"flip": False}, {"flip": True}, {"cutout": True}, {"cutout": False})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photographs():
    """64 patches of the two bundled colour photographs, (64, 3, 32, 32)."""
    pixels = torch.stack([torch.from_numpy(image[:400, :640].copy()) for image in load_sample_images().images])
    patches = functional.avg_pool2d(pixels.permute(0, 3, 1, 2).float() / 255, 2).unfold(2, 32, 24).unfold(3, 32, 24)
    return patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)[:64].contiguous()


@pytest.fixture(scope="module")
def digits():
    """64 digits, (64, 1, 8, 8)."""
    return torch.from_numpy(load_digits().images[:64]).float()[:, None] / 16


def run(images, seed=0, mirrored=True, **config):
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    return augment(images, config=AugmentConfig(**config), mirrored=mirrored, mean=mean, generator=generator(seed))


def changed(found, images):
    return (found != images).flatten(1).any(dim=1)


@pytest.mark.parametrize("kind", ["photographs", "digits"])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("level", LEVELS)
def test_pictures_stay_pictures(request, kind, level, switches):
    images = request.getfixturevalue(kind)
    # Black and white themselves, too: rounding must not lead out of the range.
    images = torch.cat([images, torch.zeros_like(images[:8]), torch.ones_like(images[:8])])
    before = images.clone()
    found = run(images, level=level, **switches)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(images, before), "the caller's pictures were changed"


@pytest.mark.parametrize("level", LEVELS[1:])
def test_every_picture_has_a_draw_of_its_own(photographs, level):
    same = photographs[:1].repeat(64, 1, 1, 1)
    found = run(same, level=level)
    different = len({picture.numpy().tobytes() for picture in found})
    assert different > (40 if level == "light" else 60), "light has 9 * 9 shifts and 2 sides"


@pytest.mark.parametrize("level", LEVELS[1:])
def test_nothing_but_the_generator_decides(photographs, level):
    first = run(photographs, seed=1, level=level)
    torch.manual_seed(5)
    assert torch.equal(first, run(photographs, seed=1, level=level))
    assert not torch.equal(first, run(photographs, seed=2, level=level))


@pytest.mark.parametrize("kind", ["photographs", "digits"])
@pytest.mark.parametrize("level", LEVELS)
def test_no_level_waits_for_the_device(request, kind, level):
    images, drawn = request.getfixturevalue(kind), generator()
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    with Capturable(drawn):
        augment(images, config=AugmentConfig(level=level, cutout=True), mirrored=True, mean=mean, generator=drawn)


def test_the_watch_itself_notices():
    values, other = torch.rand(4, generator=generator()), generator()
    for waits in (
        lambda: values.sum().item(),
        lambda: bool(values[0] > 0),
        lambda: values[values > 0.5],
        lambda: values.nonzero(),
        lambda: torch.where(values > 0.5, values, 0),
        lambda: values * torch.tensor([1.0, 2.0, 3.0, 4.0]),
        lambda: torch.rand(4),
        lambda: torch.rand(4, generator=other),
    ):
        with pytest.raises(AssertionError), Capturable(generator()):
            waits()


def test_none_does_and_draws_nothing(photographs):
    drawn = generator()
    mean = torch.full((1, 3, 1, 1), 0.5)
    found = augment(photographs, config=AugmentConfig(level="none"), mirrored=True, mean=mean, generator=drawn)
    assert found is photographs
    assert torch.equal(drawn.get_state(), generator().get_state())


@pytest.mark.parametrize(
    ("config", "mirrored", "flips"),
    [
        ({"level": "light"}, True, True),
        ({"level": "light"}, False, False),
        ({"level": "light", "flip": True}, False, True),
        ({"level": "light", "flip": False}, True, False),
        ({"level": "none"}, True, False),
        ({"level": "none", "flip": True}, False, True),
    ],
)
def test_who_is_mirrored(photographs, config, mirrored, flips):
    found = run(photographs, mirrored=mirrored, **config | {"crop": False})
    is_mirrored = (found == photographs.flip(-1)).flatten(1).all(dim=1)
    assert is_mirrored.any() == flips
    assert (is_mirrored | ~changed(found, photographs)).all()


@pytest.mark.parametrize("level", ["standard", "heavy"])
def test_digits_are_mirrored_on_demand_only(digits, level):
    """A ramp to the right stays one through any rotation below 45 degrees, but not in a mirror."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(64, 1, 32, 32)

    def rises(**config):
        found = run(ramp, mirrored=False, level=level, cutout=False, **config)
        return found[..., 8:24, 22:26].median(dim=-1).values.median(dim=-1).values > (
            found[..., 8:24, 6:10].median(dim=-1).values.median(dim=-1).values
        )

    assert rises().float().mean() > 0.9
    assert 0.2 < rises(flip=True).float().mean() < 0.8


@pytest.mark.parametrize(
    ("level", "crops", "cuts"),
    [("none", False, False), ("light", True, False), ("standard", True, False), ("heavy", True, True)],
)
def test_what_a_level_does_unless_told(photographs, level, crops, cuts):
    usual = run(photographs, level=level)
    assert torch.equal(usual, run(photographs, level=level, crop=crops, cutout=cuts))
    for other in ({"crop": not crops}, {"cutout": not cuts}):
        assert changed(run(photographs, level=level, **other), usual).float().mean() > 0.8


NOTHING = dict.fromkeys((field.name for field in fields(Strength)), 0.0)


@pytest.mark.parametrize(
    "strength",
    [
        {"degrees": 15},
        {"brightness": 0.2},
        {"contrast": 0.2},
        {"saturation": 0.2},
        {"hue": 0.1},
        {"blur": 1},
        {"affine": 1, "translate": 0.1},
        {"affine": 1, "scale": 0.1},
        {"affine": 1, "shear": 5},
        {"erasing": 1},
    ],
    ids=str,
)
def test_every_strength_reaches_the_pictures(monkeypatch, photographs, strength):
    def with_strength(**values):
        monkeypatch.setitem(STRENGTHS, "standard", Strength(**NOTHING | values))
        return run(photographs, level="standard", crop=False, flip=False)

    torch.testing.assert_close(with_strength(), photographs, atol=1e-5, rtol=0)
    distance = (with_strength(**strength) - photographs).flatten(1).abs().amax(dim=1)
    assert (distance > 0.005).float().mean() > 0.5, "of a patch of sky, blur and saturation leave most as it is"


def test_levels_are_as_strong_as_required():
    standard, heavy = (astuple(STRENGTHS[level]) for level in ("standard", "heavy"))
    assert standard == (15, 0.2, 0.2, 0.2, 0.1, 0.2, 0.3, 0.1, 0.1, 5, 0.1)
    assert heavy == (30, 0.4, 0.4, 0.4, 0.1, 0.3, 0.5, 0.15, 0.2, 10, 0.3)


def test_a_cut_is_filled_with_the_mean(photographs):
    mean = photographs.mean(dim=(0, 2, 3), keepdim=True)
    found = run(photographs, level="none", cutout=True)
    assert changed(found, photographs).all()
    assert ((found == photographs) | (found == mean)).all()


def test_what_comes_in_from_outside_is_the_mean(photographs):
    mean = torch.tensor([0.123, 0.456, 0.789]).reshape(1, 3, 1, 1)
    for level in ("light", "heavy"):
        found = augment(
            photographs,
            config=AugmentConfig(level=level, cutout=False),
            mirrored=True,
            mean=mean,
            generator=generator(),
        )
        border = torch.cat([found[..., 0], found[..., -1], found[..., 0, :], found[..., -1, :]], dim=-1)
        assert (border == mean[..., 0]).all(dim=1).float().mean() > 0.1
