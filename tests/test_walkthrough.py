"""The walk-through of docs/, typed: every command in its order, and what a newcomer is told there."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TYPED = re.findall(r"^\$ hpo (.+)$", (ROOT / "docs" / "walkthrough.md").read_text(), re.MULTILINE)


class Newcomer:
    """Types commands in a folder of their own that has the shipped spaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "search_spaces").symlink_to(ROOT / "search_spaces")

    def type(self, line: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hpo", *shlex.split(line)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
            timeout=300,
        )
        assert done.returncode == code, f"hpo {line}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.mark.slow
def test_every_line_does_what_the_text_says(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    home, said = tmp_path / "hpo-data", {}
    for line in TYPED:
        if line.startswith("check"):
            said[line] = newcomer.type(line)
            assert {each.name for each in home.iterdir()} == {"checks"}, "a check makes no study"
        else:
            said[line] = newcomer.type(line)
    run = said["run --space search_spaces/quickstart.yaml"]
    assert run.stderr.count("trial ") >= 12
    assert "winner      trial " in run.stdout
    best = json.loads(newcomer.type("best quickstart --json").stdout)
    assert best["value"] > 0.8
    assert Path(best["checkpoint"]).exists()
    assert newcomer.type("best quickstart --checkpoint").stdout.strip() == best["checkpoint"]
    rows = json.loads(newcomer.type("trials quickstart --json").stdout)
    assert [row["number"] for row in rows] == list(range(13)), "one more than the file says"
    assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
    assert "mean of 3 fresh seeds" in said["confirm quickstart"].stdout
    assert "models:/quickstart@champion" in said["promote quickstart"].stdout
    refused = newcomer.type("resume quickstart --set trainer.epochs=9", code=2)
    assert "trainer.epochs: 6 -> 9" in refused.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE((home / name).stat().st_mode) for name in ("studies.db", "mlflow.db")} == {0o600}
