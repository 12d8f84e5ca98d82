"""Ping and health: is the process there? Neither touches the network, the disk or a lock that a login holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from werkzeug.wrappers import Request

from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import json_answer
from velro_auth.web.responses import RawResponse


@dataclass(frozen=True)
class PingEndpoint:
    """``/api/v1/auth/ping``: for uptime pingers."""

    clock: Callable[[], float] = time.time

    name: ClassVar = "ping"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/api/v1/auth/ping",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer a ping."""
        is_fast = RequestContext.of(request.environ).lane == "fast"
        return json_answer({"status": "ok", "service": "auth", "fastpath": is_fast, "timestamp": self.clock()})


@dataclass(frozen=True)
class HealthEndpoint:
    """``/health``: 200 while the process can serve, whatever Supabase does.

    Were it to depend on Supabase, an outage there would keep our own repair from being deployed.
    """

    clock: Callable[[], float] = time.time

    name: ClassVar = "health"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/health", "/__lbheartbeat__")

    def __call__(self, request: Request) -> RawResponse:
        """Answer that the process is there."""
        is_fast = RequestContext.of(request.environ).lane == "fast"
        return json_answer({"status": "healthy", "bypass_middleware": is_fast, "timestamp": self.clock()})
