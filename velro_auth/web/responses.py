"""Answers that are ready to be sent: what an endpoint says when there is nothing left to work out.

A Werkzeug ``Response`` can be changed, streamed and negotiated, and costs 20 µs to build and to send; most answers
here are a body that is at hand. Both are WSGI applications, so either lane takes either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A status, headers and a body.

    Attributes:
        body: All of it; left out of the answer to HEAD.
        headers: Without ``Content-Length``.
        status: Code and reason.
    """

    body: bytes
    headers: Sequence[tuple[str, str]]
    status: str = "200 OK"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        start_response(self.status, [*self.headers, ("Content-Length", str(len(self.body)))])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (self.body,)
