"""Protocols for recording each request to Supabase. ``telemetry/traces.py`` implements them with OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol


class Call(Protocol):
    """One request to Supabase, from sending to the end of its answer."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields to send with it, for distributed traces."""

    def answered(self, status: int, /) -> None:
        """Record the status of the answer."""


class Tracer(Protocol):
    """Records requests to Supabase."""

    def call(self, method: str, url: str, /) -> AbstractContextManager[Call | None]:
        """Return a context that lasts as long as the call; None for one without a record. Exceptions pass through."""
