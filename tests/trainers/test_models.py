from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from trainers.config import MODELS_WITHOUT_DROPOUT, TrainConfig, model_names
from trainers.models import build, configured, stages
from trainers.models.cnn import DepthwiseSeparable
from trainers.models.densenet import DenseLayer
from trainers.models.dropout import Dropout


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
    ("name", "shape", "options", "count"),
    [
        ("densenet_bc", (3, 32, 32), {"depth": 40}, 176_170),
        ("densenet_bc", (3, 32, 32), {"depth": 16}, 44_458),
        ("densenet_bc", (3, 32, 32), {}, 769_210),
        ("lightweight_cnn", (1, 28, 28), {}, 30_790),
        ("lightweight_cnn", (1, 28, 28), {"width": 8}, 24_346),
        ("lightweight_cnn_gap", (1, 28, 28), {}, 2_190),
        ("lightweight_cnn_gap", (1, 28, 28), {"width": 8}, 1_466),
        # 1,820 of the second convolution give way to 100 + 220
        ("lightweight_cnn_separable", (1, 28, 28), {}, 30_790 - 1_500),
        ("linear", (1, 28, 28), {}, 7_850),
        # torchvision's published counts
        ("resnet18", (3, 224, 224), {"classes": 1000}, 11_689_512),
        ("resnet50", (3, 224, 224), {"classes": 1000}, 25_557_032),
        ("mobilenet_v3_small", (3, 224, 224), {"classes": 1000}, 2_542_856),
        ("mobilenet_v3_large", (3, 224, 224), {"classes": 1000}, 5_483_032),
        # a 3x3 stem for one colour instead of 7x7 for three
        ("resnet18", (1, 32, 32), {"classes": 1000}, 11_689_512 - 64 * (147 - 9)),
        ("mobilenet_v3_small", (1, 32, 32), {"classes": 1000}, 2_542_856 - 16 * 18),
    ],
)
def test_networks_have_the_stated_sizes(name, shape, options, count):
    with torch.device("meta"):
        assert parameters(build(name, **{"input_shape": shape, "classes": 10, "dropout": 0} | options)) == count


def test_a_separable_convolution_needs_an_eighth_of_the_parameters():
    separable, plain = DepthwiseSeparable(32, 64), nn.Conv2d(32, 64, 3)
    assert (parameters(separable), parameters(plain)) == (2_432, 18_496)
    images = torch.randn(2, 32, 9, 7)
    assert separable(images).shape == plain(images).shape == (2, 64, 7, 5)


@pytest.mark.parametrize("name", model_names())
def test_every_name_builds_and_returns_logits(name):
    model = build(name, input_shape=(1, 8, 8), classes=7, dropout=0.1)
    logits = model(torch.randn(4, 1, 8, 8))
    assert logits.shape == (4, 7)
    assert not torch.allclose(logits.sum(dim=1), torch.ones(4)), "a softmax hides in the network"


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small", "densenet_bc", "custom_cnn"])
def test_large_pictures(name):
    model = build(name, input_shape=(2, 72, 80), classes=3, dropout=0, depth=10)
    assert model(torch.randn(2, 2, 72, 80)).shape == (2, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "densenet121"])
@pytest.mark.parametrize(("side", "left"), [(32, 4), (64, 8), (96, 3)])
def test_small_pictures_are_divided_by_8_and_others_by_32(name, side, left):
    sides = []

    def note(_module, inputs, _output):
        sides.append(inputs[0].shape[-1])

    with torch.device("meta"):
        model = build(name, input_shape=(3, side, side), classes=3, dropout=0)
        pool = [module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)][-1]
        pool.register_forward_hook(note)
        model(torch.empty(2, 3, side, side))
    assert sides == [left]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large"])
def test_running_statistics_of_mobilenet_follow_short_trainings(name):
    with torch.device("meta"):
        model = build(name, input_shape=(3, 32, 32), classes=3, dropout=0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert {norm.eps for norm in norms} == {0.001}


@pytest.mark.parametrize("name", model_names())
def test_stages_hold_every_parameter_once_and_end_with_the_head(name):
    with torch.device("meta"):
        model = build(name, input_shape=(3, 32, 32), classes=7, dropout=0)
    row = stages(model)
    held = [parameter for stage in row for parameter in stage.parameters()]
    assert list(map(id, held)) == list(map(id, model.parameters()))
    linears = [module for module in row[-1].modules() if isinstance(module, nn.Linear)]
    assert [linear.out_features for linear in linears] == [7]
    assert all(parameters(stage) for stage in row)


def test_stages_begin_where_the_resolution_changes():
    counts = {}
    for name in ("custom_cnn", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "densenet121", "densenet_bc"):
        with torch.device("meta"):
            counts[name] = len(stages(build(name, input_shape=(3, 96, 96), classes=7, dropout=0)))
    assert counts == {
        "custom_cnn": 5,
        "resnet50": 6,
        "mobilenet_v3_small": 6,
        "mobilenet_v3_large": 6,
        "densenet121": 6,
        "densenet_bc": 5,
    }


@pytest.mark.parametrize("name", model_names())
def test_dropout_reaches_the_network_in_training_only(name):
    torch.manual_seed(0)
    model = build(name, input_shape=(1, 8, 8), classes=3, dropout=0.5)
    images = torch.randn(4, 1, 8, 8)
    differs = not torch.equal(model(images), model(images))
    assert differs == (name not in MODELS_WITHOUT_DROPOUT)
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", model_names())
def test_dropout_is_ours_and_stands_where_it_should(name):
    with torch.device("meta"):
        model = build(name, input_shape=(1, 16, 16), classes=3, dropout=0.25)
    modules = list(model.modules())
    assert not any(isinstance(module, nn.modules.dropout._DropoutNd) for module in modules)
    rates = [module.p for module in modules if isinstance(module, Dropout)]
    dense = sum(isinstance(module, DenseLayer) for module in modules)
    assert rates == [0.25] * (dense or name not in MODELS_WITHOUT_DROPOUT)
    assert not any("rate" in key for key in model.state_dict())


def test_dropout_of_the_head_acts_on_its_input():
    for name in ("custom_cnn", "resnet18", "mobilenet_v3_small"):
        torch.manual_seed(0)
        model = build(name, input_shape=(1, 8, 8), classes=3, dropout=0.4)
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        seen = []
        head.register_forward_hook(lambda _module, inputs, _output, seen=seen: seen.append(inputs[0]))
        images = torch.randn(64, 1, 8, 8)
        model(images)
        model.eval()(images)
        extra = (seen[0] == 0).float().mean() - (seen[1] == 0).float().mean()
        assert 0.1 < extra < 0.5, name


def test_every_dense_layer_drops_single_elements():
    model = build("densenet_bc", input_shape=(3, 16, 16), classes=3, dropout=0.25, depth=16)
    layers = [module for module in model.modules() if isinstance(module, DenseLayer)]
    assert [layer.dropout.p for layer in layers] == [0.25] * 6
    torch.manual_seed(0)
    layers[0].conv2.weight.data.fill_(1.0)
    layers[0].norm2.bias.data.fill_(1.0)
    new = layers[0](torch.randn(8, 24, 16, 16))[:, 24:]
    dropped = (new == 0).float()
    assert dropped.mean().item() == pytest.approx(0.25, abs=0.02)
    assert 0 < dropped[0, 0].mean().item() < 1


@pytest.mark.parametrize(("side", "keys"), [(32, 3), (96, 4)])
def test_names_of_tensors_stay_as_checkpoints_have_them(side, keys):
    with torch.device("meta"):
        dense = build("densenet_bc", input_shape=(3, side, side), classes=3, dropout=0.1, depth=10)
        ours = build("resnet18", input_shape=(3, side, side), classes=3, dropout=0.1)
    names = list(dense.state_dict())
    assert names[0] == "features.0.weight"
    assert f"features.{keys}.norm1.weight" in names
    assert names[-1] == "head.bias"
    assert list(ours.state_dict())[-2:] == ["fc.1.weight", "fc.1.bias"]


def test_unknown_and_too_small():
    with pytest.raises(ValueError, match=re.escape("unknown model 'densenet'; choose one of linear, ")):
        build("densenet", input_shape=(3, 32, 32), classes=10, dropout=0)
    with pytest.raises(ValueError, match="8 px or more, got 4x4: raise image_size"):
        build("densenet121", input_shape=(3, 4, 4), classes=10, dropout=0)
    with pytest.raises(ValueError, match="raise image_size"):
        build("lightweight_cnn", input_shape=(3, 5, 5), classes=10, dropout=0)
    with pytest.raises(ValueError, match=re.escape("depth 42 of densenet_bc must be 6n + 4, three blocks")):
        build("densenet_bc", input_shape=(3, 32, 32), classes=10, dropout=0, depth=42)
    with pytest.raises(ValueError, match="try 10"):
        build("densenet_bc", input_shape=(3, 32, 32), classes=10, dropout=0, depth=4)


@pytest.mark.parametrize(
    "options", [{"model": "densenet_bc", "depth": 16, "growth": 5}, {"model": "lightweight_cnn", "width": 7}]
)
def test_a_configuration_builds_what_it_says(options):
    config = TrainConfig(**options, dropout=0.3, dataset="digits")
    shapes = {"input_shape": (1, 8, 8), "classes": 10}
    found = configured(config, **shapes)
    expected = build(
        options["model"], **shapes, dropout=0.3, **{key: options[key] for key in options if key != "model"}
    )
    assert str(found) == str(expected)
    assert str(found) != str(build(options["model"], **shapes, dropout=0.3))


@pytest.mark.parametrize("depth", range(10, 24))
def test_a_depth_is_refused_in_the_configuration_with_the_networks_words(depth):
    def said(make) -> str:
        try:
            make()
        except ValueError as error:
            return str(error)
        return ""

    network = said(lambda: build("densenet_bc", input_shape=(1, 8, 8), classes=3, dropout=0, depth=depth))
    configuration = said(lambda: TrainConfig(model="densenet_bc", depth=depth, dataset="digits"))
    assert network in configuration
    assert bool(network) == bool(configuration) == (depth not in (10, 16, 22))


def test_only_networks_of_torchvision_import_it():
    code = "import sys; from trainers.models import build; build('densenet_bc', input_shape=(1, 8, 8), classes=3, "
    code += "dropout=0, depth=10); sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", model_names())
def test_channels_stay_last_through_the_whole_network(name):
    options = {"depth": 10} if name == "densenet_bc" else {}
    model = build(name, input_shape=(3, 32, 32), classes=10, dropout=0.3, **options)
    model = model.to(memory_format=torch.channels_last).train()
    turned = []

    def note(module, _, output):
        if output.ndim == 4 and output.shape[1] > 1 and output.shape[2] > 1:
            turned.extend([] if output.is_contiguous(memory_format=torch.channels_last) else [module])

    for module in model.modules():
        module.register_forward_hook(note)
    images = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(images)
    assert not turned
