"""A way to the upstream that takes time: a TCP proxy that holds back every byte for half a round trip.

What a client's kernel does on its own (the TCP handshake) is over at once here, so the first bytes of a connection
wait for one round trip more, which is what the handshake would have cost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import click

_GRAIN_S: Final = 1e-6


class Lane(asyncio.Protocol):
    """One direction's receiving end: what comes in goes out at the other end, later.

    Args:
        half_s: How long a byte is on its way.
        first_s: How much longer the first ones are.
    """

    def __init__(self, *, half_s: float, first_s: float = 0.0) -> None:
        self._half_s = half_s
        self._first_s = first_s
        self._due_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._other: asyncio.Future[asyncio.WriteTransport] = self._loop.create_future()
        self.transport: asyncio.Transport | None = None

    def leads_to(self, transport: asyncio.WriteTransport) -> None:
        """Set the other end."""
        if not self._other.done():
            self._other.set_result(transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note when the first bytes may leave."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._due_s = self._loop.time() + self._first_s + self._half_s

    def data_received(self, data: bytes) -> None:
        """Send it on when its time has come."""
        self._later(lambda other: other.write(data))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Close the other end when that news has arrived there."""
        self._later(lambda other: other.close())

    def _later(self, act: Callable[[asyncio.WriteTransport], object]) -> None:
        # A loop keeps no order among timers of one moment: each piece gets a moment of its own.
        self._due_s = max(self._loop.time() + self._half_s, self._due_s + _GRAIN_S)

        def arrive() -> None:
            if self._other.done() and not self._other.result().is_closing():
                act(self._other.result())

        self._loop.call_at(self._due_s, arrive)


class Entrance(Lane):
    """The client's side: opens the way to the upstream."""

    def __init__(self, port: int, *, half_s: float) -> None:
        super().__init__(half_s=half_s, first_s=2 * half_s)
        self._port = port
        self._back = Lane(half_s=half_s)
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the way at once: it is ready before the first bytes may leave."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._back.leads_to(transport)
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            far, _ = await self._loop.create_connection(lambda: self._back, "127.0.0.1", self._port)
        except OSError:
            assert self.transport is not None
            self.transport.abort()
        else:
            self.leads_to(far)


async def _serve(port: int, to: int, half_s: float) -> None:
    make = lambda: Entrance(to, half_s=half_s)  # noqa: E731 - a factory and nothing more
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--to", type=int, required=True)
@click.option("--rtt-ms", type=float, default=20, show_default=True)
def main(port: int, to: int, rtt_ms: float) -> None:
    """Run the proxy."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, to, rtt_ms / 2000))


if __name__ == "__main__":
    main()
