"""The least a WSGI server can be asked to do: what a probe would cost if this service cost nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_BODY: Final = b'{"status":"healthy","bypass_middleware":true,"timestamp":1700000000.0}'
_HEADERS: Final = (("Content-Type", "application/json"), ("Content-Length", str(len(_BODY))))


def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer everything alike."""
    start_response("200 OK", list(_HEADERS))
    return [_BODY]
