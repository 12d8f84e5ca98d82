"""Schemas of request and response bodies, for validation and for the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, post_dump, pre_load

MAX_EMAIL_LENGTH: Final = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MAX_PASSWORD_BYTES: Final = 1024
MAX_CAPTCHA_TOKEN_LENGTH: Final = 8192
MAX_REFRESH_TOKEN_LENGTH: Final = 512
MAX_SOLUTION_LENGTH: Final = 2048  # of a challenge; the widget makes about 600

#: One @ between two parts without white space or control characters. Stricter patterns refuse real addresses;
#: Supabase knows whether the address exists.
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def an_email(value: str) -> None:
    """Check the form of a mail address."""
    # A NUL would reach PostgreSQL, which fails on it: anybody could cause a 500 of Supabase.
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


class LoginBody(Schema):
    """Body of a login. Other members are ignored."""

    email = fields.String(required=True, validate=an_email, metadata={"maxLength": MAX_EMAIL_LENGTH})
    password = fields.String(
        required=True, validate=a_password, metadata={"format": "password", "maxLength": MAX_PASSWORD_BYTES}
    )
    captcha_token = fields.String(allow_none=True, load_default=None, validate=a_captcha_token)
    challenge = fields.String(
        allow_none=True,
        load_default=None,
        validate=a_solution,
        metadata={
            "description": "The solution of the challenge that a 429 `challenge_required` gave, as the widget of"
            " ALTCHA makes it.",
            "maxLength": MAX_SOLUTION_LENGTH,
        },
    )

    @pre_load
    def trim_the_address(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Remove white space around the address, which users paste by mistake; never around the password."""
        email = data.get("email")
        return {**data, "email": email.strip()} if isinstance(email, str) else data


def a_refresh_token(value: str) -> None:
    """Check the form of a refresh token."""
    # Supabase's tokens have 12 to 62 characters today; Supabase refuses wrong ones itself.
    if not 1 <= len(value) <= MAX_REFRESH_TOKEN_LENGTH or not value.isascii() or not value.isprintable():
        raise ValidationError("Not a refresh token.")


class RefreshBody(Schema):
    """Body of a refresh."""

    refresh_token = fields.String(required=True, validate=a_refresh_token)


class LogoutBody(Schema):
    """Optional body of a logout, for a session whose access token has expired."""

    refresh_token = fields.String(allow_none=True, load_default=None, validate=a_refresh_token)


class LogoutAnswer(Schema):
    """Response of a logout."""

    message = fields.Constant("Logged out")


class UserAnswer(Schema):
    """The user of a session, reduced to what frontends need."""

    id = fields.String(required=True)
    email = fields.String(allow_none=True)
    email_confirmed_at = fields.String(allow_none=True)
    created_at = fields.String(allow_none=True)
    role = fields.String(allow_none=True, metadata={"description": "Application role; null if Supabase names none."})
    display_name = fields.String(allow_none=True, attribute="profile.display_name")
    avatar_url = fields.String(allow_none=True, attribute="profile.avatar_url")
    credits_balance = fields.Integer(allow_none=True, attribute="profile.credits_balance")
    is_anonymous = fields.Boolean()
    factors = fields.List(fields.Dict())
    user_metadata = fields.Dict()


class FactorToProve(Schema):
    """A second factor that may be proven next."""

    id = fields.String(required=True)
    type = fields.String(required=True)
    friendly_name = fields.String(allow_none=True)


class MfaAnswer(Schema):
    """What a client has to do before the session is at ``aal2``."""

    required = fields.Boolean()
    factors = fields.List(fields.Nested(FactorToProve))


class SessionAnswer(Schema):
    """Response of a login or a refresh."""

    access_token = fields.String(required=True)
    token_type = fields.Constant("bearer")
    expires_in = fields.Integer(metadata={"description": "Seconds."})
    expires_at = fields.Integer(metadata={"description": "Seconds since the epoch."})
    refresh_token = fields.String(required=True)
    user = fields.Nested(UserAnswer)
    weak_password = fields.Dict(allow_none=True)
    mfa = fields.Nested(
        MfaAnswer,
        metadata={"description": "Beside an `aal1` session of a user with verified second factors; absent otherwise."},
    )

    @post_dump
    def leave_out_what_is_not_asked(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave ``mfa`` out where no second factor has to be proven."""
        if data.get("mfa") is None:
            data.pop("mfa", None)
        return data


class MeAnswer(Schema):
    """The user of a token: claims and profile row."""

    id = fields.String(required=True, attribute="claims.sub")
    email = fields.String(allow_none=True, attribute="claims.email")
    role = fields.String(allow_none=True, attribute="claims.user_role")
    display_name = fields.String(allow_none=True, attribute="profile.display_name")
    full_name = fields.String(allow_none=True, metadata={"description": "The same as `display_name`."})
    avatar_url = fields.String(allow_none=True, attribute="profile.avatar_url")
    credits_balance = fields.Integer(allow_none=True, attribute="profile.credits_balance")
    created_at = fields.String(allow_none=True, attribute="profile.created_at")
    updated_at = fields.String(allow_none=True, attribute="profile.updated_at")
    is_anonymous = fields.Boolean(attribute="claims.is_anonymous")
    aal = fields.String(attribute="claims.aal")
    amr = fields.List(fields.String(), attribute="claims.amr")
    session_id = fields.String(attribute="claims.session_id")
    expires_at = fields.Integer(attribute="claims.exp", metadata={"description": "Seconds since the epoch."})
    user_metadata = fields.Dict(attribute="claims.raw.user_metadata")
