"""The caller's address: from a header that a trusted proxy sent, else the peer's.

By default that is ``X-Real-IP``, which Railway's edge overwrites. ``X-Forwarded-For`` is believed only where a setting
names it: behind Railway its right-most entry is the platform's own. What a caller wrote stands on the left of it, so it
is read from the right, by as many entries as there are trusted proxies.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Loopback, private ranges, and the shared address space (RFC 6598) that Railway's edge connects from.
PRIVATE: Final = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "100.64.0.0/10",
)

#: The header that is read by default.
REAL_IP: Final = "X-Real-IP"

#: The one header that is a list: each proxy adds the address that it was called from.
FORWARDED_FOR: Final = "X-Forwarded-For"

#: No address with its zone is longer; the rest of a header need not be remembered.
_LONGEST: Final = 64


def parse(text: str) -> Address | None:
    """Read an address; ``::ffff:`` addresses are unmapped, zones dropped. None when it is none."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def without_port(text: str) -> str:
    """Return an address as some proxies write it, ``192.0.2.1:4711`` or ``[2001:db8::1]:443``, without the port."""
    text = text.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def key_of(header: str) -> str:
    """Return what WSGI calls *header*."""
    return "HTTP_" + header.upper().replace("-", "_")


def _text(text: str) -> str:
    """Write an address as everybody else writes it; empty when it is none."""
    address = parse(without_port(text))
    return "" if address is None else str(address)


class Addresses:
    """Tells who calls.

    Args:
        trusted_proxies: Networks whose header is believed.
        header: The header that has the caller's address.
        hops: Which entry of ``X-Forwarded-For`` is the caller's, counted from the right: the number of proxies that add
            to it. Other headers have one entry.
    """

    def __init__(self, trusted_proxies: Sequence[Network], *, header: str = REAL_IP, hops: int = 1) -> None:
        self._trusted = tuple(trusted_proxies)
        self._key = key_of(header)
        self._hops = hops if self._key == key_of(FORWARDED_FOR) else 0
        # Few peers come again and again: parsing and matching costs ten times the look-up.
        self.trusts = functools.lru_cache(maxsize=4096)(self._trusts)
        self._text = functools.lru_cache(maxsize=4096)(_text)

    def of(self, environ: Mapping[str, Any]) -> str:
        """Return the caller's address as text; empty when nobody knows it (a unix socket)."""
        peer = environ.get("REMOTE_ADDR", "")
        return (self.claimed(environ) if self.trusts(peer) else "") or self._text(peer)

    def claimed(self, environ: Mapping[str, Any]) -> str:
        """Return the address that the header names; empty where it names none."""
        value: str = environ.get(self._key, "")
        if self._hops and value:
            # With fewer entries than proxies one was passed by: the left-most is by the one that called here.
            entries = value.rsplit(",", self._hops)
            value = entries[-min(self._hops, len(entries))]
        return value and self._text(value[:_LONGEST])

    def _trusts(self, peer: str) -> bool:
        address = parse(peer)
        return address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )
