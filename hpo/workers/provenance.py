"""What a training was done with: versions, device, the commit of its code. Kept with what a trainer says of itself."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import hpo

__all__ = ["differences", "provenance"]

PACKAGES = ("torch", "torchvision", "numpy")
SECONDS = 5.0  # that git may take in a large working tree


def provenance(code: Path | None, *, gpu: float) -> dict[str, Any]:
    """`versions`, `device`, `git_commit` and `git_dirty`, of this process and of the file that trains.

    `device` is the name of the card where there is one and torch is in use. `git_commit` is None where git does not
    have the file: it was installed, ignored, or is in no repository. `git_dirty`: the file or another one that git has
    was changed since.
    """
    commit, dirty = _commit(code) if code is not None else (None, None)
    return {"versions": _versions(), "device": _device(gpu), "git_commit": commit, "git_dirty": dirty}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two trainings depended on besides parameters and seed, by the facts of each, where it differs.

    What an earlier version did not record is left out.
    """
    pairs = {
        "code, commit": (one.get("git_commit"), other.get("git_commit")),
        "code, changed since its commit": (one.get("git_dirty"), other.get("git_dirty")),
        "data, fingerprint": (one.get("dataset_fingerprint"), other.get("dataset_fingerprint")),
        "device": (one.get("device"), other.get("device")),
    }
    versions = [facts.get("versions") or {} for facts in (one, other)]
    pairs |= {
        f"version of {each}": (versions[0].get(each), versions[1].get(each)) for each in {**versions[0], **versions[1]}
    }

    def known(facts: Mapping[str, Any], value: Any) -> bool:
        return value is not None or "versions" in facts

    return {
        what: (mine, yours)
        for what, (mine, yours) in pairs.items()
        if mine != yours and known(one, mine) and known(other, yours)
    }


@functools.cache  # what this process has imported stays as it was then
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "hpo": hpo.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a trainer of one's own may do without
            continue
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


def _device(gpu: float) -> str:
    torch = sys.modules.get("torch")
    if gpu and torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cuda" if gpu else "cpu"


@functools.cache
def _commit(code: Path) -> tuple[str | None, bool | None]:
    commit = _git(code, "rev-parse", "HEAD")
    if commit is None or _git(code, "check-ignore", "--quiet", str(code)) is not None:
        return None, None
    tracked = _git(code, "ls-files", "--error-unmatch", str(code)) is not None
    changed = _git(code, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changed is None else bool(changed) or not tracked


def _git(code: Path, *words: str) -> str | None:
    """What git prints; None where it fails, is not installed or takes too long."""
    command = ["git", "-C", str(code.parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
