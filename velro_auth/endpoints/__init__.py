"""An endpoint turns a request into a response, or raises one of our errors. Both lanes use the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Endpoint(Protocol):
    """One operation of the service, independent of the lane."""

    @property
    def name(self) -> str:
        """Its name in logs, metrics and the OpenAPI document."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it answers, HEAD included."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The exact paths it answers, the documented path first."""

    def __call__(self, request: Request, /) -> WSGIApplication:
        """Answer *request*, or raise one of our errors."""
