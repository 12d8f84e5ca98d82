"""The platform's gateway in front of the services: it knows the API keys and nothing else."""

from __future__ import annotations

import ipaddress
import secrets
from typing import Final

from flask import Request
from werkzeug.wrappers import Response

from supabase_standin.backend import SERVICE_ROLE, Call
from supabase_standin.config import StandinConfig
from supabase_standin.errors import as_json

#: Open to everybody: the document that verifies tokens.
OPEN_PATHS: Final = frozenset(("/auth/v1/.well-known/jwks.json",))
#: Links in mails and providers lead here: a browser that follows one sends no key.
OPEN_LINKS: Final = frozenset(("/auth/v1/verify", "/auth/v1/authorize", "/auth/v1/callback"))


def is_open(request: Request) -> bool:
    """Tell whether *request* needs no API key."""
    if request.path in OPEN_PATHS or request.path == "/auth/v1/callback":
        return True
    return request.path in OPEN_LINKS and request.method in {"GET", "HEAD"}


def key_role(config: StandinConfig, request: Request) -> str | None:
    """Return the role of the request's API key, None where it must be turned away.

    A secret key in a browser is a leak, so browsers are refused with it.
    """
    key = _key(request)
    if _same(key, config.publishable_key):
        return "anon"
    if _same(key, config.secret_key) and not _is_browser(request):
        return SERVICE_ROLE
    return None


def _key(request: Request) -> str:
    return request.headers.get("apikey") or request.args.get("apikey", "")


def turned_away() -> Response:
    """Return the edge's own 401: without an error code, unlike those of the services."""
    return as_json(401, {"message": "Invalid API key"})


def call(config: StandinConfig, request: Request, role: str) -> Call:
    """Return what the services need to know about *request*.

    A request with the secret key and without a bearer token gets the key's own. That makes the call an
    administrator's: no captcha is checked for it, and there is no user in it.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else ""
    return Call(
        body=request.get_data(),
        query=request.args.to_dict(),
        bearer=given or (config.secret_key if role == SERVICE_ROLE else None),
        key_role=role,
        address=_address(config, request, role),
        user_agent=request.headers.get("User-Agent", ""),
        audience=request.headers.get("X-JWT-AUD") or "authenticated",
        headers={name.lower(): value for name, value in request.headers},
    )


def _address(config: StandinConfig, request: Request, role: str) -> str:
    """Return whose address counts: the forwarded one with the secret key, else that of the connection."""
    forwarded = request.headers.get("Sb-Forwarded-For", "").split(",")[0].strip()
    if config.forwarded_for and role == SERVICE_ROLE and _is_address(forwarded):
        return forwarded
    return request.remote_addr or ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_browser(request: Request) -> bool:
    return request.headers.get("User-Agent", "").startswith("Mozilla/")


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())
