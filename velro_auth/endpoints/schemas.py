"""Schemas of request and response bodies, for validation and for the OpenAPI document."""

from __future__ import annotations

from marshmallow import Schema, fields

from velro_auth.endpoints.bodies import (
    MAX_PASSWORD_BYTES,
    MAX_SOLUTION_LENGTH,
    EmailAddress,
    a_captcha_token,
    a_password,
    a_refresh_token,
    a_solution,
    optional,
)


class LoginBody(Schema):
    """Body of a login. Other members are ignored."""

    email = EmailAddress(required=True)
    password = fields.String(
        required=True, validate=a_password, metadata={"format": "password", "maxLength": MAX_PASSWORD_BYTES}
    )
    captcha_token = optional(a_captcha_token)
    challenge = optional(
        a_solution,
        description="The solution of the challenge that a 429 `challenge_required` gave, as the widget of"
        " ALTCHA makes it.",
        maxLength=MAX_SOLUTION_LENGTH,
    )


class RefreshBody(Schema):
    """Body of a refresh."""

    refresh_token = fields.String(required=True, validate=a_refresh_token)


class LogoutBody(Schema):
    """Optional body of a logout, for a session whose access token has expired."""

    refresh_token = optional(a_refresh_token)


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

    required = fields.Boolean(required=True)
    factors = fields.List(fields.Nested(FactorToProve), required=True)


class SessionAnswer(Schema):
    """Response of a login or a refresh."""

    access_token = fields.String(required=True)
    token_type = fields.Constant("bearer", required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds."})
    expires_at = fields.Integer(required=True, metadata={"description": "Seconds since the epoch."})
    refresh_token = fields.String(required=True)
    user = fields.Nested(UserAnswer, required=True)
    weak_password = fields.Dict(allow_none=True)
    mfa = fields.Nested(
        MfaAnswer,
        metadata={"description": "Beside an `aal1` session of a user with verified second factors; absent otherwise."},
    )


class BrowserSessionAnswer(Schema):
    """A session as the pages of a browser see it: the cookie keeps the tokens."""

    expires_at = fields.Integer(required=True, metadata={"description": "Seconds since the epoch."})
    user = fields.Nested(UserAnswer, required=True)
    mfa = fields.Nested(MfaAnswer)


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
