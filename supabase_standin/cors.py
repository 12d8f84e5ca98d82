"""What pages of other origins may do: as the platform's edge says it, or as the bare Auth server does."""

from __future__ import annotations

from typing import Final

from flask import Request
from werkzeug.wrappers import Response

from supabase_standin.config import StandinConfig

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Request headers the bare server allows; others have to be set.
ALLOWED: Final = frozenset(
    (
        "accept",
        "authorization",
        "content-type",
        "origin",
        "x-client-info",
        "x-client-ip",
        "x-jwt-aud",
        "x-supabase-api-version",
        "x-use-cookie",
    )
)
EXPOSED: Final = "X-Total-Count, Link, X-Supabase-Api-Version"
PREFLIGHT_VARY: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
#: How long browsers may keep the edge's answer to a preflight.
MAX_AGE_S: Final = 3600


def preflight(config: StandinConfig, request: Request) -> Response | None:
    """Answer a preflight for any path; None for other requests."""
    method = request.headers.get("Access-Control-Request-Method", "")
    if request.method != "OPTIONS" or not method:
        return None
    wanted = request.headers.get("Access-Control-Request-Headers", "")
    response = Response(b"", 200 if config.edge else 204)
    del response.headers["Content-Type"]
    response.headers["Vary"] = PREFLIGHT_VARY
    if config.edge:
        _allow(response, ", ".join((*METHODS, "OPTIONS")), wanted or "*")
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
    elif method in METHODS and "Origin" in request.headers and _allows(config, wanted):
        _allow(response, method, wanted)
        response.headers["Access-Control-Allow-Credentials"] = "true"
    return response


def mark(config: StandinConfig, request: Request, response: Response) -> None:
    """Let pages of any origin read *response*, which is no answer to a preflight."""
    if "Vary" in response.headers:  # of a preflight
        return
    response.headers["Vary"] = "Origin"
    if "Origin" not in request.headers:
        return
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = EXPOSED
    if not config.edge:
        response.headers["Access-Control-Allow-Credentials"] = "true"


def _allow(response: Response, methods: str, headers: str) -> None:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Methods"] = methods
    if headers:
        response.headers["Access-Control-Allow-Headers"] = headers


def _allows(config: StandinConfig, wanted: str) -> bool:
    allowed = ALLOWED | {name.lower() for name in config.cors_headers}
    return {name.strip().lower() for name in wanted.split(",") if name.strip()} <= allowed
