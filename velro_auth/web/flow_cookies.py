"""Cookies that keep what a flow needs at its end: the PKCE verifier, and what its first request asked for.

A flow begins with one request of a browser and ends with another one: a sign-in with a provider, or a link in a mail.
Each flow has a cookie of its own, so several may be open in several tabs. The name of the cookie holds the flow's id.

* The value is sealed: the browser cannot read or change it. It opens only under its own name and for its own purpose.
* ``__Host-`` (RFC 6265bis, 4.1.3): no other host, such as a neighbouring subdomain, can set a cookie with this name.
  A request with the same cookie twice is a sign of such an attempt: both are ignored.
* The number and the size of the cookies are limited; the oldest ones are removed first.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from velro_auth.auth.pkce import challenge_of, new_verifier
from velro_auth.auth.sealing import Sealed, Sealer
from velro_auth.web.origins import OWN_MACHINE

Purpose: TypeAlias = Literal["oauth", "mail"]
Header: TypeAlias = tuple[str, str]

#: Purpose → how long a flow may take, in seconds. People read mails later than they answer a provider's page.
GOOD_FOR_S: Final[Mapping[Purpose, int]] = {"oauth": 600, "mail": 3600}
#: Flows of one purpose in one browser.
MAX_FLOWS: Final = 4
#: Characters of all flow cookies of a browser together. Requests may have 16 KiB of cookies, and the cookie of a
#: session may take 7 KiB of them.
MAX_CHARACTERS: Final = 6144

_BASE_NAME: Final = "velro_flow"
_ID_BYTES: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9_-]{16}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """A flow that began in this browser.

    Attributes:
        purpose: What kind of flow.
        id: The random name of the flow. It is no secret, but cannot be guessed.
        verifier: The PKCE verifier.
        started_s: When it began, in seconds since the epoch.
        data: Further values that the end of the flow needs.
    """

    purpose: Purpose
    id: str
    verifier: str = dataclasses.field(repr=False)
    started_s: float
    data: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def challenge(self) -> str:
        """The PKCE challenge, by the method S256."""
        return challenge_of(self.verifier)


class FlowCookies:
    """Makes, reads and removes the cookies of flows.

    Args:
        keys: Keys that seal the cookies, as ``sealing.sealing_keys`` returns them.
        public_url: The address of this service for browsers. On this machine without TLS (``http://localhost:…``) the
            cookies have neither ``__Host-`` nor ``Secure``; with every other address they do.
        now: The wall clock, in seconds since the epoch.
    """

    def __init__(self, keys: Sequence[bytes], *, public_url: str = "", now: Callable[[], float] = time.time) -> None:
        parts = urlsplit(public_url)
        self._is_secure = not (parts.scheme == "http" and parts.hostname in OWN_MACHINE)
        self._sealer = Sealer(keys, "flow", now=now)
        self._now = now

    def new(self, purpose: Purpose, data: Mapping[str, str] | None = None) -> Flow:
        """Return a new flow with a verifier of its own. :meth:`keep` hands it to the browser."""
        return Flow(purpose, secrets.token_urlsafe(_ID_BYTES), new_verifier(), self._now(), data or {})

    def keep(self, flow: Flow, request: Request) -> list[Header]:
        """Return the header fields that put *flow* into the browser of *request*, and older ones out of it."""
        name, good_for_s = self._name(flow.purpose, flow.id), GOOD_FOR_S[flow.purpose]
        # Whole microseconds: the length of a cookie must not vary.
        value = {"verifier": flow.verifier, "started_us": int(flow.started_s * 1e6), "data": dict(flow.data)}
        sealed = self._sealer.seal(value, good_for_s=good_for_s, bound_to=name)
        surplus = self._surplus(flow.purpose, request, len(name) + len(sealed))
        return [self._header(name, sealed, good_for_s), *(self._header(other, "", 0) for other in surplus)]

    def find(self, purpose: Purpose, flow_id: str, request: Request) -> Flow | None:
        """Return a flow of this browser; None without its cookie, or with a wrong or expired one."""
        return self._opened(purpose, flow_id, request) if _ID.fullmatch(flow_id) else None

    def all(self, purpose: Purpose, request: Request) -> list[Flow]:
        """Return the flows of this browser, the newest first."""
        prefix = self._name(purpose, "")
        found = [
            flow
            for name in request.cookies
            if name.startswith(prefix) and (flow := self.find(purpose, name.removeprefix(prefix), request))
        ]
        return sorted(found, key=lambda flow: flow.started_s, reverse=True)[:MAX_FLOWS]

    def end(self, flow: Flow) -> Header:
        """Return the header field that removes the cookie of *flow*."""
        return self._header(self._name(flow.purpose, flow.id), "", 0)

    def _name(self, purpose: Purpose, flow_id: str) -> str:
        return f"{'__Host-' if self._is_secure else ''}{_BASE_NAME}_{purpose}_{flow_id}"

    def _header(self, name: str, value: str, max_age_s: int) -> Header:
        secure = "; Secure" if self._is_secure else ""
        return "Set-Cookie", f"{name}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def _opened(self, purpose: Purpose, flow_id: str, request: Request) -> Flow | None:
        name = self._name(purpose, flow_id)
        values = request.cookies.getlist(name)
        if len(values) != 1:
            return None
        try:
            opened = self._sealer.open(values[0], bound_to=name)
        except Sealed:
            return None
        return Flow(purpose, flow_id, opened["verifier"], opened["started_us"] / 1e6, opened["data"])

    def _surplus(self, purpose: Purpose, request: Request, characters: int) -> list[str]:
        """Return the names of the cookies that have to go when one with so many characters comes.

        First those that cannot be opened any more, then the oldest ones.
        """
        kept: list[tuple[float, str, Purpose]] = []
        surplus: list[str] = []
        for kind in GOOD_FOR_S:
            prefix = self._name(kind, "")
            for name in [name for name in request.cookies if name.startswith(prefix)]:
                flow = self.find(kind, name.removeprefix(prefix), request)
                if flow is None:
                    surplus.append(name)
                else:
                    kept.append((flow.started_s, name, kind))
        same_purpose = 1
        for _, name, kind in sorted(kept, reverse=True):
            characters += len(name) + len(request.cookies[name])
            same_purpose += kind == purpose
            if characters > MAX_CHARACTERS or (kind == purpose and same_purpose > MAX_FLOWS):
                surplus.append(name)
        return surplus
