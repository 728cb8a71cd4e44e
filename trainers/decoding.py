"""Picture files into one array, by as many processes as there are processors to use.

Threads do not help with small files: most of the time goes into Pillow's Python code, under one lock.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

__all__ = ["DECODE_VERSION", "UNREADABLE", "decode", "decode_all"]

DECODE_VERSION = 2
"""Raised when `decode` gives other pixels for the same file, so that caches are built anew."""
WORTH_A_PROCESS = 8 << 20
"""Bytes of work below which starting a process (0.1 s) takes longer than it saves."""
BYTES_PER_FILE = 4096
"""What opening a file costs, in bytes that could be decoded meanwhile."""
_CHUNK = 64
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_PROGRAM = "import sys; sys.path[:0] = [sys.argv[1]]; from trainers.decoding import main; main()"


def decode_all(
    files: Sequence[str], root: Path, images: np.memmap[Any, np.dtype[np.uint8]], *, size: int, work: int, threads: int
) -> npt.NDArray[np.bool_]:
    """Decode `root/<file>` of each file into its row of `images` (N, 3, size, size), mapped from a .npy file.

    `work` is the size of all files in bytes, `threads` the most processors to use. Returns (N,) whether it could be
    read. Raises RuntimeError where a process ends early.
    """
    processes = min(threads, 1 + (work + BYTES_PER_FILE * len(files)) // WORTH_A_PROCESS)
    readable = np.ones(len(files), dtype=bool)
    if processes == 1:
        for index, file in enumerate(files):
            readable[index] = _decode_into(images, index, root / file, size)
        return readable
    assert images.filename is not None
    array = os.path.abspath(images.filename)  # noqa: PTH100 - need not exist in the form of a Path
    jobs = [
        {
            "array": array,
            "root": str(root.absolute()),
            "size": size,
            "rows": rows,
            "files": [files[row] for row in rows],
        }
        for rows in (_rows(len(files), worker, processes) for worker in range(processes))
    ]
    for row in _run(jobs):
        readable[row] = False
    return readable


def decode(raw: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Decode a file's bytes to (C, H, W), grey or RGB: upright by its EXIF tag, scaled to cover the area, cropped at
    its centre, transparency on white. Raises one of UNREADABLE.
    """
    colours, height, width = shape
    with Image.open(io.BytesIO(raw)) as opened:
        plain = opened.format == "JPEG" and opened.mode == "RGB" and not opened.info.keys() & {"exif", "xmp"}
        if (
            plain and colours == 3 and opened.size == (width, height)
        ):  # nothing is left to do, and looking for it takes half the time
            return np.asarray(opened).transpose(2, 0, 1)
        opened.draft("RGB", (2 * width, 2 * height))
        picture = opened if plain else ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            # Under transparent pixels files hold arbitrary colours, which a plain conversion would show.
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        if picture.mode.startswith("I;16"):
            # Pillow would turn everything above 255 of 65,535 to white.
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        mode = "RGB" if colours == 3 else "L"
        fitted = ImageOps.fit(picture.convert(mode), (width, height), Image.Resampling.BILINEAR)
        return np.asarray(fitted).reshape(height, width, colours).transpose(2, 0, 1)


def main() -> None:
    """Do one job of `decode_all`: read it from stdin, write the rows that could not be read to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent tells of Ctrl-C
    job = json.load(sys.stdin)
    images, root = np.load(job["array"], mmap_mode="r+"), Path(job["root"])
    rows = zip(job["rows"], job["files"], strict=True)
    json.dump([row for row, file in rows if not _decode_into(images, row, root / file, job["size"])], sys.stdout)


def _decode_into(images: npt.NDArray[np.uint8], row: int, path: Path, size: int) -> bool:
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - 60,000 times, and Path.open takes twice as long
            raw = stream.read()
        images[row] = decode(raw, (3, size, size))
    except UNREADABLE:
        return False
    return True


def _rows(count: int, worker: int, processes: int) -> list[int]:
    """Chunks in turn: classes may differ in the size of their pictures."""
    return [
        row
        for start in range(worker * _CHUNK, count, processes * _CHUNK)
        for row in range(start, min(start + _CHUNK, count))
    ]


def _run(jobs: list[dict[str, Any]]) -> list[int]:
    command = [sys.executable, "-c", _PROGRAM, str(Path(__file__).parent.parent)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in jobs]
    try:
        for process, job in zip(started, jobs, strict=True):
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its exit code tells more
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
        unreadable: list[int] = []
        for process in started:
            assert process.stdout is not None
            answer = process.stdout.read()
            if process.wait() != 0:
                raise RuntimeError(f"a process that decodes pictures ended with {process.returncode}; out of memory?")
            unreadable += json.loads(answer)
        return unreadable
    finally:
        for process in started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
