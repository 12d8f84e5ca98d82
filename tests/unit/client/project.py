from __future__ import annotations

from typing import Any

from velro_auth_client.core.errors import UpstreamUnavailable

from tests.fixtures.tokens import ISSUER, SigningKey, claims_at, document

ONE = SigningKey("one")
URL = ISSUER.removesuffix("/auth/v1")


class Project:
    """The published keys, and how often they were fetched."""

    def __init__(self) -> None:
        self.fetches = 0
        self.is_down = False

    def __call__(self) -> bytes:
        self.fetches += 1
        if self.is_down:
            raise UpstreamUnavailable("down")
        return document([ONE])


def bearer(**changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {ONE.token(claims_at(**changes))}"}
