"""Bodies: one strict JSON object in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

from marshmallow import Schema, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request

from velro_auth.errors import BadJson, InvalidRequest, TooLarge, UnsupportedCoding, UnsupportedMediaType
from velro_auth.web.responses import RawResponse

#: Deeper than this is an attack, not a login (ASVS 15.3: bound what parsers do).
DEEPEST: Final = 16

NO_STORE: Final = ("Cache-Control", "no-store")

_JSON: Final = (("Content-Type", "application/json"), NO_STORE)

#: Made once: ``json.dumps`` makes an encoder for each call that is not the plainest.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Read the body of *request* as one JSON object.

    The media type and the size are judged before anything is read or parsed. Only ``application/json`` is
    taken: it makes a browser ask before it sends (ASVS 3.5.2).

    Raises:
        UnsupportedCoding: A compressed body.
        UnsupportedMediaType: Another media type.
        TooLarge: More than *max_bytes*.
        BadJson: No well-formed JSON object.
    """
    if request.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
        raise UnsupportedCoding
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    # One byte more than is taken: Werkzeug cuts a body without a length at its limit, and says nothing.
    request.max_content_length = max_bytes + 1
    try:
        data = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLarge from error
    except Exception as error:
        # Each server has exceptions of its own for a body that breaks off, or whose chunks are none.
        raise BadJson("the body cannot be read") from error
    if len(data) > max_bytes:
        raise TooLarge
    return parse_object(data)


def validated(request: Request, schema: Schema, max_bytes: int) -> dict[str, Any]:
    """Read the body of *request* and load it with *schema*.

    Raises:
        UnsupportedCoding: A compressed body.
        UnsupportedMediaType: Another media type.
        TooLarge: More than *max_bytes*.
        BadJson: No well-formed JSON object.
        InvalidRequest: A field is missing or wrong.
    """
    try:
        return cast("dict[str, Any]", schema.load(json_object(request, max_bytes)))
    except ValidationError as error:
        raise InvalidRequest(cast("dict[str, list[str]]", error.messages)) from None


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object, refusing what two parsers could read differently.

    Raises:
        BadJson: Not UTF-8, not JSON, not an object, a member named twice, NaN, or nested too deep.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadJson("not JSON") from error
    if not isinstance(value, dict):
        raise BadJson("not an object")
    if _depth(value) > DEEPEST:
        raise BadJson("nested too deep")
    return value


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """Return *body* as JSON; lone surrogates, which UTF-8 cannot hold, as escapes."""
    return _ENCODER.encode(body).encode("utf-8", "backslashreplace")


def json_answer(body: Mapping[str, Any]) -> RawResponse:
    """Return 200 with *body*, not to be stored by anybody (RFC 6749, 5.1)."""
    return RawResponse(json_bytes(body), _JSON)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _depth(value: Any) -> int:
    """Return how deep *value* is nested, counting level by level, so that no depth can exhaust the stack."""
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
