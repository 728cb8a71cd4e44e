"""Still drawings of a winner: its trainings with fresh seeds, what it confuses, how well it knows how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from hpo.drawing.pictures import drawn, svg
from hpo.report.scored import Bin
from hpo.winner.standing import Standing
from hpo.wording import number

__all__ = ["calibration", "confusion", "seeds"]

ACCENT = "#3584d6"  # readable on white and on black
MOST = 30  # classes of a matrix that can be read


def seeds(ranked: Sequence[Standing], metric: str) -> Markup:
    """A dot each training, a bar the mean with its interval, a cross what the search saw."""
    with drawn(7.0, 0.9 + 0.42 * len(ranked)) as figure:
        axes = figure.add_subplot()
        for row, each in enumerate(ranked):
            axes.plot(each.fresh, [row] * len(each.fresh), "o", color=ACCENT, alpha=0.6, markersize=6)
            axes.plot([each.searched], [row], "x", color="#c8860a", markersize=7)
            if each.interval is not None:
                axes.plot(each.interval, [row, row], "-", color=ACCENT, linewidth=2)
            if each.mean is not None:
                axes.plot([each.mean], [row], "|", color=ACCENT, markersize=16, markeredgewidth=2.5)
        axes.set_yticks(range(len(ranked)), [f"trial {each.trial}" for each in ranked])
        axes.invert_yaxis()
        axes.margins(y=0.2)
        axes.set_xlabel(metric)
    said = "; ".join(f"trial {each.trial}: mean {number(each.mean)}" for each in ranked)
    return svg(figure, f"fresh trainings of each trial with mean and 95% interval. {said}")


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup | None:
    """True classes down, predicted ones across, shaded by the share of the true class; None for too many classes."""
    count = len(classes)
    if count > MOST:
        return None
    side = min(7.5, 2.2 + 0.42 * count)
    with drawn(side, side) as figure:
        axes = figure.add_subplot()
        shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
        shades: list[list[tuple[float, ...]]] = [[(0.21, 0.52, 0.84, 0.9 * share) for share in row] for row in shares]
        image: Any = shades
        axes.imshow(image)
        for row, cells in enumerate(matrix):
            for column, cell in enumerate(cells):
                if cell:
                    axes.text(column, row, str(cell), ha="center", va="center", fontsize=8)
        names = [each if len(each) <= 14 else f"{each[:13]}…" for each in classes]
        turned = any(len(each) > 3 for each in names)
        axes.set_xticks(range(count), names, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(count), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
    return svg(figure, f"confusion matrix of {count} classes; the table below has precision and recall of each")


def calibration(bins: Sequence[Bin]) -> Markup:
    """Accuracy over confidence; a network that knows how sure it is lies on the diagonal."""
    with drawn(4.2, 3.6) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], ":", color=ACCENT, linewidth=1)
        axes.plot([each.confidence for each in bins], [each.accuracy for each in bins], "-", color=ACCENT)
        most = max((each.count for each in bins), default=1)
        sizes = [12 + 150 * each.count / most for each in bins]
        axes.scatter([each.confidence for each in bins], [each.accuracy for each in bins], sizes, color=ACCENT)
        axes.set_xlim(0, 1.06)
        axes.set_ylim(0, 1.06)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
    said = "; ".join(f"{each.confidence:.2f} sure, {each.accuracy:.2f} right, {each.count} pictures" for each in bins)
    return svg(figure, f"calibration: {said}")
