"""Schemas of the exchange of codes."""

from __future__ import annotations

import re
from typing import Final

from marshmallow import Schema, ValidationError, fields

from velro_auth.auth.pkce import MAX_VERIFIER_LENGTH, MIN_VERIFIER_LENGTH, is_verifier
from velro_auth.endpoints.account_schemas import new_password

#: A sealed code has about 330 characters.
MAX_CODE_LENGTH: Final = 1024

_CODE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def a_code(value: str) -> None:
    """Check the form of an authorization code, ours or Supabase's."""
    if len(value) > MAX_CODE_LENGTH or not _CODE.fullmatch(value):
        raise ValidationError("Not a code.")


def a_verifier(value: str) -> None:
    """Check the form of a PKCE verifier."""
    if not is_verifier(value):
        raise ValidationError("Not a PKCE verifier.")


class ExchangeBody(Schema):
    """Body of an exchange. Other members are ignored."""

    code = fields.String(
        required=True,
        validate=a_code,
        metadata={"maxLength": MAX_CODE_LENGTH, "description": "What stands in `code` of the page's address."},
    )
    code_verifier = fields.String(
        load_default="",
        validate=a_verifier,
        metadata={
            "minLength": MIN_VERIFIER_LENGTH,
            "maxLength": MAX_VERIFIER_LENGTH,
            "description": "The verifier of the `code_challenge` that the sign-in began with. Not for the code of a"
            " mailed link: there the browser has a cookie.",
        },
    )
    password = new_password(required=False)
