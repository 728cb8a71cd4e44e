"""`hpo` as it is typed, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def typed(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpo", *arguments]
    surroundings = {**os.environ, "HPO_HOME": str(home), "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=120)
