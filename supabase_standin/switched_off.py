"""What the stand-in never has switched on, refused as the original refuses it."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from supabase_standin import params
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure, OAuthFailure

#: Method and path → code and text of the 404.
ROUTES: Final = (
    ("GET", "/.well-known/oauth-authorization-server", "feature_disabled", "OAuth server is disabled"),
    ("GET", "/oauth/authorize", "feature_disabled", "OAuth server is disabled"),
    ("POST", "/oauth/token", "feature_disabled", "OAuth server is disabled"),
    ("GET", "/oauth/userinfo", "feature_disabled", "OAuth server is disabled"),
    ("GET", "/admin/oauth/clients", "feature_disabled", "OAuth server is disabled"),
    ("POST", "/admin/oauth/clients", "feature_disabled", "OAuth server is disabled"),
    ("POST", "/sso", "saml_provider_disabled", "SAML 2.0 is disabled"),
    ("GET", "/sso/saml/metadata", "saml_provider_disabled", "SAML 2.0 is disabled"),
    ("POST", "/sso/saml/acs", "saml_provider_disabled", "SAML 2.0 is disabled"),
    ("POST", "/passkeys/authentication/options", "passkey_disabled", "Passkeys are disabled"),
    ("POST", "/passkeys/authentication/verify", "passkey_disabled", "Passkeys are disabled"),
)


def refuse(code: str, text: str) -> NoReturn:
    """Answer a route of a feature that is off.

    Raises:
        Failure: Always.
    """
    raise Failure(404, code, text)


def id_token(_backend: Backend, call: Call) -> dict[str, Any]:
    """Answer the grant of a provider's ID token: no provider of such tokens is on.

    Raises:
        Failure: Always.
    """
    fields = {"id_token": str, "provider": str, "client_id": str, "issuer": str}
    given = params.read(call.body, struct="IdTokenGrantParams", fields=fields)
    if not given.get("id_token"):
        raise OAuthFailure("invalid request", "id_token required")
    if not given.get("provider") and not (given.get("client_id") and given.get("issuer")):
        raise OAuthFailure("invalid request", "provider or client_id and issuer required")
    name = given.get("provider", "")
    raise Failure(400, "provider_disabled", f"Provider (issuer {given.get('issuer') or name!r}) is not enabled")


def web3(_backend: Backend, _call: Call) -> dict[str, Any]:
    """Answer the grant of a signed message of a wallet.

    Raises:
        Failure: Always.
    """
    raise Failure(422, "web3_provider_disabled", "Web3 provider is disabled")
