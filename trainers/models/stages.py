"""A network as a row of stages, for those who freeze some of them."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

__all__ = ["stages"]


def stages(model: nn.Module) -> list[nn.Module]:
    """Return the stages of a network of `build`, from the pictures to the head, which is the last linear layer.

    Together they hold every parameter once. Stages lie between changes of resolution. The modules are the model's own:
    what is done to them is done to it.
    """
    parts = dict(model.named_children())
    if isinstance(model, nn.Sequential):
        return [model]
    if "fc" in parts:  # torchvision's ResNet
        stem = nn.Sequential(parts["conv1"], parts["bn1"])
        return [stem, *(parts[f"layer{number}"] for number in range(1, 5)), parts["fc"]]
    features = parts["features"]
    assert isinstance(features, nn.Sequential)
    cuts = (*model.stage_starts, len(features))  # type: ignore[misc]
    row = [features[start:end] for start, end in pairwise(cuts)]
    if "classifier" in parts:  # torchvision's MobileNet, where a hidden layer lies before the head
        *hidden, head = parts["classifier"].children()
        return [*row[:-1], nn.Sequential(row[-1], *hidden), head]
    return [*row, parts["head"]]
