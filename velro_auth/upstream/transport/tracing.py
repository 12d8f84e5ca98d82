"""Protocols for recording each request to Supabase. ``telemetry/traces.py`` implements them with OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Call(Protocol):
    """One request to Supabase, from sending to the end of its answer."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields to send with it, for distributed traces."""

    def answered(self, status: int, /) -> None:
        """Record the status of the answer."""


class Tracer(Protocol):
    """Records requests to Supabase."""

    def call(self, method: str, url: str, /) -> AbstractContextManager[Call]:
        """Return a context that lasts as long as the call. Exceptions pass through it."""


class NullCall:
    """A call that is not recorded."""

    headers: Final[Mapping[str, str]] = {}

    def answered(self, _: int, /) -> None:
        """Do nothing."""


NULL_CALL: Final = NullCall()
_NULL_CONTEXT: Final = nullcontext(NULL_CALL)


class NullTracer:
    """Records nothing."""

    def call(self, _: str, __: str, /) -> AbstractContextManager[Call]:
        """Return a context that does nothing."""
        return _NULL_CONTEXT


NULL_TRACER: Final = NullTracer()
