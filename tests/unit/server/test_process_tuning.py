"""One heap for all threads, in a process of its own: what a test process did with its memory is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fixtures.programs import ROOT, clean_environment
from velro_auth.server.process_tuning import use_one_heap

#: Has eight threads allocate at once, and prints how many heaps glibc has made of it.
PROGRAM = """
import ctypes, sys, threading
from velro_auth.server.process_tuning import use_one_heap
if sys.argv[1] == "one" and not use_one_heap():
    sys.exit(3)
libc = ctypes.CDLL(None)
together = threading.Barrier(8)
def allocate():
    together.wait()
    kept = [libc.malloc(5000) for _ in range(100)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def heaps(which: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, which],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode == 3:
        pytest.skip("this C library has no such switch")
    return done.stdout.count(b"<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_threads_share_one_heap() -> None:
    assert heaps("one") == 1
    assert heaps("many") > 1


def test_a_library_without_the_switch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_: None) -> object:
        return object()

    monkeypatch.setattr("ctypes.CDLL", no_library)

    assert not use_one_heap()
