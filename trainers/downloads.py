"""Files from the network: resumed where they broke off, checked, renamed into place."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

__all__ = ["DownloadError", "fetch", "has_md5", "unpack"]

_CHUNK = 1 << 16
_TIMEOUT = 30.0
_IDLE_TRIES = 2


class DownloadError(OSError):
    """A file could not be fetched whole; what came of it is kept for the next try."""


def fetch(urls: Sequence[str], path: Path, *, md5: str) -> None:
    """Fetch a file from the first address that has it, unless `path` is already whole.

    Bytes gather in `<path>.part`, from which a broken download goes on, in this call and the next. Each address is
    tried as long as bytes come, then twice more. A bar is shown where stderr is a terminal.
    Raises DownloadError, with the cause of each address, when none yields a file with this MD5.
    """
    if has_md5(path, md5):
        return
    partial = path.with_name(path.name + ".part")
    causes = []
    with _progress() as progress:
        task = progress.add_task(path.name, total=None)
        for url in urls:
            try:
                _complete(url, partial, md5, progress, task)
            except (OSError, HTTPException) as error:
                causes.append(f"{url}: {getattr(error, 'reason', None) or error}")
                continue
            partial.replace(path)
            return
    raise DownloadError("; ".join(causes))


def has_md5(path: Path, md5: str) -> bool:
    """Return whether the file is there and whole."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def unpack(archive: Path, folder: Path) -> None:
    """Extract a tar file into a folder.

    Raises DownloadError for a member that would come to lie outside, be it by its name or through a link, or is no
    file, folder or link.
    """
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise DownloadError(f"{archive} is not unpacked: {error}") from error


def _complete(url: str, partial: Path, md5: str, progress: Progress, task: Any) -> None:
    """Fill `partial` until its MD5 is right; what a wrong one has fetched is thrown away once."""
    idle = 0
    fresh = not partial.exists()
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            whole = _append(url, partial, progress, task)
        except (HTTPException, ConnectionError, TimeoutError, URLError) as error:
            if isinstance(error, HTTPError):
                raise
            whole, cause = False, error
        else:
            cause = HTTPException("the connection closed early")
        if whole and has_md5(partial, md5):
            return
        if whole:
            partial.unlink()
            if fresh:
                raise DownloadError(f"the file there has another MD5 than {md5}")
            fresh = True
            continue
        gained = partial.exists() and partial.stat().st_size > before
        idle = 0 if gained else idle + 1
        if idle > _IDLE_TRIES:
            raise cause


def _append(url: str, partial: Path, progress: Progress, task: Any) -> bool:
    """Append what is missing; return whether the server has sent all of it."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "hpo"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return True
        raise
    with response:
        if response.status != 206:  # the server sends the whole file, whatever it was asked for
            have = 0
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest is not None else None
        progress.update(task, total=total, completed=have)
        with partial.open("ab" if have else "wb") as stream:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                progress.update(task, advance=len(chunk))
    return total is None or partial.stat().st_size >= total


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
