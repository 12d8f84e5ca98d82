"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Only a test that fails waits so long; a busy machine may take a good part of it.
PATIENCE_S = 60.0


def eventually(
    is_so: Callable[[], object], *, or_say: Callable[[], object] = str, within_s: float = PATIENCE_S
) -> None:
    """Wait until *is_so*; claim that it comes to it.

    Args:
        is_so: Asked every few milliseconds; may fail the test itself.
        or_say: What is shown if it never is.
        within_s: How long to wait.
    """
    ends_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < ends_s, or_say()
        time.sleep(0.005)
