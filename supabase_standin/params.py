"""Reads JSON bodies the way the original does: lenient about keys, strict about types.

Keys match case-insensitively, unknown ones are ignored, ``null`` counts as absent, the last of several wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from supabase_standin.errors import Failure

MAX_BODY_BYTES: Final = 1024 * 1024

#: Python type → what the original's parser calls it.
KINDS: Final[Mapping[type, str]] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
}
#: What a field takes → what the original's source calls that.
GO_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "bool",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}


def read(body: bytes, *, struct: str, fields: Mapping[str, type]) -> dict[str, Any]:
    """Return the wanted *fields* of a JSON object, those that are there.

    Args:
        body: The request's body.
        struct: What the original calls the target; its error texts name it.
        fields: Field → its type.

    Raises:
        Failure: The body is too large, is no JSON object, or a field has another type.
    """
    value = parse(body)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_json(f"json: cannot unmarshal {KINDS[type(value)]} into Go value of type api.{struct}")
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key.lower()
        if name in fields and item is not None:
            found[name] = _checked(item, fields[name], f"{struct}.{name}")
    return found


def parse(body: bytes) -> Any:
    """Return the value of a JSON body.

    Raises:
        Failure: It is too large or no JSON.
    """
    if len(body) > MAX_BODY_BYTES:
        text = f"Request body too large (max {MAX_BODY_BYTES} bytes)"
        raise Failure(413, "request_entity_too_large", text)
    if not body.strip():
        raise bad_json("unexpected end of JSON input")
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (json.JSONDecodeError, RecursionError) as error:
        if _is_cut_off(error):
            raise bad_json("unexpected end of JSON input") from error
        text = body[:40].decode("utf-8", "replace").lstrip()[:1]
        raise bad_json(f"invalid character '{text}' looking for beginning of value") from error


def _is_cut_off(error: Exception) -> bool:
    """Tell whether a body ended where more was to come."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or not error.doc[error.pos :].strip()


def bad_json(detail: str) -> Failure:
    """Return the failure for a body that cannot be used."""
    return Failure(400, "bad_json", f"Could not parse request body as JSON: {detail}")


def _checked(item: Any, wanted: type, where: str) -> Any:
    if type(item) is not wanted:
        raise bad_json(
            f"json: cannot unmarshal {KINDS[type(item)]} into Go struct field {where} of type {GO_TYPES[wanted]}"
        )
    return item
