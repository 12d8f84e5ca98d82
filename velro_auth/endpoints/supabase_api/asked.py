"""What a handler sees of a request of a Supabase client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from marshmallow import ValidationError
from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import (
    MAX_CAPTCHA_TOKEN_LENGTH,
    MAX_PASSWORD_BYTES,
    a_password,
    is_storable,
    json_object,
)
from velro_auth.errors import InvalidRequest, TokenMissing
from velro_auth.web.redirects import AllowedRedirect, is_allowed, is_allowed_in_mail

#: Longest text that is taken for an address, a code or a name.
MAX_TEXT_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, its path already recognized and its key checked.

    Attributes:
        request: The request.
        context: Its context.
        parts: The values of the placeholders in the path.
        query: The parameters, each named once.
        key: The API key it came with.
        redirects: The addresses that a flow may lead to.
        max_body_bytes: Largest body.
    """

    request: Request
    context: RequestContext
    parts: Mapping[str, str]
    query: Mapping[str, str] = field(repr=False)
    key: str = field(repr=False)
    redirects: Sequence[AllowedRedirect]
    max_body_bytes: int

    def body(self) -> dict[str, Any]:
        """Return the body: one JSON object, with any media type.

        Raises:
            BadJson, TooLarge, UnsupportedCoding: As ``json_object`` raises.
            InvalidRequest: It has a character that PostgreSQL cannot store: Supabase would fail, for all users.
        """
        body = json_object(self.request, self.max_body_bytes, any_type=True)
        if not is_storable(body):
            raise InvalidRequest({"body": ["Has characters that cannot be stored."]})
        return body

    @property
    def bearer(self) -> str:
        """The user's access token; empty for none.

        A client without a session sends its API key there. That is dropped: with our own key beside it, Supabase
        would take it for the token of a user or of an administrator.
        """
        try:
            token = bearer_token(self.request.headers.get("Authorization"))
        except TokenMissing:
            return ""
        return "" if token == self.key else token

    @property
    def token(self) -> str:
        """The user's access token.

        Raises:
            TokenMissing: There is none.
        """
        token = self.bearer
        if not token:
            raise TokenMissing("no bearer token was sent")
        return token

    @property
    def redirect_to(self) -> str | None:
        """The address that the flow is to lead to; None where it is not allowed, or there is none."""
        for address in (self.query.get("redirect_to"), self.request.headers.get("redirect_to")):
            if address:
                return address if self.allows(address) else None
        return None

    def allows(self, address: str) -> bool:
        """Return whether a flow may lead to *address*."""
        return is_allowed(address, self.redirects)

    @property
    def mail_redirect_to(self) -> str | None:
        """The same for a flow that begins with a mail, whose link adds a query of its own."""
        address = self.redirect_to
        return address if address and is_allowed_in_mail(address, self.redirects) else None

    def mail_redirect_query(self) -> list[tuple[str, str]]:
        """Return the parameter of the query that passes :attr:`mail_redirect_to` on."""
        return [("redirect_to", self.mail_redirect_to)] if self.mail_redirect_to else []

    def redirect_query(self) -> list[tuple[str, str]]:
        """Return the parameter of the query that passes :attr:`redirect_to` on."""
        return [("redirect_to", self.redirect_to)] if self.redirect_to else []


def text_of(body: Mapping[str, Any], name: str, *, longest: int = MAX_TEXT_LENGTH) -> str:
    """Return a member of a body that is a text; empty where it is missing, null or empty.

    Raises:
        InvalidRequest: It is no text, or too long.
    """
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidRequest({name: ["Not a text that can be used."]})
    return value


def checked(check: Callable[[str], None], name: str, value: str) -> None:
    """Have a check of the service's own API look at *value*.

    Raises:
        InvalidRequest: It is wrong.
    """
    try:
        check(value)
    except ValidationError as error:
        raise InvalidRequest({name: [str(error.args[0])]}) from None


def password_of(body: Mapping[str, Any], name: str = "password") -> str:
    """Return a password of a body, under the rule of the service's own API; empty where it is missing, null or empty.

    Raises:
        InvalidRequest: It is no text, or no password can look so.
    """
    value = text_of(body, name, longest=MAX_PASSWORD_BYTES)
    if value:
        checked(a_password, name, value)
    return value


def account_of(body: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the mail address or phone number of a body, and whether it is a number; empty where it has neither.

    A number is folded as Supabase does it: otherwise each spelling would have budgets of its own.

    Raises:
        InvalidRequest: It has both.
    """
    email, phone = text_of(body, "email"), text_of(body, "phone")
    if email and phone:
        raise InvalidRequest({"email": ["Only an email address or phone number should be provided."]})
    return email or phone.removeprefix("+").replace(" ", ""), bool(phone)


def captcha_of(body: Mapping[str, Any]) -> str | None:
    """Return the solved captcha of a body; None for none."""
    security = body.get("gotrue_meta_security")
    if not isinstance(security, dict):
        return None
    return text_of(security, "captcha_token", longest=MAX_CAPTCHA_TOKEN_LENGTH) or None


def only(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the members of a body that go on to Supabase."""
    return {name: body[name] for name in names if name in body}
