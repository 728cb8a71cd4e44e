"""Real pictures, which are not in this repository: `HPO_TEST_PICTURES` names the folder that has them.

It holds cifar10_packed.npz (arrays headers, header_off, blob, off, header_id, label, is_test, classes: JPEG files whose
common headers are stored once) and plates.tar.gz (train and val folders of clean and dirty plates).
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BESIDE = Path(__file__).parents[1].parent / "shared" / "data"
PICTURES = Path(os.environ.get("HPO_TEST_PICTURES", BESIDE))


def need(name: str) -> Path:
    path = PICTURES / name
    if not path.exists():
        pytest.skip(f"no {name} in {PICTURES}: set HPO_TEST_PICTURES to a folder that has it")
    return path


def jpegs(packed: np.lib.npyio.NpzFile, count: int, *, test: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` training or test pictures of each class, and their labels."""
    headers, blob = packed["headers"].tobytes(), packed["blob"].tobytes()
    starts, offsets, which = packed["header_off"], packed["off"], packed["header_id"]
    labels = packed["label"]
    chosen = np.concatenate(
        [np.flatnonzero((labels == label) & (packed["is_test"] == test))[:count] for label in range(10)]
    )
    images = [
        Image.open(
            io.BytesIO(headers[starts[which[i]] : starts[which[i] + 1]] + blob[offsets[i] : offsets[i + 1]])
        ).convert("RGB")
        for i in chosen
    ]
    return np.stack([np.asarray(image) for image in images]), labels[chosen].astype(np.int64)
