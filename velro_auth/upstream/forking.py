"""Tells objects with threads that they woke up in a forked child, where their threads do not exist."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that has to start anew in a child."""

    def after_fork(self) -> None:
        """Forget the parent's threads, and locks that one of them may have held."""


def after_fork(owner: Forked) -> None:
    """Have ``owner.after_fork()`` called in every child forked from now on, as long as it exists."""
    # Weak, because a hook can never be taken back.
    reference = weakref.ref(owner)

    def wake() -> None:
        alive = reference()
        if alive is not None:
            alive.after_fork()

    os.register_at_fork(after_in_child=wake)
