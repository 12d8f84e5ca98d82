"""Switches guards off inside a process of the lab, where no setting does: for ``--without-guard``.

A scenario that passes with its guard off tests nothing. Each patch changes one thing, in memory only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final


def _no_breaker() -> None:
    from velro_auth.guards.asking import CircuitBreaker  # noqa: PLC0415

    @contextlib.contextmanager
    def attempt(_: CircuitBreaker) -> Iterator[None]:
        yield

    CircuitBreaker.attempt = attempt  # type: ignore[method-assign, assignment]


PATCHES: Final[Mapping[str, Callable[[], Any]]] = {
    "breaker": _no_breaker,
}
