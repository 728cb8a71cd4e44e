"""How sure a network is against how often it is right, as a drawing."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from hpo.drawing.pictures import drawn, svg

__all__ = ["calibration"]

ACCENT = "#3584d6"  # readable on white and on black


def calibration(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """Accuracy over confidence; a network that knows how sure it is lies on the diagonal.

    `bins` are those of `trainers.views.confidence`: mean probability, accuracy, pictures.
    """
    sure, right, counts = ([each[column] for each in bins] for column in range(3))
    most = max(counts, default=1)
    with drawn(4.2, 3.6) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], ":", color=ACCENT, linewidth=1)
        axes.plot(sure, right, "-", color=ACCENT)
        axes.scatter(sure, right, [12 + 150 * count / most for count in counts], color=ACCENT)
        axes.set(xlim=(0, 1.06), ylim=(0, 1.06), xlabel="confidence", ylabel="accuracy")
    said = "; ".join(f"{mean:.2f} sure, {share:.2f} right, {count} pictures" for mean, share, count in bins)
    return svg(figure, f"calibration: {said}")
