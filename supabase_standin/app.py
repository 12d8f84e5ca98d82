"""The Flask app: which route is answered by what, and how failures become answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.wrappers import Response

from supabase_standin import (
    about,
    account,
    admin,
    admin_lists,
    bearer,
    cors,
    edge,
    grants,
    provider,
    recover,
    rest,
    signup,
    verify,
)
from supabase_standin import routes as more
from supabase_standin.backend import Backend, Call
from supabase_standin.discovery import DISCOVERED
from supabase_standin.errors import Failure, as_json, unhandled

log = logging.getLogger(__name__)


def create_app(backend: Backend) -> Flask:
    """Return the services of one Supabase project as a WSGI app: Auth and the data API."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined] # of the default provider
    app.register_blueprint(_auth(backend), url_prefix="/auth/v1")
    pages = provider.blueprint(backend.config, backend.provider, issuer=backend.issuer)
    app.register_blueprint(pages)
    app.register_blueprint(rest.blueprint(backend), url_prefix="/rest/v1")
    app.before_request(lambda: cors.preflight(backend.config, request) or _admit(backend))
    app.after_request(lambda response: _add_headers(backend, response))
    app.register_error_handler(Exception, lambda error: _failed(backend, error))
    for rule in app.url_map.iter_rules():
        if rule.methods and rule.endpoint.startswith("auth."):
            rule.methods.discard("HEAD")  # the original answers none
    return app


def _admit(backend: Backend) -> Response | None:
    role = edge.key_role(backend.config, request) or ("anon" if edge.is_open(request) else None)
    if role is None:
        return edge.turned_away()
    g.call = edge.call(backend.config, request, role)
    return None


def _add_headers(backend: Backend, response: Response) -> Response:
    if "call" in g:
        response.headers.extend(g.call.reply_headers)
    cors.mark(backend.config, request, response)
    return response


def _failed(backend: Backend, error: Exception) -> Response:
    if isinstance(error, NotFound):
        response = Response("404 page not found\n", 404, content_type="text/plain; charset=utf-8")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
    if isinstance(error, MethodNotAllowed):
        return _wrong_method(backend, error)
    if isinstance(error, HTTPException):
        return Response(error.description, error.code)
    if not isinstance(error, Failure):
        log.error("unhandled", exc_info=error)
        error = unhandled()
    return error.respond(request.headers.get("X-Supabase-Api-Version"))


def _wrong_method(backend: Backend, error: MethodNotAllowed) -> Response:
    """Answer a method a route does not have; below some paths the original looks for the user before that."""
    if "call" in g and re.match(r"/auth/v1/(user|factors)(/|$)", request.path):
        try:
            bearer.user(backend, g.call)
        except Failure as failure:
            return failure.respond(request.headers.get("X-Supabase-Api-Version"))
    response = Response(b"", 405)
    del response.headers["Content-Type"]
    response.headers["Allow"] = ", ".join(sorted({*(error.valid_methods or ())} - {"HEAD", "OPTIONS"}))
    return response


def _auth(backend: Backend) -> Blueprint:
    routes = Blueprint("auth", __name__)
    for method, path, answer in _routes(backend):
        name = f"{method} {path}".replace(".", "_")
        routes.add_url_rule(path, name, answer, methods=[method], provide_automatic_options=False, strict_slashes=False)
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
        ("GET", "/verify", lambda: verify.follow(backend, g.call)),
        ("POST", "/verify", as_user(verify.post)),
        ("POST", "/recover", as_user(recover.recover)),
        ("POST", "/otp", as_user(recover.otp)),
        ("POST", "/magiclink", as_user(recover.magic_link)),
        ("POST", "/resend", as_user(recover.resend)),
        ("GET", "/reauthenticate", as_user(recover.reauthenticate)),
        ("GET", "/user", as_user(account.show)),
        ("PUT", "/user", as_user(account.change)),
        ("POST", "/logout", lambda: _log_out(backend)),
        ("GET", "/settings", lambda: as_json(200, about.settings(backend.config))),
        ("GET", "/health", lambda: as_json(200, about.health(backend.config))),
        ("GET", "/.well-known/jwks.json", lambda: _jwks(backend)),
        ("GET", "/.well-known/openid-configuration", lambda: _discovery(backend)),
        ("GET", "/admin/users", as_admin(lambda back, call, _: admin_lists.user_page(back, call))),
        ("POST", "/admin/users", as_admin(lambda back, call, _: admin.create(back, call))),
        ("GET", "/admin/users/<user_id>", as_admin(lambda back, _, user_id: admin.show(back, user_id))),
        ("PUT", "/admin/users/<user_id>", as_admin(admin.change)),
        ("DELETE", "/admin/users/<user_id>", as_admin(admin.delete)),
        *more.routes(backend),
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
