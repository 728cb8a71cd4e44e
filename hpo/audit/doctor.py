"""`hpo doctor`: the audit of all studies and of what they stand on, and its repair."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.audit import surroundings
from hpo.audit.agreement import Audit, examine
from hpo.audit.disk import SHORT, forecast
from hpo.audit.finding import Finding
from hpo.audit.surroundings import Gpu, Store, gpus, versions
from hpo.errors import SpecError, StudyOwned, Unavailable
from hpo.masking import masked
from hpo.settings import Settings
from hpo.store.opening import open_ledger
from hpo.store.patience import reason
from hpo.store.storage import STORAGE_ERRORS
from hpo.study import Study
from hpo.tracking.reach import Reach
from hpo.wording import plain, size, words

__all__ = ["DISAGREE", "doctor"]

DISAGREE = 3
"""Exit code: an audit is a gate, and it failed. 1 is left for a doctor that fails itself."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the doctor has to say of one study."""

    audit: Audit  # of what is left, after a repair
    trials: str = ""
    mended: Sequence[Finding] = ()
    alone: bool = False  # --fix left it alone, a driver is at work on it
    mlflow: str | None = None  # where its runs are
    need: int | None = 0  # bytes that its checkpoints may still take; None: not known


def doctor(name: str | None, settings: Settings, *, fix: bool, dry_run: bool, as_json: bool) -> int:
    """Audit a study, or all with the surroundings; with `fix` mend them. Prints, and returns the exit code.

    Raises:
        SpecError: there is no study of that name.
        Unavailable: the database went away meanwhile.
        StudyOwned: `fix` was asked for a study that a driver is at work on.
    """
    storage, reach = surroundings.sql_store(settings), Reach()
    try:
        names = _names(name, settings, storage)
        reports = [_diagnose(each, settings, reach, fix=fix and not dry_run) for each in names]
    except STORAGE_ERRORS as error:
        raise Unavailable(f"{masked(settings.storage)} went away: {reason(error)}") from error
    if fix and name is not None and reports and reports[0].audit.owner:
        stop = settings.command("stop", name)
        raise StudyOwned(f"study {name!r} is being run by {reports[0].audit.owner} and left alone: `{stop}` first")
    folder = _with_need(surroundings.checkpoint_store(settings), sum(report.need or 0 for report in reports))
    uris = dict.fromkeys([report.mlflow for report in reports if report.mlflow] or [settings.mlflow])
    found = [storage, *(surroundings.mlflow_store(uri, reach) for uri in uris), folder]
    if as_json:
        print(json.dumps(_plain(name, found, reports), indent=2))
    else:
        _show(name, found, reports, settings, dry_run=dry_run, fix=fix)
    if any(store.problem for store in found) or any(report.audit.silent for report in reports):
        return Unavailable.exit_code
    return 0 if all(report.audit.agrees for report in reports) else DISAGREE


def _names(name: str | None, settings: Settings, store: Store) -> list[str]:
    if store.problem:
        return []
    if name is not None:
        return [name]
    return [row["name"] for row in open_ledger(settings, reading=True).studies()] if store.ours else []


def _diagnose(name: str, settings: Settings, reach: Reach, *, fix: bool) -> Diagnosis:
    seen = examine(name, settings, reach)
    mended: list[Finding] = []
    alone = fix and seen.owner is not None
    if fix and not alone and any(each.mend for each in seen.findings):
        from hpo.audit.repair import mend

        try:
            done, left = mend(Study.load(name, settings), reach)
            mended = [each for each in seen.findings if each.kind == "study"] + done
            seen = left
        except StudyOwned:  # a driver began meanwhile
            alone = True
    try:
        study = (
            Study.load(name, settings, reading=True)
            if not any(each.kind == "study" for each in seen.findings)
            else None
        )
    except SpecError:
        study = None
    if study is None:
        return Diagnosis(audit=seen, mended=mended, alone=alone)
    need = forecast(study.spec, study.settings, study).need
    trials, mlflow = words(study.counts()), study.settings.mlflow
    return Diagnosis(audit=seen, trials=trials, mended=mended, alone=alone, need=need, mlflow=mlflow)


def _with_need(store: Store, need: int) -> Store:
    if store.free_bytes is None:
        return store
    note = f"{size(store.free_bytes)} free"
    if need:
        note += f", unfinished studies may take {size(need)}"
    if store.free_bytes < 2 * need:
        note += f": {SHORT}"
    return replace(store, note=note)


# -- printing ---------------------------------------------------------------------------------------------------------


def _show(
    name: str | None,
    found: Sequence[Store],
    reports: Sequence[Diagnosis],
    settings: Settings,
    *,
    dry_run: bool,
    fix: bool,
) -> None:
    lines = _around() if name is None else []
    lines += [(store.store, f"{store.where}: {_store(store)}") for store in found]
    if name is None and not reports and not found[0].problem:
        lines.append(("studies", "none yet"))
    for report in reports:
        lines.append(("study", f"{report.audit.study}: {_verdict(report)}"))
        lines += [("", f"mended: {each.about}") for each in report.mended]
        for each in report.audit.findings:
            would = f"--fix {each.mend}" if each.mend else "nothing that --fix could mend without guessing"
            lines.append(("", f"{each.about}; {would}"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for head, text in lines:
        table.add_row(head, Text(plain(" ".join(text.splitlines()))))  # errors of others may hold anything
    # a file or a pipe has no margin; a terminal's is kept by folding, never by cutting
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(table)
    if dry_run:
        console.print(Text("nothing was changed; the same without --dry-run does what is said after --fix"))
    elif not fix and any(each.mend for report in reports for each in report.audit.findings):
        console.print(Text(f"mend with: {settings.command('doctor', *([name] if name else []), '--fix')}"))


def _around() -> list[tuple[str, str]]:
    cards = gpus()
    lines = [cards] if isinstance(cards, str) else [_card(each) for each in cards]
    there = ", ".join(f"{each} {said or 'missing'}" for each, said in versions().items())
    return [("versions", there), *(("GPU", line) for line in lines)]


def _verdict(report: Diagnosis) -> str:
    seen, count = report.audit, len(report.audit.findings)
    said = [f"{count} finding{'s' if count > 1 else ''}" if count else "" if seen.silent else "agrees"]
    if seen.owner:
        said.append(f"run by {seen.owner}, so that only trials that have ended were looked at")
    if report.alone:
        said.append("left alone")
    if seen.silent:
        said.append(seen.silent)
    return "; ".join(filter(None, [*said, report.trials]))


def _store(store: Store) -> str:
    answer = f"answers in {1000 * store.seconds:.0f} ms" if store.seconds is not None else None
    return "; ".join(filter(None, [store.problem, answer, store.note]))


def _card(card: Gpu) -> str:
    memory = f"{card.used_mib} of {card.memory_mib} MiB in use"
    return f"{card.index}: {card.name}, {memory}, driver {card.driver}"


def _plain(name: str | None, found: Sequence[Store], reports: Sequence[Diagnosis]) -> dict[str, Any]:
    """For programs."""
    around: dict[str, Any] = {}
    if name is None:
        cards = gpus()
        around = {"versions": versions(), "gpus": [] if isinstance(cards, str) else [asdict(each) for each in cards]}
    studies = [
        {
            "study": report.audit.study,
            "agrees": report.audit.agrees,
            "run_by": report.audit.owner,
            "mlflow_problem": report.audit.silent,
            "findings": [each.plain() for each in report.audit.findings],
            "mended": [each.plain() for each in report.mended],
            "checkpoint_bytes_needed": report.need,
        }
        for report in reports
    ]
    return {**around, "stores": [asdict(each) for each in found], "studies": studies}
