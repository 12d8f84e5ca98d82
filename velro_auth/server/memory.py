"""One heap for all threads of a worker.

glibc gives up to eight heaps per core to threads, so that they need not wait for each other's lock. Under the
interpreter's lock they never do, and each heap keeps what it once needed: with 32 threads a worker grew by 2.4 MiB over
90,000 logins, and by 0.8 with one heap.
"""

from __future__ import annotations

import ctypes
from typing import Final

#: ``M_ARENA_MAX`` of glibc's ``malloc.h``.
_ARENA_MAX: Final = -8


def use_one_heap() -> bool:
    """Have this process and those it forks use one heap; False where the C library knows no such thing.

    Call it before there are threads: what they have already stays.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_ARENA_MAX, 1))
