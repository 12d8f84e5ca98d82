"""What a caller may demand of a good token, and what a gateway tells the backend about its user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from velro_auth.auth.tokens import Claims
from velro_auth.errors import Forbidden, InsufficientAal

#: Authenticator assurance levels (NIST SP 800-63B-4), weakest first.
LEVELS: Final[Mapping[str, int]] = {"aal1": 1, "aal2": 2, "aal3": 3}

#: Printable ASCII without the percent sign, which starts an escape.
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """A role and a level that a token must have beyond being good.

    Attributes:
        roles: Application roles, any of which will do; empty demands none.
        aal: The least assurance level; empty demands none. A level nobody knows is never reached.
    """

    roles: frozenset[str] = frozenset()
    aal: str = ""

    def check(self, claims: Claims) -> None:
        """Return when *claims* meet the demands.

        Raises:
            Forbidden: The user has none of the roles.
            InsufficientAal: The session is below the level.
        """
        if self.roles and claims.user_role not in self.roles:
            raise Forbidden("the user has none of the demanded roles")
        if self.aal and LEVELS.get(claims.aal, 0) < LEVELS.get(self.aal, len(LEVELS) + 1):
            raise InsufficientAal("the session is below the demanded level")


def identity_headers(claims: Claims) -> dict[str, str]:
    """Return the headers that tell a backend who its user is.

    All of them, always: a gateway that copies what it is given would let the client's own header through where
    one is missing (GHSA-7r4p-vjf4-gxv4). Values are printable ASCII; the rest is percent-encoded as UTF-8.
    """
    return {
        "X-Auth-User-Id": claims.sub,
        "X-Auth-User-Email": _printable(claims.email),
        "X-Auth-User-Role": _printable(claims.user_role),
        "X-Auth-Aal": _printable(claims.aal),
        "X-Auth-Session-Id": claims.session_id,
    }


def _printable(value: str | None) -> str:
    if not value or (value.isascii() and value.isprintable() and "%" not in value):
        return value or ""
    return quote(value, safe=_PLAIN, errors="surrogatepass")
