"""The global random generators, put back to where they were after something is tried."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["untouched"]


@contextmanager
def untouched(seed: int | None = None) -> Iterator[None]:
    """Put the generators of Python, NumPy and torch, of all cards too, back to where they were.

    Meanwhile all begin at `seed`; None: where they are.
    """
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cards = torch.cuda.get_rng_state_all() if cuda else []
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        if cuda:
            torch.cuda.set_rng_state_all(cards)
