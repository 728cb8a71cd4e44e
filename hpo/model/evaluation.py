"""Scores and predictions of trained networks, as the commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hpo.errors import SpecError
from hpo.model import openings
from hpo.settings import Settings
from hpo.wording import number, plain

if TYPE_CHECKING:
    from trainers.data import Split
    from trainers.predict import Predictor

__all__ = ["evaluate", "predict", "require_same_split", "show", "validation"]

PARTS = ("val", "test")
AVERAGES = tuple(f"{kind}_{score}" for kind in ("macro", "weighted") for score in ("precision", "recall", "f1"))
SHOWN_CLASSES = 20
"""A confusion matrix of more is for programs."""


def evaluate(paths: Sequence[Path], *, part: str, tta: bool, device: str | None, settings: Settings) -> dict[str, Any]:
    """Score networks, averaged where there are several, on a part of the first one's dataset.

    An opening of the test part is appended to `test-openings.jsonl` in the home folder.

    Raises:
        SpecError: a checkpoint cannot be used, there is no such part, or the pictures are not those it was trained on.
    """
    if part not in PARTS:
        raise SpecError(f"part {part!r} is not one of {', '.join(PARTS)}")
    from trainers.data import load_test
    from trainers.evaluate import evaluate as score

    if part == "val":
        predictor, split = validation(paths, tta=tta, device=device, settings=settings)
        images, labels, data = split.val_images, split.val_labels, split.fingerprint
    else:
        predictor = _predictor(paths, tta=tta, device=device)
        try:
            test = load_test(predictor.members[0].config.dataset, settings.datasets, str(predictor.device))
        except (OSError, ValueError) as error:
            raise SpecError(str(error)) from error
        images, labels, data = test.images, test.labels, test.fingerprint
        _require_same_classes(predictor, test.classes)
        hashes = {path: str(member.sha256) for path, member in zip(paths, predictor.members, strict=True)}
        noted = openings.note(settings, command="evaluate", data=data, checkpoints=hashes)
    scores = score(
        predictor.log_probabilities,
        images,
        labels,
        classes=len(predictor.classes),
        device=predictor.device,
    )
    low, high = scores.interval()
    return {
        "checkpoints": [str(path) for path in paths],
        "part": part,
        "pictures": scores.count,
        "data": data,
        "accuracy": scores.accuracy,
        "accuracy_interval": [low, high],
        "loss": scores.loss,
        "top5": scores.top5,
        **{name: getattr(scores, name) for name in AVERAGES},
        "calibration_error": scores.calibration_error,
        "passes_per_picture": predictor.passes,
        "noted_in": str(noted) if part == "test" else None,
        "classes": [
            {"class": name, "precision": precision, "recall": recall, "f1": f1, "support": support}
            for name, precision, recall, f1, support in zip(
                predictor.classes, scores.precision, scores.recall, scores.f1, scores.support, strict=True
            )
        ],
        "confusion": scores.confusion.tolist(),
    }


def validation(paths: Sequence[Path], *, tta: bool, device: str | None, settings: Settings) -> tuple[Predictor, Split]:
    """Networks, and the split that all of them were trained on, whose validation part none has seen.

    Raises:
        SpecError: a checkpoint cannot be used, or the pictures are not those it was trained on.
    """
    from trainers.data import load

    predictor = _predictor(paths, tta=tta, device=device)
    try:
        split = load(predictor.members[0].config.dataset, settings.datasets, str(predictor.device))
    except (OSError, ValueError) as error:
        raise SpecError(str(error)) from error
    for path, member in zip(paths, predictor.members, strict=True):
        require_same_split(member.data, split.fingerprint, path)
    _require_same_classes(predictor, split.classes)
    return predictor, split


def predict(paths: Sequence[Path], images: Sequence[Path], *, tta: bool, device: str | None) -> list[dict[str, Any]]:
    """Classify picture files; each row has image, label, probability, probabilities and error.

    Raises:
        SpecError: a checkpoint cannot be used.
    """
    return [asdict(each) for each in _predictor(paths, tta=tta, device=device).predict(images)]


def show(result: dict[str, Any]) -> None:
    """Print an evaluation for people."""
    low, high = result["accuracy_interval"]
    print(f"accuracy    {number(result['accuracy'])} (95% interval {number(low)} to {number(high)})")
    print(f"pictures    {result['pictures']} of {result['part']}, data {result['data']}")
    if result["part"] == "test":
        print(f"opened      the test part; noted in {result['noted_in']}")
    for key in ("loss", "top5", "calibration_error", "passes_per_picture"):
        print(f"{key.replace('_', ' '):<19} {number(result[key])}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in result["classes"][0]:
        table.add_column(column)
    for row in result["classes"]:
        cells = (number(value) if isinstance(value, float) else plain(str(value)) for value in row.values())
        table.add_row(*map(Text, cells))
    table.add_section()
    for kind in ("macro", "weighted"):
        scores = [number(result[f"{kind}_{score}"]) for score in ("precision", "recall", "f1")]
        table.add_row(f"{kind} mean", *scores, str(result["pictures"]))
    console = Console(highlight=False)
    console.print(table)
    if len(result["classes"]) > SHOWN_CLASSES:
        return
    names = [escape(plain(row["class"])) for row in result["classes"]]
    confusion = Table("true \\ predicted", *names, box=None, padding=(0, 1, 0, 0))
    for name, counts in zip(names, result["confusion"], strict=True):
        confusion.add_row(name, *map(str, counts))
    console.print()
    console.print(confusion)


def _predictor(paths: Sequence[Path], *, tta: bool, device: str | None) -> Predictor:
    from trainers.predict import Predictor

    for path in paths:
        if not path.is_file():
            raise SpecError(f"there is no checkpoint {path}; `hpo best NAME` and `hpo train` print where theirs are")
        if path.suffix != ".pt":
            raise SpecError(f"{path} is no checkpoint of the built-in trainer: those end in .pt")
    try:
        return Predictor.load(paths, tta=tta, device=device)
    except (ValueError, RuntimeError) as error:  # RuntimeError: a device that is not there
        raise SpecError(str(error)) from error


def _require_same_classes(predictor: Predictor, classes: Sequence[str]) -> None:
    if tuple(classes) != predictor.classes:
        raise SpecError(f"the dataset has classes {', '.join(classes)}; trained were {', '.join(predictor.classes)}")


def require_same_split(trained: str, here: str, path: Path) -> None:
    """Validation pictures are unseen only by a network that was trained on this very split.

    Raises:
        SpecError: the fingerprint of what it was `trained` on is another than that of the pictures `here`.
    """
    if trained != here:
        raise SpecError(
            f"{path} was trained on pictures or a split {trained}, and the validation part here is of {here}: "
            "some of it may have been trained on; restore the dataset as it was, or evaluate with --part test"
        )
