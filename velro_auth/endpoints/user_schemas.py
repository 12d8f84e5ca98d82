"""Schemas of what users change about themselves, of second factors and of anonymous users."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import quote

from marshmallow import Schema, ValidationError, fields, pre_load, validate

from velro_auth.auth.models import MAX_NAME_LENGTH, MAX_PICTURE_LENGTH
from velro_auth.endpoints.bodies import (
    MAX_EMAIL_LENGTH,
    MAX_PASSWORD_BYTES,
    MAX_SOLUTION_LENGTH,
    UUID,
    a_captcha_token,
    a_password,
    a_solution,
    an_email,
    matching,
    optional,
)

#: What an anonymous user brings along goes into every access token of theirs.
MAX_DATA_BYTES: Final = 4096
#: Of an issuer. A QR code of level H holds 1,273 bytes (ISO/IEC 18004): the issuer twice, and an address of 762.
MAX_ENCODED_ISSUER_LENGTH: Final = 120
MAX_FACTOR_NAME_LENGTH: Final = 100

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

#: A mailed code.
a_nonce: Final = matching("[!-~]{1,64}", "Not a mailed code.")
#: The code of a second factor.
a_factor_code: Final = matching("[0-9]{6,10}", "Must be 6 to 10 digits.")
#: The id of a factor's challenge.
a_challenge_id: Final = matching(UUID, "Not the id of a challenge.")


def _a_text(value: str, most: int) -> None:
    if len(value) > most or _CONTROL.search(value):
        raise ValidationError(f"Must have at most {most} characters, and no control characters.")


def a_display_name(value: str) -> None:
    """Check a display name."""
    _a_text(value, MAX_NAME_LENGTH)


def a_factor_name(value: str) -> None:
    """Check the name of a second factor."""
    _a_text(value, MAX_FACTOR_NAME_LENGTH)


def a_picture(value: str) -> None:
    """Check the address of a picture: the migrations show no other ones."""
    is_clean = value.isascii() and value.isprintable() and " " not in value
    if not value.startswith("https://") or not is_clean or len(value) > MAX_PICTURE_LENGTH:
        raise ValidationError(f"Must be an https address of at most {MAX_PICTURE_LENGTH} characters.")


def some_data(value: dict[str, Any]) -> None:
    """Check metadata of a new user: it must be small, because each access token repeats it."""
    try:
        size = len(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ValidationError("Has characters that no text can have.") from None
    if size > MAX_DATA_BYTES or "\\u0000" in json.dumps(value):
        raise ValidationError(f"Must have at most {MAX_DATA_BYTES} bytes, and no NUL.")


def _trimmed(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return data | {name: data[name].strip() for name in names if isinstance(data.get(name), str)}


class ProofBody(Schema):
    """What proves that it is still the user: not needed within ten minutes of a sign-in."""

    current_password = optional(a_password, format="password", maxLength=MAX_PASSWORD_BYTES)
    captcha_token = optional(a_captcha_token)
    challenge = optional(a_solution, maxLength=MAX_SOLUTION_LENGTH)


class PasswordBody(ProofBody):
    """Body of a change of the password."""

    password = fields.String(
        required=True, validate=a_password, metadata={"format": "password", "maxLength": MAX_PASSWORD_BYTES}
    )
    nonce = optional(a_nonce, description="The code that `POST /api/v1/auth/reauthenticate` mails; only passed on.")


class ProfileBody(ProofBody):
    """Body of a change of the profile. Members that are left out stay as they are; null clears one."""

    display_name = fields.String(allow_none=True, validate=a_display_name, metadata={"maxLength": MAX_NAME_LENGTH})
    full_name = fields.String(
        allow_none=True,
        validate=a_display_name,
        metadata={"description": "The same as `display_name`.", "maxLength": MAX_NAME_LENGTH},
    )
    avatar_url = fields.String(allow_none=True, validate=a_picture, metadata={"maxLength": MAX_PICTURE_LENGTH})
    email = fields.String(
        validate=an_email,
        metadata={
            "description": "Stays pending until it is confirmed by mail. Needs a recent sign-in or `current_password`.",
            "maxLength": MAX_EMAIL_LENGTH,
        },
    )
    redirect_to = fields.String(
        allow_none=True,
        load_default=None,
        metadata={"description": "Where the link in the mail leads: one of `AUTH_REDIRECT_URLS`."},
    )

    @pre_load
    def trim(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Remove white space around names and the address."""
        return _trimmed(data, "display_name", "full_name", "email")


def an_issuer(value: str) -> None:
    """Check the issuer of a factor.

    The address in the QR code has it twice, percent-encoded, and Supabase fails where the code has no room for it.
    """
    a_factor_name(value)
    if len(quote(value, safe="")) > MAX_ENCODED_ISSUER_LENGTH:
        raise ValidationError(f"Must have at most {MAX_ENCODED_ISSUER_LENGTH} characters when percent-encoded.")


class FactorBody(ProofBody):
    """Body of an enrolment."""

    type = fields.String(load_default="totp", validate=validate.OneOf(["totp"]))
    friendly_name = optional(a_factor_name, maxLength=MAX_FACTOR_NAME_LENGTH)
    issuer = optional(
        an_issuer, description="What the authenticator shows; the host of the site by default.", maxLength=60
    )


class FactorCodeBody(Schema):
    """Body of a proof of a second factor."""

    code = fields.String(required=True, validate=a_factor_code, metadata={"maxLength": 10})
    challenge_id = optional(a_challenge_id, format="uuid", description="Without it a challenge is made.")

    @pre_load
    def normalise(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Remove the white space with which authenticators show codes."""
        code, challenge = data.get("code"), data.get("challenge_id")
        changed = {"code": "".join(code.split())} if isinstance(code, str) else {}
        return data | changed | ({"challenge_id": challenge.lower()} if isinstance(challenge, str) else {})


class AnonymousBody(Schema):
    """Body of an anonymous sign-up."""

    data = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        load_default=None,
        validate=some_data,
        metadata={"description": "Goes into `user_metadata`."},
    )
    captcha_token = optional(a_captcha_token)


class FactorAnswer(Schema):
    """A second factor."""

    id = fields.String(required=True)
    type = fields.String(required=True)
    friendly_name = fields.String(allow_none=True)
    status = fields.String(metadata={"description": "`verified`, or `unverified` until a code was right once."})
    created_at = fields.String(allow_none=True)
    updated_at = fields.String(allow_none=True)


class FactorsAnswer(Schema):
    """The second factors of a user."""

    factors = fields.List(fields.Nested(FactorAnswer), required=True)


class TotpAnswer(Schema):
    """What an authenticator needs; shown once."""

    qr_code = fields.String(required=True, metadata={"description": "An SVG image."})
    secret = fields.String(required=True, metadata={"description": "The key, in base32."})
    uri = fields.String(required=True, metadata={"description": "`otpauth://…`"})


class EnrolmentAnswer(Schema):
    """A factor that was enrolled and is not verified yet."""

    id = fields.String(required=True)
    type = fields.String(required=True)
    friendly_name = fields.String(allow_none=True)
    totp = fields.Nested(TotpAnswer)


class ChallengeAnswer(Schema):
    """A challenge of a factor."""

    id = fields.String(required=True)
    type = fields.String(required=True)
    expires_at = fields.Integer(metadata={"description": "Seconds since the epoch."})


class MailedAnswer(Schema):
    """Response of a route that may have sent a mail."""

    status = fields.Constant("code_sent")
