"""Every opening of a test part is on record, also after a line that was cut short."""

from pathlib import Path

from hpo import settings
from hpo.model import openings


def test_a_line_that_was_cut_short_costs_no_other(home: Path) -> None:
    where = settings.resolve(home=home)
    assert openings.of(where, "here") == []
    path = openings.note(where, command="promote", data="here", checkpoints={Path("a.pt"): "1" * 64}, trial=3)
    with path.open("a") as file:
        file.write('{"time": "2026-11')
    openings.note(where, command="evaluate", data="here", checkpoints={})
    openings.note(where, command="evaluate", data="elsewhere", checkpoints={})
    assert [line["command"] for line in openings.of(where, "here")] == ["promote", "evaluate"]
    assert openings.of(where, "here")[0]["trial"] == 3
    assert len(path.read_text().splitlines()) == 4
