"""Ray's folder of a cluster that we start: who may read what trials print, how much of it is kept, and until when."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hpo import settings

PROGRAM = """
import json, os
from pathlib import Path
import ray
from hpo import settings, spec
from hpo.cluster.resources import cluster

def size(folder):
    return sum(path.stat().st_size for path in folder.glob("worker-*"))

tree = {"name": "n", "metric": "m", "sampler": "grid", "parameters": {"lr": [1]}}
tree["trainer"] = {"import": "synthetic:curve"}
with cluster(spec.from_mapping(tree), settings.resolve(), lambda: None):
    @ray.remote(num_cpus=1)
    def talk():
        for _ in range(60):
            print("x" * 10**6, flush=True)
    ray.get(talk.remote())
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path()).resolve()
    found = {"session": str(session), "bytes": size(session / "logs")}
    found["modes"] = [path.stat().st_mode & 0o777 for path in (session, *session.parents)]
print(json.dumps({**found, "left": session.exists() or session.parent.exists() or session.parent.parent.exists()}))
"""


@pytest.mark.slow
def test_what_trials_print_is_this_users_alone_bounded_and_gone_at_the_end() -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, umask=0o022, env=known, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0o700 in found["modes"], "no folder above the logs is closed to others"
    assert 0 < found["bytes"] < 25e6
    assert not found["left"]
    assert done.stderr == ""


def test_the_folder_leaves_room_for_the_paths_of_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    assert settings.ray_folder() == Path("/var/tmp")
    monkeypatch.setattr(tempfile, "tempdir", f"/var/folders/{'x' * 30}")
    assert settings.ray_folder() == Path("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/scratch")
    assert settings.ray_folder() == Path("/scratch")
