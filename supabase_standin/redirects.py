"""Where links lead: which addresses are allowed, and how codes, tokens and errors get into them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from supabase_standin.backend import Call
from supabase_standin.config import StandinConfig
from supabase_standin.errors import Failure

#: HTTP status of a failure → what OAuth calls it (RFC 6749, 4.1.2.1).
OAUTH_ERRORS: Final[Mapping[int, str]] = {
    400: "invalid_request",
    401: "unauthorized_client",
    403: "access_denied",
    500: "server_error",
    503: "temporarily_unavailable",
}
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: Parts of a glob → regular expression; ``.`` and ``/`` separate.
GLOB_PART: Final = re.compile(r"(\*\*)|(\*)|(\?)|\[(!?)([^\]]+)\]|\{([^}]*)\}|(.)", re.DOTALL)


def chosen(config: StandinConfig, call: Call, *, form: str = "") -> str:
    """Return where the user is to end up: the first allowed address of the request, else the site.

    Args:
        config: The site and its allow list.
        call: The request: its query, its headers ``redirect_to`` and ``Referer``.
        form: ``redirect_to`` of a form, if there was one.
    """
    wanted = (
        call.query.get("redirect_to") or form,
        call.headers.get("redirect-to", ""),
        call.headers.get("referer", ""),
    )
    return next((url for url in wanted if is_allowed(config, url)), config.site_url)


def is_allowed(config: StandinConfig, url: str) -> bool:
    """Tell whether a link may lead to *url*: the site itself, a loopback address, or a match of the list."""
    try:
        asked, site = urlsplit(url), urlsplit(config.site_url)
        is_site = _is_same_site(asked, site)
    except ValueError:
        return False
    if not url:
        return False
    if is_site:
        return True
    address = _address(asked.hostname or "")
    if address is not None:
        return address.is_loopback
    bare = url.partition("#")[0]
    return any(_glob(pattern).fullmatch(bare) for pattern in config.redirect_urls)


def with_code(url: str, code: str) -> str:
    """Return *url* with an authorization code in the query."""
    return _with_query(url, {"code": code})


def with_tokens(url: str, answer: Mapping[str, object], *, kind: str, **more: str) -> str:
    """Return *url* with a session in the fragment, as the implicit flow hands it over."""
    names = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
    values = {name: str(answer[name]) for name in names} | {"sb": "", **more} | ({"type": kind} if kind else {})
    return f"{url}#{_encoded(values)}"


def with_message(url: str, values: Mapping[str, str], *, pkce: bool) -> str:
    """Return *url* with *values* in the fragment, and with PKCE in the query too."""
    if pkce:
        url = _with_query(url, values)
    bare = url.partition("#")[0]
    # The original escapes the fragment once more.
    return f"{bare}#{_encoded({**values, 'sb': ''}).replace('%', '%25')}"


def with_failure(url: str, failure: Failure, *, pkce: bool) -> str:
    """Return *url* with an error in the fragment, and with PKCE in the query too."""
    values = {"error": OAUTH_ERRORS.get(failure.status, "server_error")}
    values |= {"error_code": failure.code} if failure.code else {}
    return with_message(url, values | {"error_description": failure.message}, pkce=pkce)


def _with_query(url: str, values: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    merged = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **values}
    return urlunsplit(parts._replace(query=_encoded(merged)))


def _encoded(values: Mapping[str, str]) -> str:
    return urlencode(sorted(values.items()))


def _is_same_site(asked: SplitResult, site: SplitResult) -> bool:
    if (asked.scheme, asked.hostname) != (site.scheme, site.hostname) or not asked.hostname:
        return False
    return _is_loopback(asked.hostname) or _port(asked) == _port(site)


def _port(parts: SplitResult) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(map(_part, GLOB_PART.finditer(pattern))))


def _part(match: re.Match[str]) -> str:
    anything, star, one, negation, characters, choices, plain = match.groups()
    if anything:
        return ".*"
    if star or one:
        return "[^./]*" if star else "[^./]"
    if characters:
        return f"[{'^' if negation else ''}{characters}]"
    if choices is not None:
        return f"(?:{'|'.join(_glob(choice).pattern for choice in choices.split(','))})"
    return re.escape(plain)
