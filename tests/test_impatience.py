"""Ctrl-C again and again: the search ends at once and quietly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import synthetic
import yaml
from study_samples import TREE
from waiting import wait_until

from hpo import settings, spec
from hpo.audit import orphans
from hpo.store.lease import holder
from hpo.study import Study


@pytest.mark.slow
@pytest.mark.parametrize(
    ("known", "between"),
    [(False, 0.4), pytest.param(True, 0.05, marks=pytest.mark.long)],
    ids=["a new study, slowly", "a known one, quickly"],
)
def test_ctrl_c_many_times_ends_quietly(home: Path, between: float, known: bool) -> None:
    journal = home.parent / "journal"
    trainer = {"import": "synthetic:Resumable", "journal": str(journal), "epochs": 40, "sleep": 0.5}
    space = home.parent / "space.yaml"
    space.write_text(yaml.safe_dump({**TREE, "trainer": trainer}))
    if known:
        Study.open(spec.load(space, []), settings.resolve(home=home))
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "run", "--space", str(space), "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    wait_until(lambda: bool(synthetic.read(journal)), 60)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(between)
    output = process.communicate(timeout=60)[0]
    assert "Traceback" not in output, output
    assert "Exception" not in output, output
    assert process.returncode == 130, output
    orphans.close(settings.resolve(home=home))  # as any next command does, where it was cut off in the middle
    study = Study.load("study", settings.resolve(home=home))
    assert "RUNNING" not in study.counts()
    assert holder(study.row) is None
