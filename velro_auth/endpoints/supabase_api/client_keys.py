"""The API keys of Supabase's clients: which are taken, and why another one is not."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from velro_auth.auth.api_keys import opens_administration
from velro_auth.errors import ClientKeyRefused

_MISSING: Final = "Send the project's publishable key in the apikey header."
_UNKNOWN: Final = "This is not a publishable key of this gateway. AUTH_CLIENT_KEYS lists further keys."
_ADMINISTRATION: Final = (
    "This is a secret key. Here it would prove nothing, and it must not be in an app: use the publishable key."
    " Administration goes to the project's own address."
)


@dataclass(frozen=True)
class ClientKeys:
    """The keys that callers may send.

    Attributes:
        accepted: Publishable keys. A key's form proves nothing, so each one is listed.
    """

    accepted: Sequence[str] = field(repr=False)

    def check(self, key: str) -> None:
        """Return if *key* is one of them, after a comparison that takes the same time for all keys.

        Raises:
            ClientKeyRefused: It is missing, unknown or secret.
        """
        sent = key.encode("utf-8", "surrogatepass")
        found = [hmac.compare_digest(sent, accepted.encode()) for accepted in self.accepted]
        if key and any(found):
            return
        self.check_bearer(f"bearer {key}")
        reason, hint = ("no API key", _MISSING) if not key else ("an unknown API key", _UNKNOWN)
        raise _refused(reason, hint)

    def check_bearer(self, authorization: str) -> None:
        """Return if *authorization* holds no secret key. It would count for nothing, but it must not be in an app.

        Raises:
            ClientKeyRefused: It does.
        """
        if opens_administration(authorization.strip(" ").partition(" ")[2].strip(" ")):
            raise _refused("a secret API key", _ADMINISTRATION)


def _refused(reason: str, hint: str) -> ClientKeyRefused:
    error = ClientKeyRefused(reason)
    error.members = {"hint": hint}
    return error
