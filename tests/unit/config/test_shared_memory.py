"""Shared-memory publication: a reader never gets half of it."""

from __future__ import annotations

import os

import pytest

from velro_auth.config.reload import SharedMemory


def test_an_empty_memory_has_the_number_0() -> None:
    assert SharedMemory().number == 0


def test_the_newest_publication_is_read_with_its_number() -> None:
    memory = SharedMemory()
    memory.put(b"a longer first publication")
    first = memory.number
    memory.put(b"second")

    assert memory.read() == (memory.number, b"second")
    assert memory.number > first > 0


def test_half_a_publication_is_not_read() -> None:
    memory = SharedMemory()
    memory.put(b"first")
    memory._memory[0] += 1

    assert memory.read() is None


def test_a_publication_that_is_too_long_leaves_the_old_one() -> None:
    memory = SharedMemory(size=8)
    memory.put(b"fits")

    with pytest.raises(ValueError, match="too long"):
        memory.put(b"does not fit")

    assert memory.read() == (memory.number, b"fits")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_before_reads_it() -> None:
    memory = SharedMemory()
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(memory.read() == (2, b"news"))
    os.read(ready[0], 1)

    memory.put(b"news")

    os.write(go[1], b".")
    _, status = os.waitpid(pid, 0)
    for end in (*ready, *go):
        os.close(end)
    assert os.WEXITSTATUS(status) == 1
