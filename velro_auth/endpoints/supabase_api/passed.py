"""What is passed on as it is: the user, the project's settings and keys, and sign-in with a provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from velro_auth.auth.passing import Call, Passed, PassedCalls
from velro_auth.endpoints.bodies import NO_STORE, RawResponse, raw_body
from velro_auth.endpoints.supabase_api.asked import Asked, only, text_of
from velro_auth.endpoints.supabase_api.refusals import status_line
from velro_auth.errors import InvalidRequest
from velro_auth.web.redirects import MAX_LENGTH

_SSO: Final = (
    *("provider_id", "domain", "skip_http_redirect", "gotrue_meta_security"),
    *("code_challenge", "code_challenge_method"),
)

#: Of a form that a provider has the browser send back; they have a handful.
_MAX_FIELDS: Final = 64


@dataclass(frozen=True)
class PassedOnRoutes:
    """The handlers."""

    calls: PassedCalls

    def user(self, asked: Asked) -> RawResponse:
        """Answer ``GET /user``."""
        call = Call(kind="user", method="GET", path="/user", bearer=asked.token)
        return answer_of(self.calls.read(call, asked.context))

    def page(self, asked: Asked) -> RawResponse:
        """Answer the settings, the health, the signing keys and the discovery document."""
        path = asked.request.environ["PATH_INFO"].removeprefix("/auth/v1")
        return answer_of(self.calls.public(Call(kind="public", method="GET", path=path), asked.context))

    def authorize(self, asked: Asked) -> RawResponse:
        """Answer ``GET /authorize``: to the provider. Its own parameters go on, ``redirect_to`` if it is allowed."""
        query = [*_others(asked), *asked.redirect_query()]
        return self._public(asked, "GET", "/authorize", query)

    def callback(self, asked: Asked) -> RawResponse:
        """Answer ``callback``, to which a provider sends the browser back, with a query or a form."""
        return self._returned(asked, "/callback")

    def sso(self, asked: Asked) -> RawResponse:
        """Answer ``POST /sso``."""
        given = asked.body()
        body, address = only(given, *_SSO), text_of(given, "redirect_to", longest=MAX_LENGTH)
        if wanted := address if address and asked.allows(address) else asked.redirect_to:
            body["redirect_to"] = wanted
        call = Call(kind="public", method="POST", path="/sso", body=body)
        return answer_of(self.calls.public(call, asked.context))

    def saml_metadata(self, asked: Asked) -> RawResponse:
        """Answer ``GET /sso/saml/metadata``."""
        return self._public(asked, "GET", "/sso/saml/metadata", _others(asked))

    def saml_acs(self, asked: Asked) -> RawResponse:
        """Answer ``POST /sso/saml/acs``, to which an identity provider sends the browser back."""
        return self._returned(asked, "/sso/saml/acs")

    def _returned(self, asked: Asked, path: str) -> RawResponse:
        method = asked.request.environ["REQUEST_METHOD"]
        form = self._form(asked) if method == "POST" else None
        return self._public(asked, method, path, _others(asked), form)

    @staticmethod
    def _form(asked: Asked) -> bytes:
        """Return a form without an address that is not allowed; written anew, so that every server reads it alike.

        Raises:
            TooLarge: As ``raw_body`` raises.
            InvalidRequest: It has too many fields.
        """
        # Latin-1 keeps every byte what it was.
        sent = raw_body(asked.request, asked.max_body_bytes).decode("latin-1")
        try:
            fields = parse_qsl(sent, keep_blank_values=True, encoding="latin-1", max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise InvalidRequest({"body": ["Has too many fields."]}) from None
        kept = [(name, value) for name, value in fields if name != "redirect_to" or asked.allows(value)]
        return urlencode(kept, encoding="latin-1").encode()

    def _public(
        self, asked: Asked, method: str, path: str, query: Sequence[tuple[str, str]], form: bytes | None = None
    ) -> RawResponse:
        call = Call(kind="public", method=method, path=path, query=query, body=form)
        return answer_of(self.calls.public(call, asked.context))


def answer_of(passed: Passed) -> RawResponse:
    """Return Supabase's answer for the client: status, body and the listed headers."""
    headers = list(passed.headers)
    if not any(name == "Cache-Control" for name, _ in headers):
        headers.append(NO_STORE)
    return RawResponse(passed.body, headers, status_line(passed.status))


def _others(asked: Asked) -> list[tuple[str, str]]:
    """Return the parameters that go on without a look at them."""
    return [(name, value) for name, value in asked.query.items() if name not in {"apikey", "redirect_to"}]
