"""Does Supabase count callers by the address that is passed on, or all of them as one?"""

from __future__ import annotations

import secrets
from typing import Final

from velro_auth.errors import UpstreamError
from velro_auth.upstream.transport.transport import Transport

#: How long the answer may take: a refused login waits for it.
DEADLINE_S: Final = 1.0

_TOO_MANY: Final = 429


class ForwardingProof:
    """Asks for an empty login in the name of an address that never called before.

    Where callers are counted one by one, that address has all its calls left. A 429 for it means that it was counted
    with the others. Sound right after another 429 only: at other times the common count has room as well.

    Args:
        transport: The way to the project, with the key that logins are sent with.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._request = transport.prepare("POST", "/auth/v1/token?grant_type=password")

    def __call__(self) -> bool | None:
        """Return whether all callers count as one; None where Supabase cannot be asked."""
        headers = {"Sb-Forwarded-For": _unheard_of()}
        try:
            return self._transport.send(self._request, b"{}", headers, deadline_s=DEADLINE_S).status == _TOO_MANY
        except UpstreamError:
            return None


def _unheard_of() -> str:
    """Return an address of the documentation's range (RFC 3849), which no caller has."""
    digits = secrets.token_hex(12)
    return "2001:db8:" + ":".join(digits[place : place + 4] for place in range(0, len(digits), 4))
