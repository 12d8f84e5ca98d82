"""What a caller may require beyond a good token, and the headers that tell a backend who its user is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from velro_auth_client.core.auth.tokens import Claims
from velro_auth_client.core.errors import BadParameter, Forbidden, InsufficientAal

#: Authenticator assurance levels (NIST SP 800-63B-4), weakest first.
LEVELS: Final[Mapping[str, int]] = {"aal1": 1, "aal2": 2, "aal3": 3}

#: The parameters of ``verify``. Any other name is an error: a misspelt requirement must not admit all users.
PARAMETERS: Final = ("role", "aal", "strict", "on_fail")

#: Values of ``strict``.
_STRICT: Final = frozenset({"1", "true"})
#: The value of ``on_fail``: a browser without a session is led to the page of the login.
_LOGIN: Final = "login"

#: Characters that separate parameters in some syntax; in the name of a role they show a mistake.
_NOT_IN_ROLES: Final = frozenset(';=&?"')

#: Printable ASCII without the percent sign, which starts an escape.
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A role and a level that the user of a good token must have.

    Attributes:
        roles: Application roles, one of which is enough; empty for any or none.
        aal: The lowest assurance level; empty for any. No token reaches an unknown level.
        strict: Whether Supabase has to be asked about the token too.
        leads_to_login: Whether a page that is asked for without a session leads to the login.
    """

    roles: frozenset[str] = frozenset()
    aal: str = ""
    strict: bool = False
    leads_to_login: bool = False

    @property
    def needs_session(self) -> bool:
        """Whether only a good token can meet them."""
        return bool(self.roles or self.aal or self.strict)

    def check(self, claims: Claims) -> None:
        """Return if *claims* meet the requirements.

        Raises:
            Forbidden: The user has none of the roles.
            InsufficientAal: The session is below the level.
        """
        if self.roles and claims.user_role not in self.roles:
            raise Forbidden("the user has none of the required roles")
        if self.aal and LEVELS.get(claims.aal, 0) < LEVELS.get(self.aal, len(LEVELS) + 1):
            raise InsufficientAal("the session is below the required level")


def requirements_of_query(query: str) -> Requirements:
    """Parse the query of the exact path of ``verify``: ``role=editor,admin&aal=aal2&strict=1``.

    Raises:
        BadParameter: A parameter is unknown, empty or given twice, or its value is not allowed.
    """
    try:
        # Other characters must be escaped: servers interpret them in different ways.
        plain = query.encode("latin-1").decode("ascii")
        pairs = parse_qsl(plain, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise BadParameter("The query cannot be read: write name=value, joined by '&'.") from None
    return _requirements(pairs)


def requirements_of_header(value: str) -> Requirements:
    """Parse the header ``X-Auth-Require``: ``role=editor,admin; aal=aal2; strict=1``. Empty requires nothing.

    Raises:
        BadParameter: A requirement is unknown, empty or given twice, or its value is not allowed.
    """
    try:
        # WSGI decodes headers as Latin-1.
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
            # One of the two may come from a client.
            raise BadParameter(f"{name} is given twice: give it once.")
        if not value:
            raise BadParameter(f"{name} is empty: give it a value, or leave it out.")
        given[name] = value
    roles = roles_of(given["role"].split(",")) if "role" in given else frozenset()
    aal = given.get("aal", "")
    if aal and aal not in LEVELS:
        raise BadParameter(f"aal must be one of {', '.join(LEVELS)}.")
    if given.get("strict", "1") not in _STRICT:
        raise BadParameter("strict must be 1, or left out.")
    if given.get("on_fail", _LOGIN) != _LOGIN:
        raise BadParameter("on_fail must be login, or left out.")
    return Requirements(roles=roles, aal=aal, strict="strict" in given, leads_to_login="on_fail" in given)


def roles_of(names: Iterable[str]) -> frozenset[str]:
    """Return the roles with these *names*; white space around them is removed.

    Raises:
        BadParameter: One of them is no name of a role.
    """
    roles = frozenset(name.strip() for name in names)
    if not all(role and role.isprintable() and _NOT_IN_ROLES.isdisjoint(role) for role in roles):
        raise BadParameter("role must be the name of a role, or several of which one will do, joined by commas.")
    return roles


def identity_headers(claims: Claims) -> dict[str, str]:
    """Return the headers that tell a backend who its user is.

    All of them, always: where a header is missing, a gateway would pass on the client's own header of that name
    (GHSA-7r4p-vjf4-gxv4). Values are printable ASCII; other characters are percent-encoded as UTF-8.
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


#: The same headers where no user is known.
NO_IDENTITY: Final[Mapping[str, str]] = identity_headers(Claims(sub="", session_id="", exp=0))
