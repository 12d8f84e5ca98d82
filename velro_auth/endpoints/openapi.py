"""The OpenAPI document, built from the endpoints, the schemas and the table of errors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.cookie_sessions import SAFE, CookieEndpoint
from velro_auth.endpoints.operation import BODY, TOKEN, UPSTREAM, Operation
from velro_auth.endpoints.schemas import (
    BrowserSessionAnswer,
    LoginBody,
    LogoutAnswer,
    LogoutBody,
    RefreshBody,
    SessionAnswer,
)
from velro_auth.web.problems import ANSWERS, WEAK_REASONS, ProblemResponse

#: Endpoint → description.
OPERATIONS: Final[Mapping[str, Operation]] = {
    "login": Operation(
        summary="Log in with a mail address and a password",
        body=LoginBody,
        answer=SessionAnswer,
        success=(200, "A session."),
        codes=(
            *BODY,
            "captcha_required",
            "invalid_credentials",
            "email_not_confirmed",
            "too_many_attempts",
            "challenge_required",
            *UPSTREAM,
            "resting",
            "busy",
        ),
    ),
    "refresh": Operation(
        summary="Trade a refresh token for a new session",
        body=RefreshBody,
        answer=SessionAnswer,
        success=(200, "A session."),
        codes=(*BODY, "session_expired", *UPSTREAM[1:], "resting", "busy"),
    ),
    "logout": Operation(
        summary="End this session, all of the user's (default), or all the others",
        body=LogoutBody,
        is_body_optional=True,
        answer=LogoutAnswer,
        success=(200, "Logged out, or logged out already."),
        needs_token=True,
        codes=("bad_json", "too_large", "invalid_request", *TOKEN, *UPSTREAM, "resting", "busy"),
    ),
    "verify": Operation(
        summary="Tell whether a token is good; for gateways, with any method and below any path",
        success=(200, "The token is good; X-Auth-… headers say whose it is."),
        has_content=False,
        needs_token=True,
        codes=("bad_parameter", *TOKEN, "forbidden", "insufficient_aal", *UPSTREAM, "busy"),
    ),
    "ping": Operation(summary="Tell that the service is there"),
    "health": Operation(summary="Tell that the process can serve, whatever Supabase does"),
    "ready": Operation(
        summary="Tell whether this instance can do its work",
        success=(200, "Ready, or degraded."),
        failure=(503, "Not ready."),
        media_type="application/health+json",
    ),
    "version": Operation(summary="Tell which build this is"),
}

#: A placeholder in a path: ``<name>`` in Flask, ``{name}`` in OpenAPI.
_PLACEHOLDER: Final = re.compile("<([a-z_]+)>")

_PARAMETERS: Final[Mapping[str, tuple[dict[str, Any], ...]]] = {
    "logout": ({"name": "scope", "in": "query", "schema": {"type": "string", "enum": ["global", "local", "others"]}},),
    "verify": (
        {"name": "role", "in": "query", "schema": {"type": "string"}, "description": "Any of these, comma separated."},
        {"name": "aal", "in": "query", "schema": {"type": "string", "enum": ["aal1", "aal2", "aal3"]}},
        {"name": "strict", "in": "query", "schema": {"type": "string", "enum": ["1"]}},
        {
            "name": "on_fail",
            "in": "query",
            "schema": {"type": "string", "enum": ["login"]},
            "description": "Lead page loads without a session to the login: 303; for nginx 401 and X-Auth-Redirect.",
        },
    ),
}

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "status_code", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "status_code": {"type": "integer", "description": "The same as `status`."},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        "reasons": {
            "type": "array",
            "description": "Of 422 `weak_password`: what Supabase finds weak, where it says so.",
            "items": {"type": "string", "enum": list(WEAK_REASONS)},
        },
        "challenge": {"$ref": "#/components/schemas/Challenge"},
        "ticket": {
            "type": "string",
            "description": "Of a reset or confirmation whose link was used already: send it in place of the link.",
        },
        "password_unproven": {
            "type": "boolean",
            "description": "Of the same: the old password still works, and may be somebody else's.",
        },
        "factors": {
            "type": "array",
            "description": "Of 403 `insufficient_aal`: the second factors of the user, one of which has to be passed.",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "type": {"type": "string"},
                    "friendly_name": {"type": ["string", "null"]},
                },
            },
        },
    },
}

_CHALLENGE: Final = {
    "type": "object",
    "description": "Of 429 `challenge_required`: a proof of work of ALTCHA, version 2. Hand it to the widget and send"
    " what that makes in `challenge`.",
    "required": ["parameters", "signature"],
    "properties": {
        "parameters": {
            "type": "object",
            "required": ["algorithm", "nonce", "salt", "cost", "keyLength", "keyPrefix", "expiresAt"],
            "properties": {
                "algorithm": {"type": "string", "enum": ["PBKDF2/SHA-256"]},
                "nonce": {"type": "string"},
                "salt": {"type": "string"},
                "cost": {"type": "integer", "description": "Iterations."},
                "keyLength": {"type": "integer"},
                "keyPrefix": {"type": "string"},
                "expiresAt": {"type": "integer", "description": "Seconds since the epoch."},
            },
        },
        "signature": {"type": "string"},
    },
}


def openapi(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """Return the document for those *endpoints* that have a description."""
    spec = APISpec(
        title="velro-auth",
        version=version,
        openapi_version="3.1.0",
        info={"description": "A login gateway in front of Supabase Auth."},
        plugins=[MarshmallowPlugin()],
    )
    spec.components.schema("Challenge", _CHALLENGE)
    spec.components.schema("Problem", _PROBLEM)
    # No OAuth 2 password flow: this is not an OAuth server (RFC 9700, 2.4).
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    endpoints = list(endpoints)
    if cookie := next(filter(None, map(_cookie_of, endpoints)), None):
        spec.components.security_scheme("cookie", {"type": "apiKey", "in": "cookie", "name": cookie})
    for endpoint in endpoints:
        described = {
            method.lower(): _described(endpoint, method, operation)
            for method in endpoint.methods or ("GET",)
            if (operation := _operation(endpoint, method)) is not None
        }
        if described:
            spec.path(path=_PLACEHOLDER.sub(r"{\1}", endpoint.paths[0]), operations=described)
    return spec.to_dict()


def _cookie_of(endpoint: Endpoint) -> str | None:
    """Return the name of the cookie that browsers send to an endpoint in place of a token; None if it takes none."""
    inner: Endpoint | None = endpoint
    while inner is not None and not isinstance(inner, CookieEndpoint):
        inner = getattr(inner, "endpoint", None)
    return None if inner is None else inner.cookie_name


def _operation(endpoint: Endpoint, method: str) -> Operation | None:
    """Return the description of a method: the endpoint's own, else the one of the table above."""
    own: Mapping[str, Operation] = getattr(endpoint, "operations", {})
    operation = own.get("GET" if method == "HEAD" else method) or OPERATIONS.get(endpoint.name)
    if operation is None or _cookie_of(endpoint) is None:
        return operation
    return dataclasses.replace(
        operation,
        takes_cookie=True,
        # The cookie holds the refresh token.
        is_body_optional=operation.is_body_optional or endpoint.name == "refresh",
        codes=operation.codes if method in SAFE else (*operation.codes, "cross_site"),
    )


def _described(endpoint: Endpoint, method: str, operation: Operation) -> dict[str, Any]:
    name = endpoint.name if len({*endpoint.methods} - {"HEAD"}) <= 1 else f"{endpoint.name}{method.title()}"
    in_path = [
        {"name": found, "in": "path", "required": True, "schema": {"type": "string"}}
        for found in _PLACEHOLDER.findall(endpoint.paths[0])
    ]
    outcomes = {
        str(status): _outcome(meaning, operation)
        for status, meaning in (operation.success, *((operation.failure,) if operation.failure else ()))
    }
    if operation.accepted:
        schema, meaning = operation.accepted
        outcomes["202"] = {"description": meaning, "content": {operation.media_type: {"schema": schema}}}
    described: dict[str, Any] = {
        "operationId": f"{endpoint.name}Head" if method == "HEAD" else name,
        "summary": operation.summary,
        "parameters": [*in_path, *operation.parameters, *_PARAMETERS.get(endpoint.name, ())],
        "responses": {**outcomes, **_problems(operation.codes), "default": _problem("Another problem.")},
    }
    if operation.body:
        described["requestBody"] = {
            "required": not operation.is_body_optional,
            "content": {"application/json": {"schema": operation.body}},
        }
    if operation.needs_token:
        described["security"] = [{"token": []}, *([{"cookie": []}] if operation.takes_cookie else [])]
    return described


def _outcome(meaning: str, operation: Operation) -> dict[str, Any]:
    if not operation.has_content:
        return {"description": meaning}
    schema: Any = operation.answer or {"type": "object"}
    if operation.takes_cookie and operation.answer and issubclass(operation.answer, SessionAnswer):
        schema = {"anyOf": [operation.answer, BrowserSessionAnswer]}
    return {"description": meaning, "content": {operation.media_type: {"schema": schema}}}


def _problems(codes: Iterable[str]) -> dict[str, Any]:
    """Return one response per status, with the error codes of that status."""
    by_status: dict[int, list[ProblemResponse]] = {}
    for answer in ANSWERS.values():
        if answer.code in codes and answer not in by_status.setdefault(answer.status, []):
            by_status[answer.status].append(answer)
    return {
        str(status): _problem(" ".join(f"`{answer.code}`: {answer.detail}" for answer in answers))
        for status, answers in sorted(by_status.items())
        if answers
    }


def _problem(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": "Problem"}, "application/problem+json": {"schema": "Problem"}}
    return {"description": description, "content": content}
