"""The Flask app: which route is answered by what, and how failures become answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Blueprint, Flask, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.wrappers import Response

from supabase_standin import account, admin, bearer, edge, grants, rest, signup
from supabase_standin.backend import Backend, Call
from supabase_standin.discovery import DISCOVERED
from supabase_standin.errors import Failure, as_json, unhandled

log = logging.getLogger(__name__)

VERSION: Final = "v2.197.0"
PROVIDERS: Final = (
    "anonymous_users",
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "figma",
    "fly",
    "github",
    "gitlab",
    "google",
    "kakao",
    "keycloak",
    "linkedin",
    "linkedin_oidc",
    "notion",
    "slack",
    "slack_oidc",
    "snapchat",
    "spotify",
    "twitch",
    "twitter",
    "workos",
    "zoom",
)


def create_app(backend: Backend) -> Flask:
    """Return the services of one Supabase project as a WSGI app: Auth and the data API."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # of the default provider
    app.register_blueprint(_auth(backend), url_prefix="/auth/v1")
    app.register_blueprint(rest.blueprint(backend), url_prefix="/rest/v1")
    app.before_request(lambda: _admit(backend))
    app.after_request(_add_headers)
    app.register_error_handler(Exception, _failed)
    return app


def _admit(backend: Backend) -> Response | None:
    role = edge.key_role(backend.config, request) or ("anon" if edge.is_open(request) else None)
    if role is None:
        return edge.turned_away()
    g.call = edge.call(backend.config, request, role)
    return None


def _add_headers(response: Response) -> Response:
    if "call" in g:
        response.headers.extend(g.call.reply_headers)
    return response


def _failed(error: Exception) -> Response:
    if isinstance(error, NotFound):
        return Response("404 page not found\n", 404, content_type="text/plain; charset=utf-8")
    if isinstance(error, MethodNotAllowed):
        response = Response(b"", 405)
        del response.headers["Content-Type"]
        return response
    if isinstance(error, HTTPException):
        return Response(error.description, error.code)
    if not isinstance(error, Failure):
        log.error("unhandled", exc_info=error)
        error = unhandled()
    return error.respond(request.headers.get("X-Supabase-Api-Version"))


def _auth(backend: Backend) -> Blueprint:
    routes = Blueprint("auth", __name__)
    for method, path, answer in _routes(backend):
        routes.add_url_rule(path, endpoint=f"{method} {path}".replace(".", "_"), view_func=answer, methods=[method])
    return routes


def _routes(backend: Backend) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return method, path and view of every route of the Auth service."""

    def as_user(action: Callable[[Backend, Call], Any]) -> Callable[..., Response]:
        return lambda: as_json(200, action(backend, g.call))

    def as_admin(action: Callable[[Backend, Call, str], Any]) -> Callable[..., Response]:
        def view(user_id: str = "") -> Response:
            bearer.demand_admin(backend, g.call)
            return as_json(200, action(backend, g.call, user_id) or {})

        return view

    return [
        ("POST", "/token", as_user(grants.token)),
        ("POST", "/signup", as_user(signup.sign_up)),
        ("GET", "/user", as_user(account.show)),
        ("PUT", "/user", as_user(account.change)),
        ("POST", "/logout", lambda: _log_out(backend)),
        ("GET", "/settings", lambda: as_json(200, _settings(backend))),
        ("GET", "/health", lambda: as_json(200, _health())),
        ("GET", "/.well-known/jwks.json", lambda: _jwks(backend)),
        ("GET", "/.well-known/openid-configuration", lambda: _discovery(backend)),
        ("GET", "/admin/users", as_admin(lambda back, call, _: admin.page(back, call))),
        ("POST", "/admin/users", as_admin(lambda back, call, _: admin.create(back, call))),
        ("GET", "/admin/users/<user_id>", as_admin(lambda back, _, user_id: admin.show(back, user_id))),
        ("PUT", "/admin/users/<user_id>", as_admin(admin.change)),
        ("DELETE", "/admin/users/<user_id>", as_admin(admin.delete)),
    ]


def _log_out(backend: Backend) -> Response:
    account.log_out(backend, g.call)
    response = Response(b"", 204)
    del response.headers["Content-Type"]
    return response


def _jwks(backend: Backend) -> Response:
    response = as_json(200, backend.keys.jwks())
    response.headers["Cache-Control"] = "public, max-age=600"
    return response


def _discovery(backend: Backend) -> Response:
    """Answer OpenID Connect's discovery: who issues the tokens, and where what is."""
    issuer = backend.issuer
    response = as_json(
        200,
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "userinfo_endpoint": f"{issuer}/oauth/userinfo",
            **DISCOVERED,
        },
    )
    response.headers["Cache-Control"] = "public, max-age=600"
    return response


def _health() -> Mapping[str, Any]:
    return {"version": VERSION, "name": "GoTrue", "description": "GoTrue is a user registration and authentication API"}


def _settings(backend: Backend) -> Mapping[str, Any]:
    config = backend.config
    external = dict.fromkeys(PROVIDERS, False) | {"email": config.email_logins, "phone": config.phone_logins}
    return {
        "external": external,
        "disable_signup": not config.signups,
        "mailer_autoconfirm": config.autoconfirm,
        "phone_autoconfirm": False,
        "sms_provider": "",
        "saml_enabled": False,
        "saml_private_key_next_configured": False,
        "passkeys_enabled": False,
    }
