from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import SGD, Adam

from trainers.config import model_names
from trainers.describe import Layer, count_parameters, describe
from trainers.models import build


def layer(name, kind, shape, parameters=0):
    return Layer(name=name, kind=kind, output_shape=shape, parameters=parameters)


def test_lightweight_cnn_by_hand():
    """Sides by floor((W - K + 2P) / S) + 1, parameters with bias, on 1x28x28 in 10 classes."""
    found = describe("lightweight_cnn", (1, 28, 28), 10)
    first = (28 - 3) // 1 + 1
    second = (first - 3) // 1 + 1
    pooled = (second - 2) // 2 + 1
    assert (first, second, pooled) == (26, 24, 12)
    assert found.layers == (
        layer("features.0", "Conv2d", (10, 26, 26), 1 * 10 * 9 + 10),
        layer("features.1", "BatchNorm2d", (10, 26, 26), 2 * 10),
        layer("features.2", "ReLU", (10, 26, 26)),
        layer("features.3", "Conv2d", (20, 24, 24), 10 * 20 * 9 + 20),
        layer("features.4", "BatchNorm2d", (20, 24, 24), 2 * 20),
        layer("features.5", "ReLU", (20, 24, 24)),
        layer("features.6", "MaxPool2d", (20, 12, 12)),
        layer("features.7", "Dropout2d", (20, 12, 12)),
        layer("pool", "Identity", (20, 12, 12)),
        layer("head", "Linear", (10,), 20 * 12 * 12 * 10 + 10),
    )
    assert found.parameters == found.trainable == 100 + 20 + 1_820 + 40 + 28_810 == 30_790
    assert found.flops == 2 * (26 * 26 * 10 * 9 + 24 * 24 * 20 * 90 + 2_880 * 10)
    memory = found.memory
    # running mean and variance of 10 and 20 channels, two counters of 8 bytes
    assert memory.weights == 4 * (30_790 + 2 * 10 + 2 * 20) + 2 * 8
    assert (memory.gradients, memory.sgd_state, memory.adam_state) == (4 * 30_790, 4 * 30_790, 8 * 30_790)
    # the picture, each convolution's result, each ReLU's, the pooled values; and 8 bytes for the place of each of those
    floats = 784 + 2 * 10 * 26 * 26 + 2 * 20 * 24 * 24 + 20 * 12 * 12
    assert memory.activations == 4 * floats + 8 * 20 * 12 * 12


def test_linear_by_hand():
    found = describe("linear", (3, 8, 8), 5)
    assert found.layers == (layer("0", "Flatten", (192,)), layer("1", "Linear", (5,), 965))
    assert found.flops == 2 * 192 * 5
    assert found.memory.activations == 4 * 192


# the deeper DenseNets are more of the same
@pytest.mark.parametrize("name", [name for name in model_names() if not re.search("169|201|264", name)])
def test_layers_add_up_to_the_network(name):
    found = describe(name, (3, 16, 16), 7)
    with torch.device("meta"):
        model = build(name, input_shape=(3, 16, 16), classes=7, dropout=0)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert found.parameters == sum(each.parameters for each in found.layers) == count
    assert count_parameters(name, (3, 16, 16), 7) == count
    assert found.layers[-1].output_shape == (7,)
    leaves = {name for name, module in model.named_modules() if not list(module.children())}
    assert {each.name for each in found.layers} == leaves
    assert found.flops > 0


def kept(model, batch):
    """Bytes that a real forward pass leaves behind for the backward pass, each address once."""
    own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    found = {}

    def note(tensor):
        if tensor.data_ptr() not in own:
            found[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model.train()(batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values()), logits


@pytest.mark.parametrize("name", ["lightweight_cnn", "custom_cnn", "resnet18", "mobilenet_v3_small", "densenet_bc"])
def test_memory_of_activations_is_that_of_a_real_training_step(name):
    torch.manual_seed(0)
    model = build(name, input_shape=(3, 16, 16), classes=5, dropout=0.1, depth=16)
    found = describe(name, (3, 16, 16), 5, dropout=0.1, depth=16)
    small, _ = kept(model, torch.randn(2, 3, 16, 16))
    large, _ = kept(model, torch.randn(6, 3, 16, 16))
    assert found.memory.activations == pytest.approx((large - small) / 4, rel=0.01)


def test_memory_of_the_optimizers_is_that_of_real_ones():
    model = build("custom_cnn", input_shape=(3, 16, 16), classes=5, dropout=0)
    memory = describe("custom_cnn", (3, 16, 16), 5).memory
    nn.functional.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    for optimizer, stated in (
        (SGD(model.parameters(), lr=0.1, momentum=0.9), memory.sgd_state),
        (Adam(model.parameters()), memory.adam_state),
    ):
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
        assert sum(value.numel() * 4 for value in states) == stated
    assert sum(parameter.grad.nbytes for parameter in model.parameters()) == memory.gradients
    assert sum(value.nbytes for value in model.state_dict().values()) == memory.weights


def test_operations_of_resnet_are_the_published():
    # torchvision states 1.814 billion multiply-adds for ResNet-18 at 224 px
    assert describe("resnet18", (3, 224, 224), 1000).flops / 2 == pytest.approx(1.814e9, rel=0.001)


def test_options_are_passed_on_and_errors_too():
    assert describe("densenet_bc", (3, 32, 32), 10, depth=40, growth=12).parameters == 176_170
    assert describe("lightweight_cnn", (1, 28, 28), 10, width=8).parameters == 24_346
    dropping = describe("lightweight_cnn", (1, 28, 28), 10, dropout=0.5).memory.activations
    assert dropping > describe("lightweight_cnn", (1, 28, 28), 10).memory.activations
    with pytest.raises(ValueError, match="unknown model 'vgg'; choose one of"):
        describe("vgg", (3, 32, 32), 10)
    with pytest.raises(ValueError, match="raise image_size"):
        describe("lightweight_cnn", (3, 5, 5), 10)


def test_nothing_is_drawn():
    before = torch.get_rng_state()
    describe("densenet_bc", (3, 32, 32), 10, depth=10, dropout=0.2)
    assert torch.equal(torch.get_rng_state(), before)
