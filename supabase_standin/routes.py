"""Routes beyond passwords and mails: second factors, identities, OAuth, administration, and what is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from flask import g
from werkzeug.wrappers import Response

from supabase_standin import admin_factors, admin_lists, bearer, factors, identities, links, oauth, switched_off
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import as_json

Route: TypeAlias = tuple[str, str, Callable[..., Response]]


def routes(backend: Backend) -> list[Route]:
    """Return method, path and view of each route."""
    return [*_factors(backend), *_oauth(backend), *_admin(backend), *_off()]


def _factors(backend: Backend) -> list[Route]:
    def view(action: Callable[[Backend, Call, str], Any]) -> Callable[..., Response]:
        return lambda factor_id: as_json(200, action(backend, g.call, factor_id))

    return [
        ("POST", "/factors", lambda: as_json(200, factors.enrol(backend, g.call))),
        ("POST", "/factors/<factor_id>/challenge", view(factors.challenge)),
        ("POST", "/factors/<factor_id>/verify", view(factors.verify)),
        ("DELETE", "/factors/<factor_id>", view(factors.unenrol)),
    ]


def _oauth(backend: Backend) -> list[Route]:
    def link() -> Response:
        found = oauth.link(backend, g.call)
        return as_json(200, {"url": found}) if isinstance(found, str) else found

    def callback() -> Response:
        return oauth.callback(backend, g.call, dict(parse_qsl(g.call.body.decode("utf-8", "replace"))))

    def unlink(identity_id: str) -> Response:
        return as_json(200, identities.unlink(backend, g.call, identity_id))

    return [
        ("GET", "/authorize", lambda: oauth.authorize(backend, g.call)),
        ("GET", "/callback", callback),
        ("POST", "/callback", callback),
        ("GET", "/user/identities/authorize", link),
        ("DELETE", "/user/identities/<identity_id>", unlink),
    ]


def _admin(backend: Backend) -> list[Route]:
    def view(action: Callable[..., Any]) -> Callable[..., Response]:
        def answer(**parts: str) -> Response:
            bearer.demand_admin(backend, g.call)
            return as_json(200, action(**parts))

        return answer

    one = "/admin/users/<user_id>/factors/<factor_id>"
    return [
        ("POST", "/invite", view(lambda: links.invite(backend, g.call))),
        ("POST", "/admin/generate_link", view(lambda: links.generate(backend, g.call))),
        ("GET", "/admin/audit", view(lambda: admin_lists.audit_page(backend, g.call))),
        ("GET", "/admin/users/<user_id>/factors", view(lambda user_id: admin_factors.page(backend, user_id))),
        ("PUT", one, view(lambda **ids: admin_factors.change(backend, g.call, **ids))),
        ("DELETE", one, view(lambda **ids: admin_factors.delete(backend, **ids))),
    ]


def _off() -> list[Route]:
    def view(code: str, text: str) -> Callable[..., Response]:
        return lambda: switched_off.refuse(code, text)

    return [(method, path, view(code, text)) for method, path, code, text in switched_off.ROUTES]
