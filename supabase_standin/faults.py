"""The switchboard of the faults: which are on, for which requests, and how often each fired."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supabase_standin import faultkinds
from supabase_standin.faultkinds import Exchange, Fault
from supabase_standin.wire import Answer, Received


@dataclass(kw_only=True)
class Switch:
    """A fault that was switched on.

    Attributes:
        number: Names it, from 1.
        kind: What it does.
        path: Which requests it meets: those whose path begins so.
        method: Which method it meets; None for all.
        times: How many requests are left for it; None for any number.
        only_reused: Whether it spares the first request of each connection.
        share: Which share of those requests it meets: every tenth for 0.1, evenly spread.
        fired: How many requests it has met.
    """

    number: int
    kind: str
    fault: Fault
    path: str
    method: str | None
    times: int | None
    only_reused: bool
    share: float = 1.0
    fired: int = 0
    seen: int = 0

    def meets(self, request: Received) -> bool:
        """Tell whether *request* is one of its own."""
        if not self._fits(request):
            return False
        self.seen += 1
        return int(self.seen * self.share) > int((self.seen - 1) * self.share)

    def _fits(self, request: Received) -> bool:
        return (
            self.times != 0
            and request.path.startswith(self.path)
            and self.method in {None, request.method}
            and (request.is_reused or not self.only_reused)
        )

    def shown(self) -> dict[str, Any]:
        """Return what it is and how often it fired."""
        return {
            "number": self.number,
            "kind": self.kind,
            "path": self.path,
            "method": self.method,
            "times": self.times,
            "only_reused": self.only_reused,
            "share": self.share,
            "fired": self.fired,
        }


class Faults:
    """Faults by switch; several may meet the same request, the first switched on is the outermost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._switches: list[Switch] = []

    def on(
        self,
        kind: str,
        *,
        path: str = "/",
        method: str | None = None,
        times: int | None = None,
        only_reused: bool = False,
        share: float = 1.0,
        **options: Any,
    ) -> Switch:
        """Switch a fault on and return its switch, which counts.

        Args:
            kind: A name of `faultkinds.KINDS`, or ``vector:<case>``.
            path: Only requests whose path begins so.
            method: Only requests of this method.
            times: Only the next so many requests; None until it is switched off.
            only_reused: Only requests on a connection that has served before.
            share: Only this share of them, evenly spread.
            options: Those of the kind.

        Raises:
            ValueError: There is no such kind, case or option.
        """
        switch = Switch(
            number=next(self._numbers),
            kind=kind,
            fault=faultkinds.make(kind, options),
            path=path,
            method=method,
            times=times,
            only_reused=only_reused,
            share=share,
        )
        with self._lock:
            self._switches.append(switch)
        return switch

    def off(self, switch: Switch) -> None:
        """Switch one fault off; it keeps its count."""
        with self._lock:
            self._switches = [other for other in self._switches if other is not switch]

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._switches.clear()

    def shown(self) -> list[dict[str, Any]]:
        """Return all switches that are on."""
        with self._lock:
            return [switch.shown() for switch in self._switches]

    def answer(self, exchange: Exchange, proceed: Callable[[], Answer]) -> Answer:
        """Return the answer to a request, with every fault that meets it in between.

        Raises:
            Vanish: The connection is to end.
        """
        for switch in reversed(self._met(exchange.request)):
            proceed = _wrapped(switch.fault, exchange, proceed)
        return proceed()

    def _met(self, request: Received) -> list[Switch]:
        with self._lock:
            met = [switch for switch in self._switches if switch.meets(request)]
            for switch in met:
                switch.fired += 1
                switch.times = None if switch.times is None else switch.times - 1
        return met


def _wrapped(fault: Fault, exchange: Exchange, proceed: Callable[[], Answer]) -> Callable[[], Answer]:
    return lambda: fault.apply(exchange, proceed)
