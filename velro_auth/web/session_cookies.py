"""The cookie that keeps a session: the browser sends it, and no script can read it.

* The value is sealed: the browser cannot read or change it. It opens only with its name, part number and part count.
* ``__Host-`` (RFC 6265bis, 4.1.3): no other host, such as a neighbouring subdomain, can set a cookie with this name.
  A request with the same cookie twice is a sign of such an attempt: both are ignored.
* Browsers keep 4 KiB per cookie, so a long session has two cookies. Both name the session that they are parts of, so
  parts of two sessions never make one.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from velro_auth.auth.models import Session
from velro_auth.auth.sealing import Sealed, Sealer
from velro_auth.errors import UpstreamMisconfigured
from velro_auth.web.origins import OWN_MACHINE

Header: TypeAlias = tuple[str, str]

#: How long a browser keeps a session that is not used, in seconds: 30 days. Supabase may end it earlier.
GOOD_FOR_S: Final = 30 * 24 * 3600
#: Cookies of one session.
MAX_CHUNKS: Final = 2
#: Characters of a cookie, its name included. Browsers keep 4096 (RFC 6265, 6.1); two of these are 7 KiB.
MAX_CHARACTERS: Final = 3584

#: Sessions whose opened cookies a process remembers; about 3 KiB each, at most 12.
REMEMBERED: Final = 1024

#: Characters of a session in one cookie: sealed, they take a third more, and 180 for name, key, nonce, tag and JSON.
_CHUNK: Final = 2520
#: WSGI environ key: our cookies, once they are read.
_SENT: Final = "velro_auth.session_cookies"
_BASE_NAME: Final = "velro_session"
_SEPARATOR: Final = "\n"


@dataclass(frozen=True, slots=True)
class KeptSession:
    """What the cookie keeps of a session.

    Attributes:
        access_token: The access token.
        refresh_token: The refresh token.
        expires_at: When the access token expires, in seconds since the epoch.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: int


class SessionCookies:
    """Makes, reads and removes the cookies of a session.

    Args:
        keys: Keys that seal the cookies, as ``sealing.sealing_keys`` returns them.
        public_url: The address of this service for browsers. On this machine without TLS (``http://localhost:…``) the
            cookies have neither ``__Host-`` nor ``Secure``; with every other address they do.
        now: The wall clock, in seconds since the epoch.
    """

    def __init__(self, keys: Sequence[bytes], *, public_url: str = "", now: Callable[[], float] = time.time) -> None:
        parts = urlsplit(public_url)
        self._is_secure = not (parts.scheme == "http" and parts.hostname in OWN_MACHINE)
        name = f"{'__Host-' if self._is_secure else ''}{_BASE_NAME}"
        self.names: Final = (name, f"{name}_2")
        self._sealer = Sealer(keys, "session", now=now)
        self._now = now
        # A page loads dozens of files with one cookie, and opening it is most of its cost. Only cookies that opened are
        # remembered (an exception is not), by their whole text, and new keys make a new object. Values that can change
        # are checked each time: the end of the cookie here, the token and the deny-list by the caller.
        self._found = functools.lru_cache(maxsize=REMEMBERED)(self._open)

    def is_sent(self, request: Request) -> bool:
        """Return whether *request* has such a cookie, good or not."""
        return bool(self._sent(request))

    def find(self, request: Request) -> KeptSession | None:
        """Return the session of this browser; None without the cookie, or with a wrong or expired one."""
        sent = self._sent(request)
        given: list[str] = []
        for name in self.names:
            if len(values := sent.get(name, ())) != 1:
                # A cookie that comes twice is no better than none.
                break
            given.append(values[0])
        # The last cookie may be left from an earlier session, which was longer. A cookie that the session does not need
        # is no part of the remembered key: with any text in it, one user could displace the sessions of all others.
        for count in range(len(given), 0, -1):
            try:
                kept, until_s = self._found(*given[:count])
            except Sealed:
                continue
            return kept if until_s >= self._now() else None
        return None

    def _sent(self, request: Request) -> Mapping[str, Sequence[str]]:
        """Return the values of each of our cookies. Werkzeug's reader takes 20 µs for the cookies of a site."""
        known: Mapping[str, Sequence[str]] | None = request.environ.get(_SENT)
        if known is not None:
            return known
        header = request.environ.get("HTTP_COOKIE", "")
        found: dict[str, list[str]] = {}
        if self.names[0] in header:
            for cookie in header.split(";"):
                name, separator, value = cookie.strip(" \t").partition("=")
                if separator and name in self.names:
                    found.setdefault(name, []).append(value)
        request.environ[_SENT] = found
        return found

    def keep(self, session: Session, request: Request) -> list[Header]:
        """Return the header fields that put *session* into the browser of *request*.

        Raises:
            UpstreamMisconfigured: The session is too large for cookies.
        """
        text = _text_of(session)
        chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
        # Of the content, so that two answers with the same session may mix in the browser.
        name_of_session = _digest(text)
        fields = []
        for number, (name, chunk) in enumerate(zip(self.names, chunks, strict=False), start=1):
            value = {"session": name_of_session, "part": chunk}
            bound_to = _binding(name, number, len(chunks))
            fields.append((name, self._sealer.seal(value, good_for_s=GOOD_FOR_S, bound_to=bound_to)))
        if len(chunks) > MAX_CHUNKS or any(len(name) + len(value) > MAX_CHARACTERS for name, value in fields):
            raise UpstreamMisconfigured(
                f"the session does not fit into cookies: its tokens have {len(text)} characters, and about"
                f" {MAX_CHUNKS * _CHUNK} fit. Put less into app_metadata, user_metadata and the hook's claims"
            )
        sent = self._sent(request)
        surplus = [name for name in self.names[len(chunks) :] if name in sent]
        kept = [self._header(name, value, GOOD_FOR_S) for name, value in fields]
        return [*kept, *(self._header(name, "", 0) for name in surplus)]

    def clear(self, request: Request) -> list[Header]:
        """Return the header fields that remove the session from the browser of *request*."""
        sent = self._sent(request)
        return [self._header(name, "", 0) for name in self.names if name in sent]

    def _open(self, *given: str) -> tuple[KeptSession, int]:
        """Return the session that exactly these cookies keep, and until when they are good, in seconds since 1970.

        Raises:
            Sealed: There is none.
        """
        parts, sessions, ends = [], set(), []
        for number, (name, value) in enumerate(zip(self.names, given, strict=False), start=1):
            opened, until_s = self._sealer.open_until(value, bound_to=_binding(name, number, len(given)))
            parts.append(opened["part"])
            sessions.add(opened["session"])
            ends.append(until_s)
        text = "".join(parts)
        if sessions != {_digest(text)}:
            raise Sealed
        return _loaded(text), min(ends)

    def _header(self, name: str, value: str, max_age_s: int) -> Header:
        secure = "; Secure" if self._is_secure else ""
        return "Set-Cookie", f"{name}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}"


def fits_into_cookies(session: Session) -> bool:
    """Return whether *session* is small enough for cookies."""
    return len(_text_of(session)) <= MAX_CHUNKS * _CHUNK


def _text_of(session: Session) -> str:
    return _SEPARATOR.join([str(session.expires_at), session.refresh_token, session.access_token])


def _binding(name: str, number: int, count: int) -> str:
    return f"{name} {number}/{count}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _loaded(text: str) -> KeptSession:
    expires_at, refresh_token, access_token = text.split(_SEPARATOR, 2)
    return KeptSession(access_token, refresh_token, int(expires_at))
