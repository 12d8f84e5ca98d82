"""The request that a gateway asks ``verify`` about, as the gateway describes it.

Each gateway has its own way to name method and address:

=================  ========================================  =========================================================
gateway            method                                    address
=================  ========================================  =========================================================
nginx              ``X-Original-Method``                     ``X-Original-URL``
Caddy, Traefik     ``X-Forwarded-Method``                    ``X-Forwarded-Proto``, ``-Host``, ``-Uri``
Envoy              the method of the question                ``Host``, and the path below ``verify`` with the query
=================  ========================================  =========================================================

A client may send the fields of a gateway that it does not go through. So all fields that a request has must agree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.errors import BadParameter

#: Fields that name the method, in the form of WSGI.
METHOD_FIELDS: Final = ("HTTP_X_FORWARDED_METHOD", "HTTP_X_ORIGINAL_METHOD")
#: nginx sends these. It accepts the answers 401 and 403, but no redirect.
_NGINX_FIELDS: Final = ("HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URL")

_URL: Final = re.compile(r"(https?)://([^/?#\\@\s,]+)(/.*)?", re.ASCII | re.IGNORECASE | re.DOTALL)
_SLASH: Final = re.compile(r"[/?#]")
_AUTHORITY: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedRequest:
    """What a client asked a gateway for.

    Attributes:
        method: Its method.
        scheme: ``http`` or ``https``.
        authority: Its host, perhaps with a port.
        target: Its path and query as the client sent them; begins with a slash.
    """

    method: str
    scheme: str
    authority: str
    target: str

    @property
    def address(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.target}"


def is_nginx(environ: Mapping[str, Any]) -> bool:
    """Return whether nginx asks. Use the result only if the peer is trusted."""
    return any(field in environ for field in _NGINX_FIELDS)


def forwarded_request(environ: Mapping[str, Any], paths: Collection[str]) -> ForwardedRequest:
    """Return the request that a gateway asks about. Use the result only if the peer is trusted.

    Args:
        environ: The gateway's request to ``verify``.
        paths: The paths of ``verify``.

    Raises:
        BadParameter: The gateway does not name the request, or two of its fields contradict each other.
    """
    appended = _appended(environ, paths)
    scheme = environ.get("HTTP_X_FORWARDED_PROTO") or environ.get("wsgi.url_scheme", "")
    host = environ.get("HTTP_X_FORWARDED_HOST") or environ.get("HTTP_HOST", "")
    found = {environ["HTTP_X_ORIGINAL_URL"]} if "HTTP_X_ORIGINAL_URL" in environ else set()
    for uri in (environ.get("HTTP_X_FORWARDED_URI"), appended):
        if uri is not None:
            # The host must not go on in the path, nor the other way round.
            is_parted = uri.startswith("/") and not _SLASH.search(host)
            found.add(f"{scheme}://{host}{uri}" if is_parted else "")
    methods = {environ[field] for field in METHOD_FIELDS if field in environ}
    if appended is not None:
        methods.add(environ["REQUEST_METHOD"])
    if not found or not methods:
        raise BadParameter(
            "The rules need the request that is asked about: have the gateway send X-Original-URL and"
            " X-Original-Method, or X-Forwarded-Uri, X-Forwarded-Host and X-Forwarded-Method."
        )
    url = _URL.fullmatch(next(iter(found)))
    if len(found) > 1 or len(methods) > 1 or url is None:
        raise BadParameter(
            "The fields X-Original-… and X-Forwarded-… contradict each other, or hold no address: have the gateway"
            " remove those of its clients."
        )
    return ForwardedRequest(method=methods.pop(), scheme=url[1].lower(), authority=url[2].lower(), target=url[3] or "/")


def _appended(environ: Mapping[str, Any], paths: Collection[str]) -> str | None:
    """Return what a gateway appended to the path of ``verify``, as the client sent it; None on the exact path."""
    path = next((path for path in paths if environ["PATH_INFO"].startswith(f"{path}/")), None)
    if path is None:
        return None
    raw = _AUTHORITY.sub("", environ.get("RAW_URI", ""), count=1)
    if raw.startswith(f"{path}/"):
        return raw[len(path) :]
    # Another spelling of the path of verify itself, or a server that does not keep the line: no address.
    return ""
