"""The settings the real server ran with, as the stand-in's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from supabase_standin import StandinConfig
from supabase_standin.config import RateLimit


def _flag(text: str) -> bool:
    return text == "true"


def _off(text: str) -> bool:
    return text != "true"


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()  # type: ignore[union-attr]
    return int(number) / (1000 if unit == "ms" else 1)


def _bucket(window_s: float) -> Callable[[str], RateLimit]:
    return lambda text: RateLimit(burst=30, per_s=int(text) / window_s)


def _anonymous(text: str) -> RateLimit:
    return RateLimit(burst=int(text), per_s=int(text) / 3600)


def _classes(text: str) -> tuple[str, ...]:
    return tuple(text.split(":"))


def _test_codes(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split(","))


#: The server's setting → the stand-in's, and how its value is read. None: said by another one.
FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]] | None]] = {
    "GOTRUE_MAILER_AUTOCONFIRM": ("autoconfirm", _flag),
    "GOTRUE_DISABLE_SIGNUP": ("signups", _off),
    "GOTRUE_EXTERNAL_EMAIL_ENABLED": ("email_logins", _flag),
    "GOTRUE_EXTERNAL_PHONE_ENABLED": ("phone_logins", _flag),
    "GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED": ("anonymous_users", _flag),
    "GOTRUE_EXTERNAL_EMAIL_MAGIC_LINK_ENABLED": ("magic_links", _flag),
    "GOTRUE_SECURITY_MANUAL_LINKING_ENABLED": ("manual_linking", _flag),
    "GOTRUE_SECURITY_UPDATE_PASSWORD_REQUIRE_REAUTHENTICATION": ("password_reauthentication", _flag),
    "GOTRUE_SECURITY_UPDATE_PASSWORD_REQUIRE_CURRENT_PASSWORD": ("password_needs_current", _flag),
    "GOTRUE_MAILER_SECURE_EMAIL_CHANGE_ENABLED": ("secure_email_change", _flag),
    "GOTRUE_MAILER_URLPATHS_CONFIRMATION": ("mail_verify_path", str),
    "GOTRUE_SMTP_MAX_FREQUENCY": ("mail_interval_s", _seconds),
    "GOTRUE_SMTP_PORT": ("smtp_down", lambda _: True),  # nobody listens there
    "GOTRUE_PASSWORD_MIN_LENGTH": ("password_min_length", int),
    "GOTRUE_PASSWORD_REQUIRED_CHARACTERS": ("password_required_characters", _classes),
    "GOTRUE_MFA_MAX_ENROLLED_FACTORS": ("max_factors", int),
    "GOTRUE_MFA_TOTP_ENROLL_ENABLED": ("totp_enroll", _flag),
    "GOTRUE_MFA_TOTP_VERIFY_ENABLED": ("totp_verify", _flag),
    "GOTRUE_MFA_PHONE_ENROLL_ENABLED": ("phone_enroll", _flag),
    "GOTRUE_MFA_RATE_LIMIT_CHALLENGE_AND_VERIFY": ("factor_rate_limit", _bucket(60)),
    "GOTRUE_RATE_LIMIT_OTP": ("otp_rate_limit", _bucket(300)),
    "GOTRUE_RATE_LIMIT_VERIFY": ("verify_rate_limit", _bucket(300)),
    "GOTRUE_RATE_LIMIT_TOKEN_REFRESH": ("rate_limit", _bucket(300)),
    "GOTRUE_RATE_LIMIT_ANONYMOUS_USERS": ("anonymous_rate_limit", _anonymous),
    "GOTRUE_RATE_LIMIT_EMAIL_SENT": ("mails_per_hour", int),
    "GOTRUE_CORS_ALLOWED_HEADERS": ("cors_headers", lambda text: tuple(text.split(","))),
    "GOTRUE_SMS_AUTOCONFIRM": ("phone_autoconfirm", _flag),
    "GOTRUE_SMS_PROVIDER": ("sms_provider", str),
    "GOTRUE_SMS_TEST_OTP": ("sms_test_codes", _test_codes),
    "GOTRUE_SMS_TWILIO_ACCOUNT_SID": None,
    "GOTRUE_SMS_TWILIO_AUTH_TOKEN": None,
    "GOTRUE_SMS_TWILIO_MESSAGE_SERVICE_SID": None,
}
#: What every recording was made with. It spoke to the server itself: without the edge in front.
COMMON: Final[Mapping[str, Any]] = {
    "edge": False,
    "autoconfirm": False,
    "site_url": "https://app.example.com",
    "redirect_urls": ("https://app.example.com/**", "https://*.preview.example.com/**", "myapp://callback"),
    "mail_interval_s": 0.001,
    "mail_link": "verify",
    "mail_verify_path": "/verify",
    "mails_per_hour": None,
    "rate_limit": None,
    "bcrypt_cost": 4,
    "version": "",
    "token_hook": None,
}
PROVIDER: Final = re.compile(r"GOTRUE_EXTERNAL_(KEYCLOAK|GITLAB)_(ENABLED|CLIENT_ID|SECRET|URL|REDIRECT_URI)")


def options(recorded: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of `StandinConfig` for the *recorded* settings of the real server."""
    found = dict(COMMON)
    for name, value in recorded.items():
        if PROVIDER.fullmatch(name):
            continue
        entry = FIELDS[name]
        if entry is not None:
            found[entry[0]] = entry[1](value)
    providers = {match[1].lower() for name in recorded if (match := PROVIDER.fullmatch(name))}
    if providers:
        has_address = any(name.endswith("_REDIRECT_URI") for name in recorded)
        found["providers"] = tuple(sorted(providers, reverse=True))
        found["provider_redirect_uri"] = "https://project.example.com/auth/v1/callback" if has_address else ""
    known = {field.name for field in fields(StandinConfig)}
    return {name: value for name, value in found.items() if name in known}
