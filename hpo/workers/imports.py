"""Imports that are worth hurrying: those between Enter and the first epoch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without the garbage collector, which looks again and again through what stays for good.

    Measured on Python 3.11: Ray Tune takes 0.39 s of processor time instead of 0.55, PyTorch 1.1 instead of 1.3.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
