"""What the OpenAPI document says about one endpoint and method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from marshmallow import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The description of an endpoint, beyond its paths and methods.

    Attributes:
        summary: One line.
        body: Schema of the request.
        is_body_optional: Whether the body may be left out.
        answer: Schema of the 200; None for a plain object.
        success: Status and what it means.
        accepted: Schema and meaning of a 202 beside that.
        needs_token: Whether a bearer token is sent.
        takes_cookie: Whether a browser may send the session cookie instead, and is answered without tokens.
        codes: Error codes of this endpoint, besides those of every route.
        media_type: Media type of the response.
        failure: Status and meaning of a response with the same schema that is no success.
        has_content: Whether a success has a body.
        parameters: Parameters of the query, as OpenAPI describes them.
    """

    summary: str
    body: type[Schema] | None = None
    is_body_optional: bool = False
    answer: type[Schema] | None = None
    success: tuple[int, str] = (200, "All is well.")
    accepted: tuple[type[Schema], str] | None = None
    needs_token: bool = False
    takes_cookie: bool = False
    codes: tuple[str, ...] = ()
    media_type: str = "application/json"
    failure: tuple[int, str] | None = None
    has_content: bool = True
    parameters: Sequence[Mapping[str, Any]] = ()


#: Codes of every route that reads a body.
BODY: Final = ("bad_json", "too_large", "unsupported_media_type", "invalid_request")
#: Where a mailed link or code sets a password.
NEW_PASSWORD: Final = ("captcha_required", "weak_password", "insufficient_aal", "reauthentication_needed")
#: Codes of every route that asks Supabase.
UPSTREAM: Final = (
    "upstream_throttled",
    "upstream_error",
    "upstream_unavailable",
    "upstream_timeout",
    "upstream_misconfigured",
)
#: Codes of every route that needs a bearer token.
TOKEN: Final = ("token_missing", "token_invalid", "token_expired")
