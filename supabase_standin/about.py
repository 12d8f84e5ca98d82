"""What the Auth service says of itself: its version and what is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from supabase_standin.config import StandinConfig

PROVIDERS: Final = (
    "anonymous_users",
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "snapchat",
    "figma",
    "fly",
    "github",
    "gitlab",
    "google",
    "keycloak",
    "kakao",
    "linkedin",
    "linkedin_oidc",
    "notion",
    "spotify",
    "slack",
    "slack_oidc",
    "workos",
    "twitch",
    "twitter",
    "email",
    "phone",
    "zoom",
)


def health(config: StandinConfig) -> Mapping[str, Any]:
    """Answer ``GET /health``."""
    about = "GoTrue is a user registration and authentication API"
    return {"version": config.version, "name": "GoTrue", "description": about}


def settings(config: StandinConfig) -> Mapping[str, Any]:
    """Answer ``GET /settings``; providers only the stand-in has come last."""
    external = dict.fromkeys(PROVIDERS, False)
    external |= {"anonymous_users": config.anonymous_users, "email": config.email_logins, "phone": config.phone_logins}
    external |= dict.fromkeys(config.providers, True)
    return {
        "external": external,
        "disable_signup": not config.signups,
        "mailer_autoconfirm": config.autoconfirm,
        "phone_autoconfirm": config.phone_autoconfirm,
        "sms_provider": config.sms_provider,
        "saml_enabled": False,
        "saml_private_key_next_configured": True,
        "passkeys_enabled": False,
    }
