"""The caller's address: from ``X-Real-IP``, believed only when a trusted proxy sent it, else the peer's.

``X-Forwarded-For`` is not believed: behind Railway its right-most entry is the platform's own, and anything
left of that is the caller's to write.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


#: No address with its zone is longer; the rest of a header need not be remembered.
_LONGEST: Final = 64


def parse(text: str) -> Address | None:
    """Read an address; ``::ffff:`` addresses are unmapped, zones dropped. None when it is none."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _text(text: str) -> str:
    """Write an address as everybody else writes it; empty when it is none."""
    address = parse(text)
    return "" if address is None else str(address)


class Addresses:
    """Tells who calls.

    Args:
        trusted_proxies: Networks whose ``X-Real-IP`` is believed.
    """

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = tuple(trusted_proxies)
        # Few peers come again and again: parsing and matching costs ten times the look-up.
        self.trusts = functools.lru_cache(maxsize=4096)(self._trusts)
        self._text = functools.lru_cache(maxsize=4096)(_text)

    def of(self, environ: Mapping[str, Any]) -> str:
        """Return the caller's address as text; empty when nobody knows it (a unix socket)."""
        peer = environ.get("REMOTE_ADDR", "")
        claimed = environ.get("HTTP_X_REAL_IP", "")[:_LONGEST] if self.trusts(peer) else ""
        return (claimed and self._text(claimed)) or self._text(peer)

    def _trusts(self, peer: str) -> bool:
        address = parse(peer)
        return address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )
