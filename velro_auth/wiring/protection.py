"""Builds the protection of web pages around ``verify``."""

from __future__ import annotations

from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.protection import ProtectionEndpoint, SiteRules
from velro_auth.web.redirects import allowed_redirect


def protected(settings: Settings, verify: Endpoint) -> ProtectionEndpoint:
    """Return *verify* with the rules of the site and the way to the login."""
    site = SiteRules(
        access=settings.access_rules,
        is_broken=bool(settings.auth_rules_file) and settings.access_rules is None,
        login_url=settings.login_url,
        allowed=tuple(map(allowed_redirect, settings.redirect_urls)),
    )
    return ProtectionEndpoint(verify, site)
