"""To wait for what another process does."""

import time
from collections.abc import Callable


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.02)
