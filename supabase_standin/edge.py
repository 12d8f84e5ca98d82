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

#: Open to all callers: the document that verifies tokens.
OPEN_PATHS: Final = frozenset(("/auth/v1/.well-known/jwks.json",))
#: Links in mails and providers lead here: a browser that follows one sends no key.
OPEN_LINKS: Final = frozenset(("/auth/v1/verify", "/auth/v1/authorize", "/auth/v1/callback"))
#: The original reads such a body as a form before it looks for JSON, and then there is none left.
FORM: Final = "application/x-www-form-urlencoded"


def is_open(request: Request) -> bool:
    """Tell whether *request* needs no API key."""
    if request.path in OPEN_PATHS or request.path == "/auth/v1/callback" or request.path.startswith("/provider/"):
        return True
    return request.path in OPEN_LINKS and request.method in {"GET", "HEAD"}


def key_role(config: StandinConfig, request: Request) -> str | None:
    """Return the role of the request's API key, None where it must be turned away.

    A secret key in a browser is a leak, so browsers are refused with it. Without an edge no key is required.
    """
    if not config.edge:
        return "anon"
    key = _key(request)
    if _same(key, config.publishable_key):
        return "anon"
    if _same(key, config.secret_key) and (config.secret_key_in_browsers or not _is_browser(request)):
        return SERVICE_ROLE
    return None


def _key(request: Request) -> str:
    return request.headers.get("apikey") or request.args.get("apikey", "")


def turned_away() -> Response:
    """Return the edge's own 401: without an error code, unlike those of the services."""
    return as_json(401, {"message": "Invalid API key"})


def call(config: StandinConfig, request: Request, role: str) -> Call:
    """Return what the services need to know about *request*.

    A request without ``Authorization`` gets the API key's own token from the edge. With the secret key that makes
    the call an administrator's: no captcha is checked for it, and there is no user in it.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else ""
    forwarded = _forwarded(config, request, role)
    address = forwarded or request.remote_addr or ""
    return Call(
        body=b"" if request.mimetype == FORM else request.get_data(),
        query=request.args.to_dict(),
        bearer=given or _key_as_bearer(config, request),
        key_role=role,
        address=address,
        limited_as=address if config.edge else forwarded,
        user_agent=request.headers.get("User-Agent", ""),
        audience=request.headers.get("X-JWT-AUD") or "authenticated",
        headers={name.lower(): value for name, value in request.headers},
    )


def _key_as_bearer(config: StandinConfig, request: Request) -> str | None:
    return (_key(request) or None) if config.edge and "Authorization" not in request.headers else None


def _forwarded(config: StandinConfig, request: Request, role: str) -> str | None:
    """Return the address a request was forwarded for, None when it names none or is not believed.

    The edge believes callers with the secret key; the bare server believes every caller.
    """
    names = ("Sb-Forwarded-For",) if config.edge else ("Sb-Forwarded-For", "X-Forwarded-For")
    if config.edge and not (config.forwarded_for and role == SERVICE_ROLE):
        return None
    found = (request.headers.get(name, "").split(",")[0].strip() for name in names)
    return next((address for address in found if _is_address(address)), None)


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
