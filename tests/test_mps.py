"""NVIDIA's Multi-Process Service is started, shared and stopped; a small script stands in for NVIDIA's program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.cluster import mps

CONTROL = """#!/bin/sh
# keeps whether the service runs in a file of the folder that the environment names
runs="${CUDA_MPS_PIPE_DIRECTORY:-/nonexistent}/runs"
if [ "$1" = -d ]; then
    [ -e "$JOURNAL.broken" ] && { echo "no such GPU" >&2; exit 1; }
    echo "${CUDA_VISIBLE_DEVICES-all}" > "$JOURNAL.cards"
    echo start >> "$JOURNAL"; : > "$runs"; exit 0
fi
read -r command
[ -e "$runs" ] || { echo "Cannot find MPS control daemon process"; exit 1; }
[ "$command" = quit ] && { echo quit >> "$JOURNAL"; rm "$runs"; }
exit 0
"""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program notes that it started and stopped the service."""
    program = tmp_path / "bin" / mps.CONTROL
    program.parent.mkdir()
    program.write_text(CONTROL)
    program.chmod(0o755)
    (tmp_path / "cards").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "journal"


def lines(journal: Path) -> list[str]:
    return journal.read_text().split() if journal.exists() else []


def test_it_runs_while_it_is_needed(journal: Path) -> None:
    said: list[str] = []
    with mps.service(said.append, cards=journal.parent / "cards", check=["true"]):
        assert lines(journal) == ["start"]
        folder = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder / "control")) < 108, "the limit of a socket's path"
    assert lines(journal) == ["start", "quit"]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert said == []


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_others_can_write_is_not_used(journal: Path, kind: str) -> None:
    """Its name is known and its place is everybody's: through a link in it, files of this user would be overwritten."""
    folder = journal.parent / f"hpo-mps-{os.getuid()}"
    if kind == "link":
        (journal.parent / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(journal.parent / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    mine = journal.parent / "mine"
    mine.write_text("precious")
    (folder / "users").symlink_to(mine)
    said: list[str] = []
    with mps.service(said.append, cards=journal.parent / "cards", check=["true"]):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert mine.read_text() == "precious"
    assert "is not a folder of this user's alone" in said[0]


def test_drivers_share_it_and_the_last_one_stops_it(journal: Path) -> None:
    other = f"""
import sys
from pathlib import Path
from hpo.cluster import mps
with mps.service(print, cards=Path({str(journal.parent / "cards")!r}), check=["true"]):
    print("in", flush=True)
    sys.stdin.readline()
"""
    with mps.service(print, cards=journal.parent / "cards", check=["true"]):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_MPS")}
        driver = subprocess.Popen(
            [sys.executable, "-c", other],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == "in\n"
    assert lines(journal) == ["start"], "the other driver still uses it"
    driver.kill()
    driver.communicate()
    assert lines(journal) == ["start"], "a killed driver stops nothing"
    with mps.service(print, cards=journal.parent / "cards", check=["true"]):
        assert lines(journal) == ["start"], "what it left is taken over"
    assert lines(journal) == ["start", "quit"]


BROKEN = [sys.executable, "-c", "raise SystemExit('CUDA error 805')"]


def test_a_driver_that_cannot_use_it_neither_stops_nor_uses_the_others(journal: Path) -> None:
    cards = journal.parent / "cards"
    with mps.service(print, cards=cards, check=["true"]):
        chosen = os.environ.pop("CUDA_MPS_PIPE_DIRECTORY")  # as another driver sees it
        with mps.service(lambda text: None, cards=cards, check=BROKEN):
            assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
            with mps.service(print, cards=cards, check=["true"]):  # a third one is not held up
                assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == chosen
        assert lines(journal) == ["start"]
    assert lines(journal) == ["start", "quit"]


def test_it_sees_all_cards_whatever_the_driver_may_see(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with mps.service(print, cards=journal.parent / "cards", check=["true"]):
        assert Path(f"{journal}.cards").read_text() == "all\n"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with mps.service(print, cards=journal.parent / "cards", check=["true"]):
        assert lines(journal) == ["start", "quit"], "no card, no service"


def test_where_it_does_not_work_it_is_off_and_said(journal: Path) -> None:
    said: list[str] = []
    with mps.service(said.append, cards=journal.parent / "cards", check=BROKEN):
        assert lines(journal) == ["start", "quit"]
    Path(f"{journal}.broken").touch()
    with mps.service(said.append, cards=journal.parent / "cards", check=["true"]):
        pass
    begin = "NVIDIA MPS does not work here, trials that share a card take turns: "
    assert said == [f"{begin}CUDA error 805", f"{begin}no such GPU"]


def test_without_a_card_or_with_somebody_elses_service_nothing_is_started(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mps.service(print, cards=journal.parent / "none", check=["true"]):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/theirs")
    with mps.service(print, cards=journal.parent / "cards", check=["true"]):
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/theirs"
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/theirs"
    assert lines(journal) == []
