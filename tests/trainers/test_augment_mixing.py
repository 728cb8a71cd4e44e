from __future__ import annotations

import numpy as np
import pytest
import torch
from capturable import Capturable
from scipy.stats import beta

from trainers.augment import mix
from trainers.augment.mixing import draw_beta
from trainers.config import AugmentConfig

COUNT = 512
CONFIGS = ({"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch():
    """Picture number n holds n / COUNT everywhere, so that it shows who was mixed, and how much."""
    labels = torch.arange(COUNT)
    return (labels / COUNT)[:, None, None, None].expand(COUNT, 3, 16, 16).contiguous(), labels


def run(seed=0, **config):
    images, labels = batch()
    return mix(images, labels, config=AugmentConfig(**config), generator=generator(seed))


def test_nothing_to_mix():
    images, labels = batch()
    drawn = generator()
    found, other_labels, share = mix(images, labels, config=AugmentConfig(), generator=drawn)
    assert found is images
    assert other_labels is labels
    assert torch.equal(share, torch.ones(COUNT))
    assert torch.equal(drawn.get_state(), generator().get_state())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_share_is_what_the_picture_shows(config):
    labels = torch.arange(COUNT)
    found, other_labels, share = run(**config)
    assert torch.equal(other_labels.sort().values, labels), "partners are a permutation"
    assert 0 <= share.min() <= share.max() <= 1
    expected = (share * labels + (1 - share) * other_labels) / COUNT
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), expected, atol=1e-5, rtol=0)
    assert len(share.unique()) > 50, "every picture has a share of its own"


def test_mixup_blends_and_cutmix_pastes_a_box():
    images, labels = batch()
    apart = run(mixup=1.0)[1] != labels
    assert apart.float().mean() > 0.9
    blended = run(mixup=1.0)[0]
    assert (blended == blended[..., :1, :1]).all()
    found, other_labels, share = run(cutmix=1.0)
    own, other = found == images, found == (other_labels / COUNT)[:, None, None, None]
    assert (own | other).all()
    pasted = (~own)[:, 0].float()
    height, width = pasted.amax(dim=2).sum(dim=1), pasted.amax(dim=1).sum(dim=1)
    assert torch.equal(pasted.sum(dim=(1, 2)), height * width)
    torch.testing.assert_close(1 - share[other_labels != labels], (height * width / 256)[other_labels != labels])


def test_half_of_the_pictures_take_each():
    images, _ = batch()
    found, other_labels, _ = run(mixup=5.0, cutmix=1.0)
    pasted = (found == images) | (found == (other_labels / COUNT)[:, None, None, None])
    pasted = pasted.flatten(1).all(dim=1)
    assert 0.4 < pasted.float().mean() < 0.6


def test_values_stay_in_range():
    images = torch.cat([torch.zeros(COUNT // 2, 3, 8, 8), torch.ones(COUNT // 2, 3, 8, 8)])
    for config in CONFIGS:
        found, _, _ = mix(images, torch.arange(COUNT), config=AugmentConfig(**config), generator=generator())
        assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_nothing_but_the_generator_decides(config):
    first, again, other = run(1, **config), run(1, **config), run(2, **config)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_mixing_does_not_wait_for_the_device(config):
    images, labels = batch()
    drawn = generator()
    run(**config)  # the quantiles are copied once
    with Capturable(drawn):
        mix(images, labels, config=AugmentConfig(**config), generator=drawn)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 5.0])
def test_draws_follow_the_beta_distribution(alpha):
    drawn = draw_beta(alpha, 20_000, device=torch.device("cpu"), generator=generator())
    # Not nearer to the ends, where float32 has no numbers for the tenth of Beta(0.1, 0.1) that lies beside 1.
    places = np.linspace(0.001, 0.999, 999)
    reached = np.searchsorted(np.sort(drawn.numpy()), places, side="right") / len(drawn)
    assert np.abs(reached - beta(alpha, alpha).cdf(places)).max() < 0.0115, "1% of fair samples reach this distance"
    assert drawn.std().item() == pytest.approx(beta(alpha, alpha).std(), rel=0.02)
