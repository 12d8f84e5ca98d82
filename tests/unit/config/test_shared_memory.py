"""The notice board: what is read is whole, whoever looks and whenever."""

from __future__ import annotations

import os

import pytest

from velro_auth.config.shared_memory import SharedMemory


def test_an_empty_board_has_the_number_0() -> None:
    assert SharedMemory().number == 0


def test_the_newest_notice_is_read_with_its_number() -> None:
    board = SharedMemory()
    board.put(b"a longer first notice")
    first = board.number
    board.put(b"second")

    assert board.read() == (board.number, b"second")
    assert board.number > first > 0


def test_half_a_notice_is_not_read() -> None:
    board = SharedMemory()
    board.put(b"first")
    board._memory[0] += 1

    assert board.read() is None


def test_a_notice_that_is_too_long_leaves_the_old_one() -> None:
    board = SharedMemory(size=8)
    board.put(b"fits")

    with pytest.raises(ValueError, match="too long"):
        board.put(b"does not fit")

    assert board.read() == (board.number, b"fits")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_before_reads_it() -> None:
    board = SharedMemory()
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(board.read() == (2, b"news"))
    os.read(ready[0], 1)

    board.put(b"news")

    os.write(go[1], b".")
    _, status = os.waitpid(pid, 0)
    for end in (*ready, *go):
        os.close(end)
    assert os.WEXITSTATUS(status) == 1
