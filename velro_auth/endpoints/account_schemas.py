"""Schemas of sign-up, confirmation, recovery and the exchange of codes."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

from marshmallow import Schema, ValidationError, fields, pre_load, validate, validates_schema

from velro_auth.auth.account import OPENING, ProofType
from velro_auth.auth.pkce import MAX_VERIFIER_LENGTH, MIN_VERIFIER_LENGTH, is_verifier
from velro_auth.endpoints.bodies import (
    MAX_SOLUTION_LENGTH,
    EmailAddress,
    a_captcha_token,
    a_password,
    a_solution,
    is_storable,
    matching,
    optional,
)
from velro_auth.endpoints.schemas import SessionAnswer
from velro_auth.web.redirects import MAX_LENGTH as MAX_REDIRECT_LENGTH

#: Supabase's limit, which bcrypt sets: longer ones are refused, not cut.
MAX_NEW_PASSWORD_BYTES: Final = 72
#: Of ``data``, as JSON: it is in every access token of the user, and tokens have to fit into a header.
MAX_DATA_BYTES: Final = 2048
#: Of the migrations: longer names are cut there.
MAX_NAME_LENGTH: Final = 100
#: A hash of 56 characters, with or without a prefix.
MAX_TOKEN_HASH_LENGTH: Final = 255

#: A sealed code has about 330 characters.
MAX_CODE_LENGTH: Final = 1024

#: The hash in a mailed link.
a_token_hash: Final = matching(rf"[A-Za-z0-9_-]{{1,{MAX_TOKEN_HASH_LENGTH}}}", "Not the hash of a link.")
#: A mailed code, or the code of a second factor. Supabase lets a project choose 6 to 10 digits.
a_code: Final = matching("[0-9]{6,10}", "Not a code: it has six digits.")
#: The id of a second factor.
a_factor_id: Final = matching("[0-9a-fA-F-]{36}", "Not the id of a factor.")
#: An authorization code, ours or Supabase's.
an_authorization_code: Final = matching(rf"[A-Za-z0-9_-]{{1,{MAX_CODE_LENGTH}}}", "Not a code.")


def a_new_password(value: str) -> None:
    """Check a password that is to be set."""
    a_password(value)
    if len(value.encode()) > MAX_NEW_PASSWORD_BYTES:
        raise ValidationError(f"Must be 1 to {MAX_NEW_PASSWORD_BYTES} bytes long.")


def some_data(value: dict[str, Any]) -> None:
    """Check the user's own metadata: its size, and characters that PostgreSQL cannot store."""
    if not is_storable(value):
        raise ValidationError("Has characters that cannot be stored.")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_DATA_BYTES:
        raise ValidationError(f"Must be at most {MAX_DATA_BYTES} bytes long, as JSON.")


def a_name(value: str) -> None:
    """Check a name that is shown to people."""
    some_data({"name": value})
    if not value.isprintable():
        raise ValidationError("Has characters that cannot be shown.")
    if len(value) > MAX_NAME_LENGTH:
        raise ValidationError(f"Must be at most {MAX_NAME_LENGTH} characters long.")


def new_password(*, required: bool) -> fields.String:
    """Return the field of a password that is to be set."""
    metadata = {"format": "password", "maxLength": MAX_NEW_PASSWORD_BYTES}
    if required:
        return fields.String(required=True, validate=a_new_password, metadata=metadata)
    return optional(a_new_password, **metadata)


def _solution() -> fields.String:
    description = "The solution of the challenge that a 429 `challenge_required` gave for the same link."
    return optional(a_solution, description=description, maxLength=MAX_SOLUTION_LENGTH)


class MailBody(Schema):
    """Body of a request for a mail."""

    email = EmailAddress(required=True)
    redirect_to = optional(
        validate.Length(max=MAX_REDIRECT_LENGTH),
        description="Where the link in the mail leads to; one of the addresses that the service allows.",
    )
    captcha_token = optional(a_captcha_token)


class OtpBody(MailBody):
    """Body of a request for a link and a code to sign in with."""

    create_user = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class SignUpBody(MailBody):
    """Body of a sign-up."""

    password = new_password(required=True)
    data = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        load_default=None,
        validate=some_data,
        metadata={"description": f"The user's own metadata, at most {MAX_DATA_BYTES} bytes."},
    )
    display_name = optional(a_name, description="Taken into `data`.")
    full_name = optional(a_name, description="Another name of `display_name`.")


class ConfirmBody(Schema):
    """Body of a confirmation: `token_hash` of a link, or `email` and `token` (the six digits)."""

    type = fields.String(required=True, validate=validate.OneOf(get_args(ProofType)))
    token_hash = optional(a_token_hash)
    email = EmailAddress(allow_none=True, load_default=None)
    token = optional(a_code)
    password = new_password(required=False)
    challenge = _solution()

    @validates_schema
    def is_one_proof(self, data: dict[str, Any], **_: Any) -> None:
        """Demand either a link or a code, and a password only where one can be set."""
        _demand_one(data, "token_hash")
        if data.get("password") is not None and data["type"] not in OPENING:
            raise ValidationError({"password": ["Only with the types " + ", ".join(sorted(OPENING)) + "."]})


class ResetBody(Schema):
    """Body of a reset: `token_hash`, or `email` and `token`, or the `ticket` of an earlier answer."""

    password = new_password(required=True)
    token_hash = optional(a_token_hash)
    email = EmailAddress(allow_none=True, load_default=None)
    token = optional(a_token_hash)
    ticket = fields.String(allow_none=True, load_default=None)
    code = optional(a_code, description="The code of a second factor.")
    factor_id = optional(a_factor_id, description="Which second factor; without it the first one.")
    challenge = _solution()

    @pre_load
    def take_a_hash_for_a_token(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Take a `token` without an address for the hash of a link, as former frontends send it."""
        if data.get("token") is not None and not any(data.get(name) for name in ("email", "token_hash", "ticket")):
            return {**{name: value for name, value in data.items() if name != "token"}, "token_hash": data["token"]}
        return data

    @validates_schema
    def is_one_proof(self, data: dict[str, Any], **_: Any) -> None:
        """Demand exactly one proof."""
        _demand_one(data, "token_hash", "ticket")
        if data.get("token") is not None:
            try:
                a_code(data["token"])
            except ValidationError as error:
                raise ValidationError({"token": error.messages}) from None


def a_verifier(value: str) -> None:
    """Check the form of a PKCE verifier."""
    if not is_verifier(value):
        raise ValidationError("Not a PKCE verifier.")


class ExchangeBody(Schema):
    """Body of an exchange. Other members are ignored."""

    code = fields.String(
        required=True,
        validate=an_authorization_code,
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


class SentAnswer(Schema):
    """Response of a request for a mail."""

    status = fields.String(required=True)


class PendingAnswer(Schema):
    """Response of the first of two confirmations of a new address."""

    status = fields.String(required=True)


class ConfirmAnswer(SessionAnswer):
    """Response of a confirmation."""

    password_unproven = fields.Boolean(
        metadata={
            "description": "True where the address was confirmed just now and no password was sent: the account may"
            " have the password of somebody else, who signed the address up before. Have the user choose one."
        }
    )


def _demand_one(data: dict[str, Any], *alone: str) -> None:
    """Demand exactly one of *alone*, or an address with a code."""
    given = [name for name in alone if data.get(name) is not None]
    has_code = data.get("email") is not None or data.get("token") is not None
    if len(given) + has_code != 1:
        raise ValidationError({alone[0]: ["Send either this, or email and token" + _or(alone[1:]) + "."]})
    if has_code:
        missing = [name for name in ("email", "token") if data.get(name) is None]
        if missing:
            raise ValidationError({missing[0]: ["Missing data for required field."]})


def _or(others: tuple[str, ...]) -> str:
    return "".join(f", or {name}" for name in others)
