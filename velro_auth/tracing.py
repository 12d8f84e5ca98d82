"""What the way to Supabase tells of each call, for those who draw traces; by default nobody does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self


class Call(Protocol):
    """One request to somebody else, while it is under way."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers to send along, so that the other side can say whose work it does."""

    def answered(self, status: int, /) -> None:
        """Note the status of the answer."""


class Tracer(Protocol):
    """Whoever is told of calls: OpenTelemetry, or nobody."""

    def call(self, method: str, url: str, /) -> AbstractContextManager[Call]:
        """Return a context that lasts as long as the call; what it raises passes through."""


class NullCall:
    """A call that nobody hears of."""

    headers: Final[Mapping[str, str]] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """End."""

    def answered(self, _: int, /) -> None:
        """Note nothing."""


NULL_CALL: Final = NullCall()


class NullTracer:
    """Tells nobody."""

    def call(self, _: str, __: str, /) -> NullCall:
        """Return a call that nobody hears of."""
        return NULL_CALL


NULL_TRACER: Final = NullTracer()
