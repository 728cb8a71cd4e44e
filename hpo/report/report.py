"""The report of a study: one HTML file that opens without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from hpo import __version__
from hpo.drawing import page
from hpo.drawing.page import Page
from hpo.goals import wanted
from hpo.report import embed, front, importance, landscape, plots, rows, timeline, verdict
from hpo.report.axes import Axis
from hpo.report.network import network
from hpo.report.rows import Trial
from hpo.report.summary import STATES, summary
from hpo.store import history
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.confirmation import Confirmation
from hpo.wording import literal, number, words

__all__ = ["report"]

MANY = 100


def report(
    study: Study, path: Path, say: Callable[[str], None], *, model: bool = True, device: str | None = None
) -> None:
    """Write the report; `model`: with the winner's network on the validation part, which imports torch.

    `say` is told of what takes long. Raises OSError where the file cannot be written.
    """
    trials, confirmed = rows.read(study), confirmation.find(study)
    winner = _winner(study, confirmed)
    made = Page(
        study.name, _subtitle(study), footer=f"Made by hpo {__version__}, {time.strftime('%Y-%m-%d %H:%M %z')}."
    )
    made.head, made.tail = embed.head(), embed.tail()
    made.section("Summary", *summary(study, trials, confirmed, winner))
    if study.spec.several:
        made.section("Front", *front.front(study))
    made.section("Course", *_course(study, trials, winner))
    made.section("Parameters", *_parameters(study, trials, winner))
    for title, told in (("Diagnosis", verdict.diagnosed(study)), ("Winner", verdict.confirmed(study, confirmed))):
        if parts := tuple(told):
            made.section(title, *parts)
    if model and winner is not None:
        made.section("Network", *network(study, say, device=device))
    if parts := tuple(verdict.promotions(study)):
        made.section("Promotions", *parts)
    made.section("Trials", *_table(study, trials))
    made.section("Space file", page.command(study.row["text"]), *_done(study))
    made.write(path)


def _winner(study: Study, confirmed: Confirmation | None) -> int | None:
    if confirmed is not None and confirmed.winner is not None:
        return confirmed.winner.trial
    return study.leader


def _subtitle(study: Study) -> str:
    goals, limits = wanted(study.spec.metrics), ", ".join(map(str, study.spec.constraints))
    kept = f" with {limits}" if limits else ""
    return f"{goals}{kept} by {study.spec.sampler.type} search, {words(study.counts())}"


def _course(study: Study, trials: Sequence[Trial], winner: int | None) -> Iterator[Markup]:
    metric = study.spec.metric
    drawn = (
        (plots.history(trials, metric, winner), "Value of each trial at its last epoch, and the best so far."),
        (plots.curves(trials, metric, winner), "All learning curves; pruned trials are dashed."),
        (timeline.timeline(rows.attempts(study, trials)), "Which trial ran when."),
    )
    for figure, caption in drawn:
        if figure is not None:
            yield embed.plot(figure, caption)
    if not any(figure for figure, _ in drawn):
        yield page.prose("No trial has begun yet.", "soft")


def _parameters(study: Study, trials: Sequence[Trial], winner: int | None) -> Iterator[Markup]:
    metric = study.spec.metric
    complete = len(study.complete())
    each_goal = [importance.importances(study, complete, goal) for goal in range(len(study.spec.metrics))]
    found = each_goal[0][0]
    for goal, (shares, note) in zip(study.spec.metrics, each_goal, strict=True):
        yield page.heading(f"Parameter importances{f' for {goal.name}' if study.spec.several else ''}")
        yield embed.plot(importance.bars(shares), note) if shares else page.prose(note, "soft")
    ranked = [*found, *(name for name in study.spec.parameters if name not in found)]
    axes = [Axis(name=name, parameter=study.spec.parameters[name]) for name in ranked if name in study.spec.parameters]
    lines = landscape.parallel(trials, axes, metric, winner)
    if lines is not None:
        yield page.heading("Parallel coordinates")
        says = f"parallel coordinates of {', '.join(ranked)} and {metric.name}"
        yield embed.parallel(
            lines, says, "A line each complete trial; the winner and the better half in colours of their own."
        )
    if len(axes) > 1:
        figure = landscape.contour(trials, axes[0], axes[1], metric)
        if figure is not None:
            yield page.heading(f"Contour of {axes[0].name} and {axes[1].name}")
            two = "The two most important parameters" if found else "The first two parameters"
            yield embed.plot(figure, f"{two}; dots are trials.")
    each = landscape.slices(trials, axes, metric)
    if each:
        yield page.heading("Slices")
        yield page.prose("Complete trials alone, for the others ended earlier; later trials have more colour.", "soft")
        yield embed.grid(each)


def _table(study: Study, trials: Sequence[Trial]) -> Iterator[Markup]:
    if not trials:
        yield page.prose("There are no trials yet.", "soft")
        return
    names = list(study.spec.parameters)
    also = any(each.origin for each in trials)
    lines = [
        [
            each.number,
            each.state.lower(),
            number(each.value),
            *map(number, each.others),
            *(literal(each.params[name]) if name in each.params else "" for name in names),
            len(each.curve),
            f"{each.seconds:.1f}",
            each.error or "",
            *([each.missed or ""] if study.spec.constraints else []),
            *([each.origin or ""] if also else []),
        ]
        for each in trials
    ]
    states = [state.lower() for state in STATES if any(each.state == state for each in trials)]
    boxes = Markup().join(
        Markup('<label><input type="checkbox" value="{}" checked> {}</label>').format(state, state) for state in states
    )
    yield Markup(
        '<div class="filters" id="states">{}<input type="search" id="find" placeholder="words in a row" '
        'aria-label="words in a row"><span class="soft" id="shown"></span></div>'
    ).format(boxes)
    goals, limited = [each.name for each in study.spec.metrics], ["misses"] * bool(study.spec.constraints)
    columns = ("trial", "state", *goals, *names, "epochs", "seconds", "error", *limited)
    made = page.table((*columns, "origin") if also else columns, lines, name="trials-table")
    # so many rows are laid out when they come near alone
    yield Markup('<div class="{}">{}</div>').format("many" if len(lines) > MANY else "few", made)


def _done(study: Study) -> Iterator[Markup]:
    told = list(map(history.told, study.ledger.history(study.id)))
    if told:
        yield page.heading("What was done to the study")
        yield page.command("\n".join(told))
