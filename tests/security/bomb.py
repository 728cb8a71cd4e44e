"""A pickle that tells when it is read."""

import os
import tempfile
from pathlib import Path

MARK = Path(tempfile.gettempdir(), f"hpo-bomb-{os.getpid()}")


class Bomb:
    """A pickle of it leaves a mark when it is read."""

    def __reduce__(self):
        return Path.touch, (MARK,)
