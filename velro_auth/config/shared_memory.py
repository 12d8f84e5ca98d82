"""A notice board: one process writes, those it has forked read, and nobody waits."""

from __future__ import annotations

import mmap
import struct
from typing import Final

#: Takes no memory until it is written to.
SIZE: Final = 1024 * 1024

#: The number of the notice, and its length.
_HEAD: Final = struct.Struct("=QQ")


class SharedMemory:
    """Memory for one notice, made before the fork and shared by all who are forked after it.

    Only the maker writes. A notice's number is odd while it is written, so that nobody takes half of it.

    Args:
        size: The longest notice, in bytes.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._memory = mmap.mmap(-1, _HEAD.size + size)

    @property
    def number(self) -> int:
        """The number of the newest notice; 0 where there was none. It only grows."""
        number: int = _HEAD.unpack_from(self._memory)[0]
        return number

    def put(self, notice: bytes) -> None:
        """Replace the notice.

        Raises:
            ValueError: It is too long.
        """
        if len(notice) > self._size:
            raise ValueError("the notice is too long")
        number = self.number
        _HEAD.pack_into(self._memory, 0, number + 1, len(notice))
        self._memory[_HEAD.size : _HEAD.size + len(notice)] = notice
        _HEAD.pack_into(self._memory, 0, number + 2, len(notice))

    def read(self) -> tuple[int, bytes] | None:
        """Return the newest notice with its number; None while it is being written."""
        number, length = _HEAD.unpack_from(self._memory)
        notice = self._memory[_HEAD.size : _HEAD.size + length]
        return (number, notice) if number % 2 == 0 and number == self.number else None
