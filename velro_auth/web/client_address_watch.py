"""Notices from the first logins that their addresses cannot be right: limits would count invented callers, or one.

A proxy that does not send the header that is read makes all callers one: strangers' failures then refuse everybody. A
proxy that passes on what the client wrote there makes every guess a new caller. Neither can be seen from the settings.
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

#: How many logins are looked at; afterwards a login costs nothing more.
LOGINS: Final = 200

#: Before so many nothing is said of all of them.
ENOUGH: Final = 20

#: Headers in which proxies send the caller's address.
USUAL: Final = (REAL_IP, FORWARDED_FOR, "CF-Connecting-IP", "Fly-Client-IP", "True-Client-IP")

_PRIVATE: Final = Addresses([ipaddress.ip_network(network) for network in PRIVATE])

#: Sent by edges that overwrite X-Real-IP and keep a list of their own in X-Forwarded-For.
_OWN_LIST: Final = (key_of("X-Railway-Request-Id"), key_of("CF-Connecting-IP"))


class AddressWatch:
    """Looks at the first logins of a process, and says once what is wrong with their addresses.

    Args:
        addresses: How addresses are read.
        header: The header that they are read from.
    """

    def __init__(self, addresses: Addresses, *, header: str = REAL_IP) -> None:
        self._addresses = addresses
        self._header = header
        self._lock = threading.Lock()
        self._seen = self._bare = self._unlisted = 0
        self._sent_instead: set[str] = set()
        self._first = ""
        self._is_one = True
        self._trouble = ""
        self.is_open = True

    def look(self, environ: Mapping[str, Any]) -> None:
        """Look at one login."""
        with self._lock:
            if not self.is_open:
                return
            self._note(environ)
            trouble = self._found(environ.get("REMOTE_ADDR", "")) if self._seen >= ENOUGH else ""
            self._trouble = trouble
            self.is_open = not trouble and self._seen < LOGINS
        if trouble:
            logger.warning("the callers' addresses cannot be right", extra={"advice": trouble})

    def finding(self) -> Finding:
        """Return what ``/health/ready`` says."""
        with self._lock:
            return Finding("warn", self._trouble) if self._trouble else Finding("pass")

    def _note(self, environ: Mapping[str, Any]) -> None:
        peer, address = environ.get("REMOTE_ADDR", ""), self._addresses.of(environ)
        self._seen += 1
        self._first = self._first if self._seen > 1 else address
        self._is_one = self._is_one and address == self._first
        if not self._addresses.trusts(peer):
            return
        claimed = self._addresses.claimed(environ)
        if not claimed:
            self._bare += 1
            self._sent_instead.update(name for name in USUAL if environ.get(key_of(name)))
        elif self._header.lower() == REAL_IP.lower():
            self._unlisted += _is_unlisted(claimed, environ)

    def _found(self, peer: str) -> str:
        """Return what is wrong and what to do about it; empty for nothing."""
        instead = [name for name in USUAL if name in self._sent_instead and name != self._header]
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
    """Return whether a proxy's list of callers does not have the one that it claims."""
    listed = environ.get(key_of(FORWARDED_FOR), "")
    if not listed or any(environ.get(key) for key in _OWN_LIST):
        return False
    return claimed not in {str(parse(without_port(entry))) for entry in listed.split(",")[-16:]}
