from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from trainers.config import MODELS_WITHOUT_DROPOUT, model_names
from trainers.models import build
from trainers.models.cnn import LightweightCNN
from trainers.models.densenet import DenseLayer


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "small_stem", "imagenet_stem", "thousand_classes"),
    [
        ("densenet121", 6_956_426, 6_964_106, 7_978_856),
        ("densenet169", 12_493_450, 12_501_130, 14_149_480),
        ("densenet201", 18_104_458, 18_112_138, 20_013_928),
        ("densenet264", 30_667_914, 30_675_594, 33_337_704),
    ],
)
def test_densenets_have_the_published_sizes(name, small_stem, imagenet_stem, thousand_classes):
    with torch.device("meta"):
        counts = [
            parameters(build(name, input_shape=(3, side, side), classes=classes, dropout=0))
            for side, classes in ((32, 10), (64, 10), (224, 10), (224, 1000))
        ]
    assert counts == [small_stem, small_stem, imagenet_stem, thousand_classes]


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("densenet_bc_40_12", (3, 32, 32), 176_170),
        ("densenet_bc_16_12", (3, 32, 32), 44_458),
        ("lightweight_cnn", (1, 28, 28), 30_790),
        ("lightweight_cnn_gap", (1, 28, 28), 2_190),
        ("linear", (1, 28, 28), 7_850),
    ],
)
def test_small_networks_have_the_stated_sizes(name, shape, count):
    assert parameters(build(name, input_shape=shape, classes=10, dropout=0)) == count


@pytest.mark.parametrize(("global_pool", "count"), [(False, 24_346), (True, 1_466)])
def test_narrow_lightweight_cnn(global_pool, count):
    model = LightweightCNN(input_shape=(1, 28, 28), classes=10, dropout=0, channels=(8, 16), global_pool=global_pool)
    assert parameters(model) == count


@pytest.mark.parametrize("name", model_names())
def test_every_name_builds_and_returns_logits(name):
    model = build(name, input_shape=(1, 8, 8), classes=7, dropout=0.1)
    logits = model(torch.randn(4, 1, 8, 8))
    assert logits.shape == (4, 7)
    assert not torch.allclose(logits.sum(dim=1), torch.ones(4)), "a softmax hides in the network"


@pytest.mark.parametrize("name", ["resnet18", "densenet_bc_16_12", "custom_cnn"])
def test_large_pictures(name):
    model = build(name, input_shape=(3, 72, 80), classes=3, dropout=0)
    assert model(torch.randn(2, 3, 72, 80)).shape == (2, 3)


@pytest.mark.parametrize("name", model_names())
def test_dropout_reaches_the_network_in_training_only(name):
    torch.manual_seed(0)
    model = build(name, input_shape=(1, 8, 8), classes=3, dropout=0.5)
    images = torch.randn(4, 1, 8, 8)
    differs = not torch.equal(model(images), model(images))
    assert differs == (name not in MODELS_WITHOUT_DROPOUT)
    model.eval()
    assert torch.equal(model(images), model(images))


def test_every_dense_layer_drops_single_elements():
    model = build("densenet_bc_16_12", input_shape=(3, 16, 16), classes=3, dropout=0.25)
    layers = [module for module in model.modules() if isinstance(module, DenseLayer)]
    assert [layer.dropout.p for layer in layers] == [0.25] * 6
    torch.manual_seed(0)
    layers[0].conv2.weight.data.fill_(1.0)
    layers[0].norm2.bias.data.fill_(1.0)
    new = layers[0](torch.randn(8, 24, 16, 16))[:, 24:]
    dropped = (new == 0).float()
    assert dropped.mean().item() == pytest.approx(0.25, abs=0.02)
    assert 0 < dropped[0, 0].mean().item() < 1


def test_unknown_and_too_small():
    with pytest.raises(ValueError, match=re.escape("unknown model 'densenet'; choose one of linear, ")):
        build("densenet", input_shape=(3, 32, 32), classes=10, dropout=0)
    with pytest.raises(ValueError, match="8 px or more, got 4x4: raise image_size"):
        build("densenet121", input_shape=(3, 4, 4), classes=10, dropout=0)
    with pytest.raises(ValueError, match="raise image_size"):
        build("lightweight_cnn", input_shape=(3, 5, 5), classes=10, dropout=0)
