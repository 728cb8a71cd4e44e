from __future__ import annotations

import copy
import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.optim import SGD, AdamW

from trainers.checkpoint import save
from trainers.config import TransferConfig, model_names
from trainers.models import build
from trainers.transfer import Loaded, WeightsError, freeze, load_weights, stages


def network(name="custom_cnn", shape=(1, 8, 8), classes=5, **options):
    return build(name, input_shape=shape, classes=classes, dropout=0, **{"depth": 10} | options)


def equal_tensors(one, other, names):
    return all(torch.equal(one[name], other[name]) for name in names)


def equal(one, other, names):
    return equal_tensors(one.state_dict(), other.state_dict(), names)


@pytest.fixture
def filed(tmp_path):
    """Save something with torch and return the path."""

    def write(content, name="weights.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


# the others are larger ones of the same kinds
@pytest.mark.parametrize("name", [name for name in model_names() if not re.search("50|large|densenet[12]", name)])
def test_every_network_takes_its_own_weights(name, filed):
    source, model = network(name), network(name)
    loaded = load_weights(model, filed(source.state_dict()))
    assert loaded == Loaded(count=len(source.state_dict()), fresh=())
    assert equal(model, source, source.state_dict())


def test_another_number_of_classes_leaves_the_head_fresh(filed):
    source, model = network(classes=9), network(classes=5)
    before = model.head.weight.clone()
    loaded = load_weights(model, filed(source.state_dict()))
    assert loaded == Loaded(count=len(source.state_dict()) - 2, fresh=("head.weight", "head.bias"))
    assert torch.equal(model.head.weight, before)
    assert equal(model, source, set(source.state_dict()) - {"head.weight", "head.bias"})


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", ("fc.1.weight", "fc.1.bias")),
        ("mobilenet_v3_small", ("classifier.3.weight", "classifier.3.bias")),
    ],
)
@pytest.mark.parametrize(
    ("shape", "stem"), [((3, 96, 96), False), ((3, 32, 32), True), ((1, 32, 32), True)], ids=lambda each: str(each)
)
def test_files_of_torchvision_fit(name, head, shape, stem, filed):
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=20).state_dict()
    model = network(name, shape=shape)
    first = next(iter(theirs))
    changed = stem and model.state_dict()[first].shape != theirs[first].shape
    assert changed == (stem and (name == "resnet18" or shape[0] == 1))
    loaded = load_weights(model, filed(theirs, "file.pth"))
    assert loaded.fresh == ((first, *head) if changed else head)
    assert loaded.count == len(theirs) - len(loaded.fresh)
    assert equal_tensors(model.state_dict(), theirs, theirs.keys() & model.state_dict().keys() - set(loaded.fresh))


def test_a_head_of_torchvision_with_the_same_classes_is_taken_and_old_files_have_no_counters(filed):
    theirs = torchvision.models.resnet18(weights=None, num_classes=5).state_dict()
    old = {name: tensor for name, tensor in theirs.items() if "num_batches_tracked" not in name}
    model = network("resnet18", shape=(3, 96, 96))
    assert load_weights(model, filed(old)) == Loaded(count=102, fresh=())
    assert torch.equal(model.fc[1].weight, theirs["fc.weight"])


def test_checkpoints_of_ours_and_their_averages(filed, tmp_path):
    source, average, model = network(), network(), network()
    save({"format": 1, "epoch": 2, "model": source.state_dict(), "ema": None}, tmp_path / "ours.pt")
    load_weights(model, tmp_path / "ours.pt")
    assert equal(model, source, source.state_dict())

    load_weights(model, filed({"model": source.state_dict(), "ema": average.state_dict()}))
    assert equal(model, average, source.state_dict())

    parameters = {name: value.detach() for name, value in average.named_parameters()}
    source.features[1].running_mean.fill_(3)
    load_weights(model, filed({"model": source.state_dict(), "ema": parameters}))
    assert torch.equal(model.features[1].running_mean, torch.full((32,), 3.0))
    assert equal(model, average, parameters)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_leave_their_prefix(prefix, filed):
    source, model = network(), network()
    load_weights(model, filed({prefix + name: tensor for name, tensor in source.state_dict().items()}))
    assert equal(model, source, source.state_dict())


def test_an_averaged_model_of_torch(filed):
    source, model = network(), network()
    averaged = torch.optim.swa_utils.AveragedModel(source)
    load_weights(model, filed({"ema": averaged.state_dict()}))
    assert equal(model, source, source.state_dict())


def test_half_precision_becomes_single(filed):
    source, model = network(), network()
    load_weights(model, filed({name: tensor.half() for name, tensor in source.state_dict().items()}))
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, source.head.weight.half().float())


@pytest.mark.parametrize(
    ("source", "model", "words"),
    [
        # wider: the first convolution may differ, the rest may not
        (("lightweight_cnn", {"width": 8}), ("lightweight_cnn", {}), "features.1.weight (8 in the file, 10 here)"),
        (("densenet_bc", {"depth": 16}), ("densenet_bc", {}), "features.4.norm1.weight"),
        (("resnet18", {}), ("custom_cnn", {}), "nothing in "),
        (("custom_cnn", {}), ("linear", {}), "nothing in "),
        (("lightweight_cnn", {}), ("custom_cnn", {}), "features.1.weight (10 in the file, 32 here)"),
        (("linear", {"shape": (3, 8, 8)}), ("linear", {}), "1.weight (5x192 in the file, 5x64 here)"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(source, model, words, filed):
    path = filed(network(source[0], **source[1]).state_dict())
    mine = network(model[0], **model[1])
    before = copy.deepcopy(mine.state_dict())
    with pytest.raises(WeightsError, match="set model, depth, growth and width to those") as caught:
        load_weights(mine, path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert equal_tensors(mine.state_dict(), before, before)


def test_a_deeper_network_does_not_pass_for_a_shallower(filed):
    deeper = torchvision.models.resnet34(weights=None).state_dict()
    with pytest.raises(WeightsError, match=r"\d+ tensors have no place here, layer1\.2\.conv1\.weight, .* more;"):
        load_weights(network("resnet18", shape=(3, 96, 96)), filed(deeper))


def test_a_head_alone_is_nothing(filed):
    source = network()
    with pytest.raises(WeightsError, match=r"nothing in .* has head\.weight, head\.bias, the network features\.0"):
        load_weights(network(), filed({"head.weight": source.head.weight, "head.bias": source.head.bias}))


def test_one_missing_tensor_is_named(filed):
    tensors = network().state_dict()
    del tensors["features.5.running_var"]
    with pytest.raises(WeightsError, match=r"1 tensors are absent or of another shape, features\.5\.running_var;"):
        load_weights(network(), filed(tensors))


def test_files_that_cannot_be_read(filed, tmp_path):
    model = network()
    with pytest.raises(
        WeightsError, match=re.escape(f"{tmp_path / 'nowhere.pt'} is not there. Weights are never down")
    ):
        load_weights(model, tmp_path / "nowhere.pt")
    with pytest.raises(WeightsError, match=r"not there\. Weights are never"):
        load_weights(model, tmp_path)
    garbage = tmp_path / "garbage.pth"
    garbage.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match=r"weights_only=True.*torch\.save\(model\.state_dict\(\), path\)"):
        load_weights(model, garbage)
    cut = filed(model.state_dict(), "cut.pt")
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match="weights_only=True"):
        load_weights(model, cut)
    with pytest.raises(WeightsError, match="it is damaged or holds more than tensors"):
        load_weights(model, filed(model, "whole.pt"))
    with pytest.raises(WeightsError, match=r"suffix '\.bin'; weights are read from \.pt, \.pth, \.safetensors"):
        load_weights(model, filed(model.state_dict(), "weights.bin"))
    with pytest.raises(WeightsError, match="holds keys epoch, lr: expected a state dict"):
        load_weights(model, filed({"epoch": 1, "lr": 0.1}))
    with pytest.raises(WeightsError, match="holds list: expected a state dict"):
        load_weights(model, filed([1, 2]))


def test_safetensors_are_read(tmp_path):
    source, model = network(), network()
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    assert load_weights(model, path).fresh == ()
    assert equal(model, source, source.state_dict())
    path.write_bytes(b"no")
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        load_weights(model, path)


def moving(model):
    """Whether each stage trains, from the stem to the head; a stage is held or trained whole."""
    row = [{parameter.requires_grad for parameter in stage.parameters()} for stage in stages(model)]
    assert all(len(each) == 1 for each in row)
    return "".join("x" if each == {True} else "." for each in row)


def course(freeze_epochs, unfreeze_every, epochs):
    model = network()
    config = TransferConfig(weights="w.pt", freeze_epochs=freeze_epochs, unfreeze_every=unfreeze_every)
    seen = []
    for epoch in range(1, epochs + 1):
        model.train()
        freeze(model, config, epoch)
        seen.append(moving(model))
    return seen


def test_stages_thaw_from_the_head_down():
    assert course(0, None, 2) == ["xxxxx", "xxxxx"]
    assert course(2, None, 4) == ["....x", "....x", "xxxxx", "xxxxx"]
    assert course(1, 1, 6) == ["....x", "...xx", "..xxx", ".xxxx", "xxxxx", "xxxxx"]
    assert course(2, 2, 7) == ["....x", "....x", "...xx", "...xx", "..xxx", "..xxx", ".xxxx"]
    assert course(0, 3, 4) == ["...xx", "...xx", "...xx", "..xxx"]


def train(model, optimizer, steps=3):
    for step in range(steps):
        images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images), torch.arange(8) % 5).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["custom_cnn", "lightweight_cnn", "resnet18", "mobilenet_v3_small", "densenet_bc"])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_what_is_held_does_not_move_and_all_else_does(name, kind):
    """Neither by the gradient, nor by momentum of before, nor by decay; nor do running statistics."""
    torch.manual_seed(0)
    model = network(name)
    options = {"momentum": 0.9} if kind is SGD else {}
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1, **options)
    train(model.train(), optimizer)  # momentum for all, and gradients left behind
    functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8) % 5).backward()
    freeze(model, TransferConfig(weights="w.pt", freeze_epochs=1, unfreeze_every=1), 2)
    held = len(stages(model)) - 2
    assert held > 0
    before = copy.deepcopy([stage.state_dict() for stage in stages(model)])
    optimizer.step()
    train(model, optimizer)
    for index, (stage, old) in enumerate(zip(stages(model), before, strict=True)):
        for key, value in stage.state_dict().items():
            assert torch.equal(value, old[key]) == (index < held), (index, key)


def test_held_batch_norm_computes_with_its_statistics_and_thawed_with_the_batch():
    model = network().train()
    config = TransferConfig(weights="w.pt", freeze_epochs=1)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    freeze(model, config, 1)
    assert [norm.training for norm in norms] == [False] * 4
    assert model.training
    freeze(model.train(), config, 2)
    assert [norm.training for norm in norms] == [True] * 4
    freeze(model.eval(), config, 2)
    assert not any(norm.training for norm in norms)


def test_a_second_call_changes_nothing_and_the_way_there_does_not_matter():
    config = TransferConfig(weights="w.pt", freeze_epochs=1, unfreeze_every=2)

    def state(model):
        return [(module.training, [p.requires_grad for p in module.parameters()]) for module in model.modules()]

    walked = network()
    for epoch in range(1, 5):
        freeze(walked.train(), config, epoch)
    freeze(walked, config, 4)
    jumped = network().train()
    freeze(jumped, config, 4)
    assert state(walked) == state(jumped)
    functional.cross_entropy(jumped(torch.randn(8, 1, 8, 8)), torch.arange(8) % 5).backward()
    gradients = [parameter.grad is not None for parameter in jumped.parameters()]
    freeze(jumped, config, 4)
    assert [parameter.grad is not None for parameter in jumped.parameters()] == gradients
