"""Request bodies, read as one strict JSON object, the checks of their fields, and responses with a complete body."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from marshmallow import Schema, ValidationError, fields
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from velro_auth.endpoints import path_value
from velro_auth.errors import BadJson, InvalidRequest, NotFound, TooLarge, UnsupportedCoding, UnsupportedMediaType

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Deepest nesting of a body that is accepted (ASVS 15.3: bound what parsers do).
MAX_DEPTH: Final = 16

NO_STORE: Final = ("Cache-Control", "no-store")
PLAIN_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")

_JSON: Final = (("Content-Type", "application/json"), NO_STORE)

#: Made once: with these options ``json.dumps`` would make a new encoder for each call.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


MAX_EMAIL_LENGTH: Final = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MAX_PASSWORD_BYTES: Final = 1024
MAX_CAPTCHA_TOKEN_LENGTH: Final = 8192
MAX_REFRESH_TOKEN_LENGTH: Final = 512
MAX_SOLUTION_LENGTH: Final = 2048  # of a challenge; the widget makes about 600

#: One @ between two parts without white space or control characters. Stricter patterns refuse real addresses;
#: Supabase knows whether the address exists.
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")
#: In lower case.
UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID: Final = re.compile(UUID, re.ASCII)


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A complete response. A Werkzeug ``Response`` costs 20 µs to build and send, this 2 µs.

    Attributes:
        body: Left out of the answer to HEAD.
        headers: Without ``Content-Length``.
        status: Code and reason.
    """

    body: bytes
    headers: Sequence[tuple[str, str]]
    status: str = "200 OK"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it, as a WSGI application."""
        start_response(self.status, [*self.headers, ("Content-Length", str(len(self.body)))])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (self.body,)


def json_object(request: Request, max_bytes: int, *, any_type: bool = False) -> dict[str, Any]:
    """Read the body of *request* as one JSON object.

    The media type and the declared size are checked before the body is read. Only ``application/json`` is
    accepted: with this type browsers send a CORS preflight first (ASVS 3.5.2). *any_type* takes any other type too,
    as Supabase does, for routes where nothing depends on a cookie.

    Raises:
        UnsupportedCoding: The body is compressed.
        UnsupportedMediaType: The body has another media type.
        TooLarge: The body has more than *max_bytes*.
        BadJson: The body is not one well-formed JSON object.
    """
    if request.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
        raise UnsupportedCoding
    if request.mimetype != "application/json" and not any_type:
        raise UnsupportedMediaType
    return parse_object(raw_body(request, max_bytes))


def raw_body(request: Request, max_bytes: int) -> bytes:
    """Return the body of *request* as it came.

    Raises:
        TooLarge: The body has more than *max_bytes*.
        BadJson: It cannot be read.
    """
    # One byte above our limit: Werkzeug silently cuts a body without a length at its own limit.
    request.max_content_length = max_bytes + 1
    try:
        data = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLarge from error
    except Exception as error:
        # Each server has its own exceptions for an incomplete body or malformed chunks.
        raise BadJson("the body cannot be read") from error
    if len(data) > max_bytes:
        raise TooLarge
    return data


def is_empty(request: Request) -> bool:
    """Return whether *request* has no body. Some clients send a media type all the same."""
    return not request.content_length and "chunked" not in request.headers.get("Transfer-Encoding", "").lower()


def validated(request: Request, schema: Schema, max_bytes: int) -> dict[str, Any]:
    """Read the body of *request* with :func:`json_object`, which raises, and load it with *schema*.

    Raises:
        InvalidRequest: A field is missing or wrong.
    """
    return loaded(schema, json_object(request, max_bytes))


def validated_if_any(request: Request, schema: Schema, max_bytes: int) -> dict[str, Any]:
    """Do the same as :func:`validated`, for a body that may be left out: that is an empty object."""
    return loaded(schema, {} if is_empty(request) else json_object(request, max_bytes))


def loaded(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Load *values* with *schema*.

    Raises:
        InvalidRequest: A field is missing or wrong.
    """
    try:
        return cast("dict[str, Any]", schema.load(values))
    except ValidationError as error:
        raise InvalidRequest(cast("dict[str, list[str]]", error.messages)) from None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object. What two parsers could read differently is refused.

    Raises:
        BadJson: Not UTF-8, not JSON, not an object, a member named twice, NaN, a number that no double can hold, or
            nested too deep.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadJson("not JSON") from error
    if not isinstance(value, dict):
        raise BadJson("not an object")
    if _depth(value) > MAX_DEPTH:
        raise BadJson("nested too deep")
    return value


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """Return *body* as JSON. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    return _ENCODER.encode(body).encode("utf-8", "backslashreplace")


def json_answer(body: Mapping[str, Any], status: str = "200 OK") -> RawResponse:
    """Return *status* with *body* and ``no-store`` (RFC 6749, 5.1)."""
    return RawResponse(json_bytes(body), _JSON, status)


def no_content() -> Response:
    """Return 204, which has neither a body nor its headers (RFC 9110, 8.6)."""
    response = Response(status=204, headers=[NO_STORE])
    del response.headers["Content-Type"]
    return response


def is_uuid(value: str) -> bool:
    """Return whether *value* is a UUID in lower case: fit to be a part of a path."""
    return _UUID.fullmatch(value) is not None


def uuid_in_path(request: Request, name: str) -> str:
    """Return an id in the path, in lower case as tokens and Supabase spell it.

    Raises:
        NotFound: It is no UUID, so nothing has it.
    """
    value = path_value(request, name).lower()
    if not is_uuid(value):
        raise NotFound(f"{name} in the path is no UUID")
    return value


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_storable(value: Any) -> bool:
    """Return whether PostgreSQL can store all texts of JSON values: no NUL, no half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False)
    return _is_utf8(text) and "\\u0000" not in text


def an_email(value: str) -> None:
    """Check the form of a mail address."""
    # A NUL would reach PostgreSQL, which fails on it: any client could cause a 500 of Supabase.
    if len(value) > MAX_EMAIL_LENGTH or not _is_utf8(value) or not _EMAIL.fullmatch(value):
        raise ValidationError("Not a valid mail address.")


def a_password(value: str) -> None:
    """Check a password: its length, and characters that PostgreSQL cannot store."""
    if not _is_utf8(value) or "\x00" in value:
        raise ValidationError("Has characters that no password can have.")
    if not 1 <= len(value.encode()) <= MAX_PASSWORD_BYTES:
        raise ValidationError(f"Must be 1 to {MAX_PASSWORD_BYTES} bytes long.")


def a_captcha_token(value: str) -> None:
    """Check a solved captcha."""
    if not _is_utf8(value) or len(value) > MAX_CAPTCHA_TOKEN_LENGTH:
        raise ValidationError("Not a valid captcha token.")


def a_solution(value: str) -> None:
    """Check the form of a solved challenge."""
    if not value.isascii() or len(value) > MAX_SOLUTION_LENGTH:
        raise ValidationError("Not the solution of a challenge.")


def a_refresh_token(value: str) -> None:
    """Check the form of a refresh token."""
    # Supabase's tokens have 12 to 62 characters today; Supabase refuses wrong ones itself.
    if not 1 <= len(value) <= MAX_REFRESH_TOKEN_LENGTH or not value.isascii() or not value.isprintable():
        raise ValidationError("Not a refresh token.")


def matching(pattern: str, refusal: str) -> Callable[[str], None]:
    """Return a check of the form of a whole text; *refusal* says what it is not."""
    fits = re.compile(pattern, re.ASCII).fullmatch

    def check(value: str) -> None:
        if not fits(value):
            raise ValidationError(refusal)

    return check


def optional(check: Callable[[str], object], **metadata: Any) -> fields.String:
    """Return the field of a text that may be missing or null: both are None."""
    return fields.String(allow_none=True, load_default=None, validate=check, metadata=metadata)


class EmailAddress(fields.String):
    """A mail address. White space around it is removed, because users paste it by mistake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=an_email, metadata={"maxLength": MAX_EMAIL_LENGTH}, **options)

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> Any:
        return super()._deserialize(value.strip() if isinstance(value, str) else value, *rest, **options)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        # It would be written as Infinity, which is not JSON.
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _depth(value: Any) -> int:
    """Return how deep *value* is nested. Counts level by level, so that no depth can exhaust the stack."""
    depth, level = 0, [value]
    while level:
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        depth += 1
    return depth
