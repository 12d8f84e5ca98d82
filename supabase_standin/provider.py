"""OAuth providers for tests: they accept every address without a password, and run on loopback only.

Each provider that is on has an authorization page. A person types an address and goes on as that user. With
``login_hint`` in the query the page is skipped, so that a test can follow redirects.
"""

from __future__ import annotations

import hashlib
import html
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, request
from werkzeug.wrappers import Response

from supabase_standin.config import StandinConfig

PREFIX: Final = "/provider"
REFRESH_TOKEN: Final = "fake-provider-refresh"  # noqa: S105 - opens nothing
AVATAR: Final = "https://avatars.example.com/a.png"
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in with {name}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .25rem .5rem }} form {{ margin: .5rem 0 }}
</style></head><body><h1>Log in with {name}</h1>
<p>This page belongs to the local Supabase. It believes whatever you say.</p>
{known}<form method="get">{hidden}<label>Mail address<br><input type="email" name="login_hint" required></label>
<p><label><input type="checkbox" name="unverified" value="1"> not verified by {name}</label></p>
<button>Continue</button></form>
<p><a href="{cancel}">Cancel</a></p></body></html>
"""
KNOWN: Final = """<form method="get">{hidden}<input type="hidden" name="login_hint" value="{email}">
<button>Continue as {email}</button></form>
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What tells one provider from another.

    Attributes:
        realm: Ends the issuer.
        page: The path of the authorization page below the issuer.
        client_id: Ours, there.
        scopes: What is always asked for.
        has_picture: Whether accounts have one.
        has_custom_claims: Whether accounts say more, if only ``{}``.
    """

    realm: str
    page: str
    client_id: str
    scopes: str
    has_picture: bool = False
    has_custom_claims: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "demo": Kind(realm="/demo", page="/authorize", client_id="demo", scopes="openid email"),
    "gitlab": Kind(realm="", page="/oauth/authorize", client_id="gid", scopes="read_user", has_picture=True),
    "keycloak": Kind(
        realm="/realms/r",
        page="/protocol/openid-connect/auth",
        client_id="cid",
        scopes="profile email",
        has_custom_claims=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """A person with an account at every provider.

    Attributes:
        subject: The id there.
        email: The address there; empty for none.
        email_verified: Whether the provider vouches for it.
        name: The full name.
    """

    subject: str
    email: str
    email_verified: bool = True
    name: str = "Fake User"


@dataclass(kw_only=True)
class Provider:
    """All providers in one: they share their accounts and codes.

    Attributes:
        base: The address of the stand-in.
        accounts: Address → account; a missing account is made at its first sign-in.
        codes: Code → account and provider; each is good once.
    """

    base: str
    accounts: dict[str, Account] = field(default_factory=dict)
    codes: dict[str, tuple[Account, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issuer(self, name: str) -> str:
        """Return who vouches for the accounts of a provider."""
        return f"{self.base}{PREFIX}{KINDS[name].realm}"

    def page(self, name: str) -> str:
        """Return the address of the authorization page of a provider."""
        return self.issuer(name) + KINDS[name].page

    def add(self, account: Account) -> None:
        """Add an account, in place of an older one with the same address."""
        with self._lock:
            self.accounts[account.email] = account

    def grant(self, name: str, email: str, *, verified: bool = True) -> str:
        """Return a code for the account of an address, which is made where there is none."""
        code = secrets.token_hex(16)
        with self._lock:
            account = self.accounts.get(email)
            if account is None:
                subject = hashlib.sha256(email.encode()).hexdigest()[:12]
                account = Account(subject=subject, email=email, email_verified=verified, name=email.partition("@")[0])
                self.accounts[email] = account
            self.codes[code] = (account, name)
        return code

    def redeem(self, name: str, code: str) -> Account | None:
        """Return whose code this is; None for one that is unknown, used or another provider's."""
        with self._lock:
            account, of = self.codes.pop(code, (None, ""))
        return account if of == name else None

    def claims(self, name: str, account: Account) -> dict[str, Any]:
        """Return what a provider says of an account, in the words of the Auth service."""
        kind = KINDS[name]
        picture = {"picture": AVATAR, "avatar_url": AVATAR} if kind.has_picture else {}
        return {
            "iss": self.issuer(name),
            "sub": account.subject,
            "name": account.name,
            "email": account.email,
            **picture,
            "full_name": account.name,
            "provider_id": account.subject,
            **({"custom_claims": {}} if kind.has_custom_claims else {}),
            "email_verified": account.email_verified,
            "phone_verified": False,
        }


def redirect_uri(config: StandinConfig, issuer: str) -> str:
    """Return where providers send users back to; empty where that was not set."""
    return f"{issuer}/callback" if config.provider_redirect_uri is None else config.provider_redirect_uri


def blueprint(config: StandinConfig, provider: Provider, *, issuer: str) -> Blueprint:
    """Return the authorization pages of the providers that are on.

    Args:
        config: Which are on.
        provider: Their accounts.
        issuer: The Auth service's own address.
    """
    routes = Blueprint("provider", __name__)
    for name in config.providers:
        kind = KINDS[name]
        path = f"{PREFIX}{kind.realm}{kind.page}"
        routes.add_url_rule(path, name, lambda name=name: _authorize(config, provider, name, issuer), methods=["GET"])
    return routes


def _authorize(config: StandinConfig, provider: Provider, name: str, issuer: str) -> Response:
    asked = request.args.to_dict()
    back = redirect_uri(config, issuer)
    if asked.get("redirect_uri") != back or asked.get("client_id") != KINDS[name].client_id:
        return Response("Unknown client or redirect_uri\n", 400, content_type="text/plain")
    state = asked.get("state", "")
    if asked.get("login_hint"):
        code = provider.grant(name, asked["login_hint"], verified="unverified" not in asked)
        return _found(f"{back}?{urlencode({'code': code, 'state': state})}")
    refusal = {"error": "access_denied", "error_description": "User said no", "state": state}
    return Response(_page(provider, name, asked, cancel=f"{back}?{urlencode(refusal)}"), content_type="text/html")


def _page(provider: Provider, name: str, asked: Mapping[str, str], *, cancel: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(key)}" value="{html.escape(value)}">' for key, value in asked.items()
    )
    known = "".join(KNOWN.format(hidden=hidden, email=html.escape(email)) for email in list(provider.accounts))
    return PAGE.format(name=html.escape(name), known=known, hidden=hidden, cancel=html.escape(cancel))


def _found(url: str) -> Response:
    return Response(b"", 302, headers={"Location": url})
