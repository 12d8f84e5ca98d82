"""What Supabase's refusals mean for sign-up, confirmation, recovery and authorization codes."""

from __future__ import annotations

from typing import Final

from velro_auth import errors
from velro_auth.auth.oauth import WrongVerifier
from velro_auth.upstream import translate

#: Codes that Supabase answers only where it would send a mail.
_NO_MAIL: Final[translate.Codes] = {
    "over_email_send_rate_limit": errors.MailRefused,
    "email_address_invalid": errors.MailRefused,
    "email_address_not_authorized": errors.MailRefused,
}

_WEAK: Final = ("password", "Too weak for this project. Choose a longer one, with more kinds of characters.")
_SAME: Final = ("password", "This is the old password.")

#: ``POST /signup``. The order in which Supabase decides is in the contract of its surface, section 3.
SIGN_UP: Final = translate.Question(
    codes={
        **translate.ANYWHERE,
        **_NO_MAIL,
        "user_already_exists": errors.AlreadyRegistered,
        "email_exists": errors.AlreadyRegistered,
        "weak_password": errors.WeakPassword,
        "signup_disabled": errors.NotEnabled,
        "email_provider_disabled": errors.NotEnabled,
        "phone_provider_disabled": errors.NotEnabled,
        "validation_failed": errors.InvalidRequest,
        # A hook that is asked about new users only.
        "unknown": errors.Forbidden,
    },
    refused=errors.Forbidden,
    fields={"weak_password": _WEAK},
)

#: ``POST /otp``, ``/recover`` and ``/resend``. What depends on the account must look like a mail that was not sent.
MAIL: Final = translate.Question(
    codes={
        **translate.ANYWHERE,
        **_NO_MAIL,
        # With ``create_user`` off, unknown addresses are refused before this is looked at.
        "email_provider_disabled": errors.MailRefused,
        "otp_disabled": errors.MailRefused,
        "signup_disabled": errors.MailRefused,
        "user_not_found": errors.MailRefused,
        "user_banned": errors.MailRefused,
        "validation_failed": errors.InvalidRequest,
        "unknown": errors.MailRefused,
    },
    refused=errors.MailRefused,
)

#: ``POST /verify``.
VERIFY: Final = translate.Question(
    codes={
        **translate.ANYWHERE,
        "otp_expired": errors.LinkInvalid,
        "flow_state_not_found": errors.LinkInvalid,
        "flow_state_expired": errors.LinkInvalid,
        "user_not_found": errors.LinkInvalid,
        # Supabase answers this only after the right code.
        "user_banned": errors.LinkInvalid,
        "signup_disabled": errors.LinkInvalid,
        # Another user has taken the new address meanwhile.
        "email_exists": errors.LinkInvalid,
        "validation_failed": errors.InvalidRequest,
        "unknown": errors.LinkInvalid,
    },
    refused=errors.LinkInvalid,
)

#: ``PUT /user`` with a password.
PASSWORD: Final = translate.Question(
    # No nonce is sent.
    codes={**translate.PASSWORD_CODES, "reauthentication_not_valid": errors.ReauthenticationNeeded},
    refused=errors.TokenInvalid,
    fields={
        "weak_password": _WEAK,
        "same_password": _SAME,
        "validation_failed": ("password", "The authentication server does not accept this password."),
    },
)

#: ``POST /token?grant_type=pkce``. A ban, and a refusal of a hook, look like a wrong code.
PKCE_GRANT: Final = translate.Question(
    codes={
        **translate.ANYWHERE,
        "bad_code_verifier": WrongVerifier,
        "flow_state_not_found": errors.LinkInvalid,
        "flow_state_expired": errors.LinkInvalid,
        "flow_state_already_used": errors.LinkInvalid,
        "validation_failed": errors.LinkInvalid,
        "user_banned": errors.LinkInvalid,
        "user_not_found": errors.LinkInvalid,
        "unknown": errors.LinkInvalid,
    },
    refused=errors.LinkInvalid,
)
