"""Checks the client addresses of the first logins and warns when they cannot be right.

If a proxy does not send the header that is read, all clients seem to be one: failures of strangers then lock all users
out. If a proxy passes on a header that the client wrote, every guess seems to come from a new client. The settings
alone show neither.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from velro_auth.health_checks import Finding
from velro_auth.web.client_address import FORWARDED_FOR, PRIVATE, REAL_IP, Addresses, key_of, parse, without_port

logger = logging.getLogger("velro_auth.web.client_address")

#: How many logins are checked; later logins cost nothing.
MAX_LOGINS: Final = 200

#: No warning before this many logins.
MIN_LOGINS: Final = 20

#: Headers in which proxies send the client's address.
KNOWN_HEADERS: Final = (REAL_IP, FORWARDED_FOR, "CF-Connecting-IP", "Fly-Client-IP", "True-Client-IP")

_PRIVATE: Final = Addresses([ipaddress.ip_network(network) for network in PRIVATE])

#: Sent by platforms that overwrite X-Real-IP and write a list of their own into X-Forwarded-For.
_PLATFORM_KEYS: Final = (key_of("X-Railway-Request-Id"), key_of("CF-Connecting-IP"))


class AddressWatch:
    """Checks the first logins of a process, and warns once."""

    def __init__(self, addresses: Addresses, *, header: str = REAL_IP) -> None:
        self._addresses = addresses
        self._header = header
        self._lock = threading.Lock()
        self._seen = self._bare = self._unlisted = 0
        self._sent_instead: set[str] = set()
        self._first = ""
        self._is_one = True
        self._problem = ""
        self.is_open = True

    def look(self, environ: Mapping[str, Any]) -> None:
        """Check one login."""
        with self._lock:
            if not self.is_open:
                return
            self._count(environ)
            problem = self._diagnosis(environ.get("REMOTE_ADDR", "")) if self._seen >= MIN_LOGINS else ""
            self._problem = problem
            self.is_open = not problem and self._seen < MAX_LOGINS
        if problem:
            logger.warning("the callers' addresses cannot be right", extra={"advice": problem})

    def finding(self) -> Finding:
        """Return the health check for ``/health/ready``."""
        with self._lock:
            return Finding("warn", self._problem) if self._problem else Finding("pass")

    def _count(self, environ: Mapping[str, Any]) -> None:
        peer, address = environ.get("REMOTE_ADDR", ""), self._addresses.of(environ)
        self._seen += 1
        self._first = self._first if self._seen > 1 else address
        self._is_one = self._is_one and address == self._first
        if not self._addresses.trusts(peer):
            return
        claimed = self._addresses.claimed(environ)
        if not claimed:
            self._bare += 1
            self._sent_instead.update(name for name in KNOWN_HEADERS if environ.get(key_of(name)))
        elif self._header.lower() == REAL_IP.lower():
            self._unlisted += _is_unlisted(claimed, environ)

    def _diagnosis(self, peer: str) -> str:
        """Return what is wrong and what to do about it; empty when nothing is wrong."""
        instead = [name for name in KNOWN_HEADERS if name in self._sent_instead and name != self._header]
        if 2 * self._bare > self._seen and instead:
            return (
                f"the proxy at {peer} sends {instead[0]} and not {self._header}, so limits count all callers as one:"
                f" set AUTH_CLIENT_IP_HEADER={instead[0]}, or have the proxy set {self._header}"
            )
        if 2 * self._unlisted > self._seen:
            return (
                f"the proxy at {peer} sends a {REAL_IP} that its {FORWARDED_FOR} does not name, so the client may have"
                f" written it: have the proxy overwrite {REAL_IP}, or set AUTH_CLIENT_IP_HEADER={FORWARDED_FOR}"
            )
        if self._is_one and (not self._first or _PRIVATE.trusts(self._first)):
            return (
                f"all of the first {self._seen} logins came from {self._first or 'an unknown address'}, so limits count"
                f" all callers as one: have the proxy there send the caller's address in {self._header}, and list it in"
                " TRUSTED_PROXIES"
            )
        return ""


def _is_unlisted(claimed: str, environ: Mapping[str, Any]) -> bool:
    """Return whether a proxy's ``X-Forwarded-For`` lacks the address in its ``X-Real-IP``."""
    listed = environ.get(key_of(FORWARDED_FOR), "")
    if not listed or any(environ.get(key) for key in _PLATFORM_KEYS):
        return False
    return claimed not in {str(parse(without_port(entry))) for entry in listed.split(",")[-16:]}
