"""What is on record of promotions, over SQLite and PostgreSQL."""

from pathlib import Path
from typing import Any

from study_samples import open_study

from hpo.promotion.journal import PROMOTED, UNDOING, UNDONE, Promotions, settle
from hpo.study import Study


def values(study: Study, sha256: str = "a", **more: Any) -> dict[str, Any]:
    found = {"study": study.id, "trial": 1, "runs": study.name, "run": 1, "sha256": sha256, "model": study.name}
    return {**found, "alias": "champion", **more}


def test_an_unfinished_promotion_is_found_again_and_a_score_is_used_again(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    kept = Promotions(study.ledger)
    row = kept.begin(**values(study))
    assert kept.begin(**values(study))["id"] == row["id"]
    assert kept.begin(**values(study, alias="other"))["id"] != row["id"]
    kept.update(row["id"], data="here", scores='{"accuracy": 0.5}')
    assert kept.scores("a", "here") == {"accuracy": 0.5}
    assert kept.scores("a", "elsewhere") is None
    assert kept.scores("b", "here") is None
    kept.end(row["id"], "refused")
    assert kept.begin(**values(study))["id"] > row["id"]
    assert kept.scores("a", "here") == {"accuracy": 0.5}

    study.delete()
    assert kept.all(study.id) == []


def test_what_was_before_a_version_is_what_its_newest_promotion_says(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    kept = Promotions(study.ledger)
    for version, previous in ((1, None), (2, 1), (3, 2), (2, 3)):
        row = kept.begin(**values(study, sha256=str(version)))
        kept.update(row["id"], version=version, previous=previous)
        kept.end(row["id"], "promoted")
    found = [kept.of_version("study", "champion", version) for version in (1, 2, 3)]
    assert [row and row["previous"] for row in found] == [None, 3, 2]
    assert kept.of_version("study", "other", 1) is None
    fourth = found[1]
    assert fourth is not None
    kept.end(fourth["id"], UNDONE)
    below = kept.of_version("study", "champion", 2)
    assert below is not None
    assert below["previous"] == 1, "rolled back, the version is where it was before"
    assert kept.of_version("study", None, 2) == below


def test_what_was_cut_short_is_ended_as_the_alias_tells(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    kept = Promotions(study.ledger)
    promoted, begun = (kept.begin(**values(study, sha256=each)) for each in ("a", "b"))
    for row, version, previous in ((promoted, 1, None), (begun, 2, 1)):
        kept.update(row["id"], version=version, previous=previous)
    kept.end(promoted["id"], PROMOTED)
    assert settle(study, kept, "champion", 1) == [], "killed before the alias moved: to be begun again"
    assert [row["id"] for row in settle(study, kept, "champion", 2)] == [begun["id"]]
    kept.update(begun["id"], outcome=UNDOING)
    assert settle(study, kept, "champion", 2) == [], "a rollback that has done nothing"
    assert kept.row(begun["id"])["outcome"] == PROMOTED
    kept.update(begun["id"], outcome=UNDOING)
    assert [row["id"] for row in settle(study, kept, "champion", 1)] == [begun["id"]]
    assert kept.row(begun["id"])["outcome"] == UNDONE
    assert settle(study, kept, "champion", 1) == []
