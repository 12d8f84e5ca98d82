"""Each endpoint turns a request into an answer, or raises one of our errors; both lanes share the object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Endpoint(Protocol):
    """One operation of the service, wherever it hangs."""

    @property
    def name(self) -> str:
        """What logs, metrics and the OpenAPI document call it."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it answers; HEAD is listed where GET has one."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The exact paths it answers, the documented one first."""

    def __call__(self, request: Request, /) -> WSGIApplication:
        """Answer *request*, or raise one of our errors."""
