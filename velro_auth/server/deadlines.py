"""Where connections wait, until when, and which of them has to go first when there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from velro_auth.server.connection import Connection

#: How long a client may stay silent after connecting, and how long a whole request may take to arrive.
REQUEST_TIMEOUT_S: Final = 10.0
#: How long a connection that we have closed is read, so that the answer is not cut off by a reset (RFC 9112, 9.6).
LINGER_S: Final = 2.0
#: How long a stopping worker waits for a request on an idle connection; gunicorn's own value.
LAST_CALL_S: Final = 2.0


class Place(dict["Connection", None]):
    """Connections that wait for the same thing, in the order of their deadlines.

    All may wait equally long, so they enter in that order, but for those whose time has begun elsewhere.

    Args:
        for_s: How long each may wait.
    """

    def __init__(self, for_s: float) -> None:
        super().__init__()
        self.for_s = for_s

    def sort(self) -> None:
        """Put them into the order of their deadlines."""
        ordered = sorted(self, key=lambda conn: conn.ends_s)
        self.clear()
        self.update(dict.fromkeys(ordered))


class Waiting:
    """All connections that wait for their client, or for a thread to read from it.

    Args:
        send_s: How long a client may take for its answer.
        idle_s: How long a connection may be idle between two requests.
        clock: A clock that never jumps, in seconds.

    Attributes:
        silent: Connected, and sent nothing yet.
        arriving: Sent a part of a request.
        queued: Sent a part of a request; the rest is read by a thread, and no thread is free for that.
        taking: Has not taken all of its answer yet.
        idle: Between two requests.
        lingering: We have closed our side.
    """

    def __init__(self, *, send_s: float, idle_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.silent = Place(REQUEST_TIMEOUT_S)
        self.arriving = Place(REQUEST_TIMEOUT_S)
        self.queued = Place(REQUEST_TIMEOUT_S)
        self.taking = Place(send_s)
        self.idle = Place(idle_s)
        self.lingering = Place(LINGER_S)
        self._places: Final = (self.silent, self.arriving, self.queued, self.taking, self.idle, self.lingering)

    def enter(self, conn: Connection, place: Place, *, ends_s: float | None = None) -> None:
        """Let a connection wait in a place, until *ends_s* where its time runs already."""
        self.leave(conn)
        conn.place = place
        conn.ends_s = self._clock() + place.for_s if ends_s is None else ends_s
        is_in_order = not place or next(reversed(place)).ends_s <= conn.ends_s
        place[conn] = None
        if not is_in_order:
            place.sort()

    def leave(self, conn: Connection) -> None:
        """Take a connection out of its place, if it has one."""
        if conn.place is not None:
            del conn.place[conn]
            conn.place = None

    def expired(self) -> Connection | None:
        """Return a connection whose time is up."""
        now_s = self._clock()
        for place in self._places:
            if place and (conn := next(iter(place))).ends_s <= now_s:
                return conn
        return None

    def least_deserving(self) -> Connection | None:
        """Return the connection that is closed for a new one; None when none waits.

        One that has its answer goes first. Then it is the one that has used up the largest share of the time it may
        wait: an honest request arrives within milliseconds of its connection, and so is never the oldest in a crowd
        of clients that promise a request and do not send it.
        """
        if self.lingering:
            return next(iter(self.lingering))
        now_s = self._clock()
        heads = [next(iter(place)) for place in self._places if place]
        return min(heads, key=lambda conn: _share_left(conn, now_s), default=None)

    def last_call(self) -> None:
        """Shorten the wait of those whose next request has not begun."""
        last_call_s = self._clock() + LAST_CALL_S
        self.idle.for_s = min(self.idle.for_s, LAST_CALL_S)
        for place in (self.silent, self.idle):
            for conn in place:
                conn.ends_s = min(conn.ends_s, last_call_s)


def _share_left(conn: Connection, now_s: float) -> float:
    return (conn.ends_s - now_s) / conn.place.for_s if conn.place else 1.0
