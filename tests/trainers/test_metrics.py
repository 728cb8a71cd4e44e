from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from trainers.metrics import Average, Tally

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def predictions():
    """A weak classifier of real digits that never says 3, on pictures without a 7; logits, labels."""
    images, labels = load_digits(return_X_y=True)
    known = labels != 3
    model = LogisticRegression(max_iter=20, C=1e-5).fit(images[known][:300], labels[known][:300])
    test = np.arange(len(labels)) >= 300
    test &= labels != 7
    logits = torch.full((int(test.sum()), 10), -30.0)
    logits[:, torch.tensor(model.classes_)] = torch.tensor(model.decision_function(images[test]), dtype=torch.float32)
    return logits, torch.tensor(labels[test])


def scores(logits, labels, *sizes):
    tally = Tally(10, CPU)
    for part, truth in zip(logits.split(list(sizes)), labels.split(list(sizes)), strict=True):
        tally.add(torch.nn.functional.cross_entropy(part, truth), part, truth)
    return tally.read()


def test_scores_equal_scikit_learns(predictions):
    logits, labels = predictions
    found = scores(logits, labels, 7, 500, len(labels) - 507)
    truth, said = labels.numpy(), logits.argmax(dim=1).numpy()
    assert 3 not in said
    assert 7 not in truth
    assert 0.3 < found.accuracy < 0.98
    assert found.count == len(labels)
    every = range(10)
    assert np.array_equal(found.confusion, reference.confusion_matrix(truth, said, labels=every))
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, said))
    top5 = reference.top_k_accuracy_score(truth, logits.numpy(), k=5, labels=every)
    assert found.top5 == pytest.approx(top5)
    for average, mine in (
        (None, (found.precision, found.recall, found.f1, found.support)),
        ("macro", (found.macro_precision, found.macro_recall, found.macro_f1)),
        ("weighted", (found.weighted_precision, found.weighted_recall, found.weighted_f1)),
    ):
        theirs = reference.precision_recall_fscore_support(truth, said, labels=every, average=average, zero_division=0)
        for one, other in zip(mine, theirs, strict=False):
            assert np.allclose(one, other)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)


def test_calibration_error_by_hand(predictions):
    logits, labels = predictions
    probability = logits.softmax(dim=1).max(dim=1)
    right = (probability.indices == labels).numpy()
    confidence = probability.values.numpy()
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert scores(logits, labels, len(labels)).calibration_error == pytest.approx(expected, abs=1e-5)


def test_batches_do_not_matter(predictions):
    logits, labels = predictions
    one, other = scores(logits, labels, len(labels)), scores(logits, labels, 1, 2, 3, len(labels) - 6)
    assert one.as_metrics("val") == pytest.approx(other.as_metrics("val"))
    assert set(one.as_metrics("val")) == {
        "val/loss", "val/accuracy", "val/top5", "val/macro_f1", "val/calibration_error"
    }  # fmt: skip


@pytest.mark.parametrize(("count", "error"), [(40, 0.047), (5000, 0.0042)])
def test_how_sure_an_accuracy_of_90_percent_is(count, error):
    tally = Tally(2, CPU)
    labels = torch.zeros(count, dtype=torch.long)
    said = (torch.arange(count) % 10 == 0).long()
    tally.add(torch.tensor(0.0), torch.nn.functional.one_hot(said, 2), labels)
    found = tally.read()
    assert found.accuracy == pytest.approx(0.9)
    low, high = found.interval()
    assert low < 0.9 < high
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.05)


def test_an_interval_of_all_right_is_not_a_point():
    """Known from tables: 10 of 10 at 95% is 0.7225 to 1."""
    tally = Tally(2, CPU)
    labels = torch.zeros(10, dtype=torch.long)
    tally.add(torch.tensor(0.0), torch.nn.functional.one_hot(labels, 2), labels)
    low, high = tally.read().interval()
    assert low == pytest.approx(0.7225, abs=1e-3)
    assert high == pytest.approx(1.0)


def test_few_classes_and_half_precision():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]], dtype=torch.bfloat16)
    tally = Tally(2, CPU)
    tally.add(torch.tensor(0.5), logits, torch.tensor([0, 0]))
    assert tally.read().top5 == 1.0
    assert tally.read().accuracy == 0.5


def test_an_average_of_nothing_is_no_number():
    assert all(np.isnan(Average(CPU).read()))
