"""What a report shows of the winner's network on the validation part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from markupsafe import Markup

from hpo.drawing import page
from hpo.errors import NoUsableTrial, SpecError
from hpo.report import stills
from hpo.study import Study
from hpo.winner.candidate import candidate, require_built_in
from hpo.wording import counted, number

if TYPE_CHECKING:
    from hpo.report.scored import Scored

__all__ = ["network"]

PAIRS = 10  # of classes that are confused most
MOST_CLASSES = 200  # in a table


def network(study: Study, say: Callable[[str], None], *, device: str | None = None) -> Iterator[Markup]:
    """Confusion, scores by class, mistakes and calibration; or why they are not there. Imports torch."""
    try:
        require_built_in(study, "looked at")
        found = candidate(study)
        say("scoring the winner on the validation part; --no-model leaves it out")
        from hpo.report.scored import score

        scored = score(found.checkpoint, study.settings, device=device)
    except (SpecError, NoUsableTrial) as error:
        yield page.prose(f"Not shown: {error}", "soft")
        return
    yield page.prose(
        f"The checkpoint of {_which(study, found.runs.name, found.run, found.seed)}, on the validation part, which no "
        "training has seen, though the search chose by it. The test part stays closed."
    )
    yield from _shown(scored)


def _which(study: Study, runs: str, run: int, seed: int) -> str:
    return f"trial {run}" if runs == study.name else f"training {run} of {runs} (seed {seed})"


def _shown(scored: Scored) -> Iterator[Markup]:
    told, classes = scored.scores, scored.scores["classes"]
    low, high = told["interval"]
    yield page.facts(
        {
            "accuracy": f"{number(told['accuracy'])} (95% interval {number(low)} to {number(high)})",
            "pictures": told["pictures"],
            "loss": number(told["loss"]),
            "among the five most probable": number(told["top5"]),
        }
    )
    yield page.heading("Confusion matrix")
    names = [row[0] for row in classes]
    matrix = stills.confusion(told["confusion"], names)
    if matrix is not None:
        yield page.figure(matrix, "Rows are true classes, columns what they were taken for.")
    else:
        yield _confused(told["confusion"], names)
    yield page.heading("Precision, recall, F1 by class")
    rows = sorted(classes, key=lambda row: row[3])[:MOST_CLASSES]  # the worst F1 first
    cells = [
        [name, number(precision), number(recall), number(f1), count] for name, precision, recall, f1, count in rows
    ]
    yield page.table(("class", "precision", "recall", "F1", "pictures"), cells, name="classes")
    yield page.heading("Calibration")
    yield page.figure(
        stills.calibration(scored.bins),
        f"A point on the dotted line is as often right as it is sure; larger points are more pictures. Calibration "
        f"error {number(told['calibration_error'])}.",
    )
    yield page.heading("Most confident mistakes")
    yield _mistakes(scored)


def _confused(matrix: list[list[int]], names: list[str]) -> Markup:
    pairs = [(cell, row, column) for row, cells in enumerate(matrix) for column, cell in enumerate(cells)]
    worst = sorted((each for each in pairs if each[0] and each[1] != each[2]), reverse=True)[:PAIRS]
    rows = [[names[row], names[column], cell] for cell, row, column in worst]
    return page.table(("true", "taken for", "pictures"), rows)


def _mistakes(scored: Scored) -> Markup:
    if not scored.mistakes:
        return page.prose("It made no mistake.")
    shown = Markup().join(
        Markup(
            '<figure><img src="{}" alt="validation picture {}, {} taken for {}"><figcaption>{}, taken for {} ({})'
            "</figcaption></figure>"
        ).format(
            each.picture, each.index, each.true, each.predicted, each.true, each.predicted, f"{each.probability:.0%}"
        )
        for each in scored.mistakes
    )
    said = f"{counted(scored.wrong, 'mistake')} in all; those it was most sure of:"
    return page.prose(said) + Markup('<div class="mistakes">{}</div>').format(shown)
