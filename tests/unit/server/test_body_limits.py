"""Which requests have their body read."""

from __future__ import annotations

import pytest
from gunicorn.config import Config

from velro_auth.server.request_head import ParserSettings

LIMITS = {("POST", "/token"): 10, ("POST", "/factors/<factor_id>/verify"): 20, ("DELETE", "/factors/<factor_id>"): 30}


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/token", 10),
        ("POST", "/token/", 10),
        ("PUT", "/token", 0),
        ("POST", "/factors/7c9b/verify", 20),
        ("POST", "/factors/7c9b/verify/", 20),
        ("POST", "/factors/7c9b/other/verify", 0),
        ("POST", "/factors//verify", 0),
        ("DELETE", "/factors/7c9b", 30),
        ("POST", "/factors/7c9b", 0),
        ("POST", "/nowhere", 0),
    ],
)
def test_a_placeholder_stands_for_one_segment(method: str, path: str, limit: int) -> None:
    """Without this, the code of a second factor would never be read."""
    settings = ParserSettings(Config(), body_limits=lambda: LIMITS)

    assert settings.body_limit(method, path, is_origin_form=True) == limit
