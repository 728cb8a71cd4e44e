"""What is on record of promotions, over SQLite and PostgreSQL."""

from pathlib import Path
from typing import Any

from study_samples import open_study

from hpo.promotions import Promotions
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
    assert kept.unfinished(**values(study)) is None
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
