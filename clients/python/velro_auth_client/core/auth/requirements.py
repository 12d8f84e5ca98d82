"""What a caller may demand of a good token, and what a gateway tells the backend about its user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from velro_auth_client.core.auth.tokens import Claims
from velro_auth_client.core.errors import BadParameter, Forbidden, InsufficientAal

#: Authenticator assurance levels (NIST SP 800-63B-4), weakest first.
LEVELS: Final[Mapping[str, int]] = {"aal1": 1, "aal2": 2, "aal3": 3}

#: The parameters of ``verify``. No other name is ever ignored: a misspelt demand must not let everybody in.
PARAMETERS: Final = ("role", "aal", "strict")

#: What asks Supabase too.
_STRICT: Final = frozenset({"1", "true"})

#: Signs that separate or start parameters somewhere; in the name of a role they show a slip.
_NOT_IN_ROLES: Final = frozenset(';=&?"')

#: Printable ASCII without the percent sign, which starts an escape.
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A role and a level that a token must have beyond being good.

    Attributes:
        roles: Application roles, any of which will do; empty demands none.
        aal: The least assurance level; empty demands none. An unknown level is never reached.
        strict: Whether Supabase has to be asked about the token too.
    """

    roles: frozenset[str] = frozenset()
    aal: str = ""
    strict: bool = False

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


def demands_of_query(query: str) -> Requirements:
    """Read the query of the exact path of ``verify``: ``role=editor,admin&aal=aal2&strict=1``.

    Raises:
        BadParameter: A parameter is unknown, empty, given twice, or has a value that it cannot have.
    """
    try:
        # Other letters have to be escaped: servers do not agree on what they mean unescaped.
        plain = query.encode("latin-1").decode("ascii")
        pairs = parse_qsl(plain, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise BadParameter("The query cannot be read: write name=value, joined by '&'.") from None
    return _requirements(pairs)


def demands_of_header(value: str) -> Requirements:
    """Read the field ``X-Auth-Require``: ``role=editor,admin; aal=aal2; strict=1``. Empty demands nothing.

    Raises:
        BadParameter: A demand is unknown, empty, given twice, or has a value that it cannot have.
    """
    try:
        # WSGI hands on the bytes as Latin-1.
        text = value.encode("latin-1").decode("utf-8").strip()
    except ValueError:
        raise BadParameter("X-Auth-Require cannot be read: write it in UTF-8.") from None
    pairs = (part.partition("=") for part in text.split(";")) if text else ()
    return _requirements((name.strip(), of.strip()) for name, _, of in pairs)


def _requirements(pairs: Iterable[tuple[str, str]]) -> Requirements:
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            raise BadParameter(f"Unknown parameter: there are {', '.join(PARAMETERS)}, in lower case.")
        if name in given:
            # Two are two opinions, one of which may be a client's.
            raise BadParameter(f"{name} is given twice: give it once.")
        if not value:
            raise BadParameter(f"{name} is empty: give it a value, or leave it out.")
        given[name] = value
    return Requirements(roles=_roles(given), aal=_aal(given), strict=_strict(given))


def _roles(given: Mapping[str, str]) -> frozenset[str]:
    if "role" not in given:
        return frozenset()
    roles = frozenset(role.strip() for role in given["role"].split(","))
    if not all(role and role.isprintable() and _NOT_IN_ROLES.isdisjoint(role) for role in roles):
        raise BadParameter("role must be the name of a role, or several of which one will do, joined by commas.")
    return roles


def _aal(given: Mapping[str, str]) -> str:
    if given.get("aal", "aal1") not in LEVELS:
        raise BadParameter(f"aal must be one of {', '.join(LEVELS)}.")
    return given.get("aal", "")


def _strict(given: Mapping[str, str]) -> bool:
    if given.get("strict", "1") not in _STRICT:
        raise BadParameter("strict must be 1, or left out.")
    return "strict" in given


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
