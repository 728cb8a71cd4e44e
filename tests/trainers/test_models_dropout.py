from __future__ import annotations

import pytest
import torch
from torch import nn

from trainers.models.dropout import Dropout, Dropout2d


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_elements_are_dropped_and_scaled_as_in_torch(p):
    values = torch.full((200, 500), 3.0)
    ours, theirs = Dropout(p)(values), nn.Dropout(p)(values)
    # five standard errors of a share of 100,000 elements
    assert (ours == 0).float().mean().item() == pytest.approx(p, abs=0.008)
    torch.testing.assert_close(ours.unique(), theirs.unique())
    assert ours.mean().item() == pytest.approx(3.0, rel=0.06)
    # single elements: neighbours in either direction are independent
    kept = (ours != 0).float()
    for one, other in ((kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1])):
        assert (one * other).mean().item() == pytest.approx((1 - p) ** 2, abs=0.01)


def test_whole_channels_of_single_pictures_are_dropped_as_in_torch():
    values = torch.full((300, 100, 3, 2), 3.0)
    ours, theirs = Dropout2d(0.3)(values), nn.Dropout2d(0.3)(values)
    channels = ours.flatten(2)
    assert torch.equal(channels.amin(2), channels.amax(2))
    assert (channels[..., 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.015)
    torch.testing.assert_close(ours.unique(), theirs.unique())
    assert 0 < (channels[:, 0, 0] == 0).sum() < 300


@pytest.mark.parametrize("kind", [Dropout, Dropout2d])
def test_gradients_pass_where_values_do(kind):
    values = torch.randn(4, 6, 5, 5, requires_grad=True)
    dropped = kind(0.5)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, (dropped != 0) * 2.0)


@pytest.mark.parametrize("kind", [Dropout, Dropout2d])
@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_nothing_is_drawn_without_a_rate_or_in_evaluation(kind, p, training):
    values = torch.randn(2, 3, 4, 4)
    before = torch.get_rng_state()
    assert kind(p).train(training)(values) is values
    assert torch.equal(torch.get_rng_state(), before)


def test_rates_share_one_compiled_graph():
    graph = torch.compile(lambda dropout, values: dropout(values), backend="eager", fullgraph=True)
    values = torch.ones(100, 1000)
    graph(Dropout(0.1), values)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert (graph(Dropout(0.7), values) == 0).float().mean().item() == pytest.approx(0.7, abs=0.01)


def test_the_rate_is_one_float32_that_no_checkpoint_holds():
    dropout = Dropout(0.25)
    assert (dropout.rate.shape, dropout.rate.dtype, dropout.rate.item()) == (torch.Size([]), torch.float32, 0.25)
    assert not dropout.state_dict()
    assert repr(dropout) == "Dropout(p=0.25)"


def test_half_precision_keeps_its_type_and_the_exact_rate():
    values = torch.ones(1000, 1000, dtype=torch.bfloat16)
    dropped = Dropout(0.002)(values)
    assert dropped.dtype == torch.bfloat16
    assert (dropped == 0).float().mean().item() == pytest.approx(0.002, abs=0.0003)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_its_range_is_refused(p):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        Dropout(p)
