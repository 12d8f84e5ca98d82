"""An endpoint turns a request into a response, or raises one of our errors. Both lanes use the same object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


#: WSGI environ key (a convention of wsgi.org): the values of the placeholders in the path.
ROUTING_ARGS: Final = "wsgiorg.routing_args"


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
        """The exact paths it answers, the documented path first; ``<name>`` stands for one segment."""

    def __call__(self, request: Request, /) -> WSGIApplication:
        """Answer *request*, or raise one of our errors."""


@dataclass(frozen=True)
class Around:
    """An endpoint around another one, under the same name, methods and paths.

    Attributes:
        endpoint: The other one.
    """

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Its name in logs, metrics and the OpenAPI document."""
        return self.endpoint.name

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it answers."""
        return self.endpoint.methods

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths it answers."""
        return self.endpoint.paths


def path_value(request: Request, name: str) -> str:
    """Return what stands in the path for the placeholder *name*."""
    value: str = request.environ[ROUTING_ARGS][1][name]
    return value
