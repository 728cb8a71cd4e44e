"""The benchmark of a study that grows, in small."""

from pathlib import Path

import sqlalchemy as sql

from benchmarks.scale import SPACE, _figures
from benchmarks.slots import Slots
from hpo import settings, spec
from hpo.cluster.placement import Placement
from hpo.search.progress import Progress
from hpo.store import tables
from hpo.store.lease import Lease
from hpo.store.storage import alone
from hpo.study import Study


def test_simulated_slots_record_what_a_search_does(home: Path) -> None:
    overrides = ["trainer.import=benchmarks.synthetic:curve", "trainer.epochs=4", "pruner=none", "budget.trials=20"]
    space = spec.load(SPACE, overrides)
    study = Study.open(space, settings.resolve(home=home, storage=f"sqlite:///{home}/studies.db"))
    with Lease(study) as lease, alone(study.storage):
        study.begin()
        progress = Progress.silent()
        progress.begin(study, Placement(cpu=1, gpu=0, slots=3))
        slots = Slots(study, lease, progress, slots=3, seconds=5.0)
        slots.run(3, over=3)
        slots.run(6, over=5)  # from what the first pass put back
        assert study.counts() == {"COMPLETE": 9, "WAITING": 2}
        figures = _figures(slots.times, 3)
    assert figures["epochs_a_trial"] == 4
    assert 0.5 < figures["busy"] <= 1.2, (
        "an epoch of 5 s outlasts what a driver does; those cut at the ends count whole"
    )
    assert figures["trials_a_minute"] > 0
    with study.ledger.begin() as connection:
        kinds = sql.select(tables.outbox.c.kind, sql.func.count()).group_by(tables.outbox.c.kind)
        waiting = {row[0]: row[1] for row in connection.execute(kinds)}
    assert waiting["end"] >= 9
    assert waiting["epoch"] > len(study.ledger.epochs(study.id)) >= 4 * 9
    assert list(study.folder.glob("*/epoch-*.pt"))
