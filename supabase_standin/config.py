"""What can be set about the stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

#: Fixed and plainly local, in the shape and length of the real ones.
LOCAL_PUBLISHABLE_KEY: Final = "sb_publishable_local0standin0only0AAAAA_00000000"
LOCAL_SECRET_KEY: Final = "sb_secret_local0standin0only0AAAAAAA_00000000"  # noqa: S105 - opens nothing but this


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """A token bucket per caller's address, as the hosted platform has it for ``/token``.

    Attributes:
        burst: How many requests may come at once.
        per_s: How many tokens come back each second; the platform's default is 150 in 5 minutes.
    """

    burst: int = 30
    per_s: float = 0.5


@dataclass(frozen=True, kw_only=True)
class StandinConfig:
    """Everything the stand-in can be told.

    Attributes:
        data_dir: Where the database and the signing keys are kept.
        host: The address to listen on; loopback only.
        port: The port, 0 for any free one.
        publishable_key: The key browsers may know.
        secret_key: The key that stands for ``service_role``.
        database_dsn: A running server to use, as its superuser; None starts one below *data_dir*.
        durable: False trades the database's crash safety for speed.
        bin_dir: PostgreSQL's programs; None finds them.
        open_tables: Grant new tables in ``public`` to the API roles, as projects born before 2026-10-30 do.
        pool_size: How many connections to the database each of the two services keeps at most.
        bcrypt_cost: Of new hashes; 4 to 31, the platform uses 10.
        password_min_length: In characters.
        autoconfirm: Whether a new account needs no mail.
        site_url: Where links and errors lead when no other address was asked for or allowed.
        redirect_urls: Further addresses links may lead to; globs whose ``*`` stops at ``.`` and ``/``.
        mail_link: ``verify`` links to the Auth service, as the original's default templates do; ``redirect``
            to the page itself, with ``token_hash`` and ``type`` in the query.
        mail_verify_path: The path of ``verify`` links.
        mail_interval_s: Between two mails of one kind to one user.
        mails_per_hour: Of the whole service; None for any number.
        mail_delay_ms: What sending one mail takes, to make visible what the timing of answers tells.
        smtp_url: ``smtp://user:password@host:port`` that gets a copy of each mail; None for the mailbox only.
        smtp_down: Whether every mail fails.
        otp_length: Digits of a mailed code.
        otp_exp_s: How long mailed codes and links are good.
        flow_state_exp_s: How long an authorization code is good.
        secure_email_change: Whether both addresses confirm a change.
        magic_links: Whether a mailed code or link may log in.
        password_required_characters: Sets of characters, of each of which a password needs one.
        password_reauthentication: Whether a new password needs a mailed nonce in sessions older than a day.
        password_needs_current: Whether a new password needs the present one.
        edge: Whether the platform's edge stands in front: it asks for an API key, answers preflights for every
            origin, and says whom a request comes from. False is the bare Auth server, which believes
            ``X-Forwarded-For`` and limits no caller without that header.
        secret_key_in_browsers: Whether the edge lets browsers use the secret key.
        cors_headers: Further request headers the bare server allows to other origins.
        version: What ``/health`` says.
        signing: ES256 with keys of its own, or HS256 with *jwt_secret*; then the JWKS is empty.
        jwt_secret: The secret of HS256.
        refresh_tokens_v2: Whether refresh tokens name their session and a counter instead of a row.
        anonymous_users: Whether a person may log in without an address.
        manual_linking: Whether users may add and remove identities.
        max_factors: Of one user, unverified ones too.
        totp_enroll: Whether TOTP factors may be enrolled.
        totp_verify: Whether TOTP factors may be challenged and verified.
        phone_enroll: Whether phone factors may be enrolled; none is ever verified here.
        factor_exp_s: How long a challenge is good, and how long an unverified factor waits for one.
        providers: The OAuth providers that are on: ``demo``, ``gitlab``, ``keycloak``. All are played by the stand-in.
        provider_redirect_uri: Where providers send users back to; None for ``/callback`` of the Auth service,
            empty for a provider without one.
        sms_provider: The name of the service that sends text messages; empty for none. No message is ever sent.
        sms_test_codes: Numbers without plus sign, and the code each always gets.
        sms_interval_s: Between two messages to one number.
        phone_autoconfirm: Whether a new number needs no message.
        signups: Whether strangers may sign up.
        email_logins: Whether a mail address and a password may log in.
        phone_logins: Whether a phone number and a password may log in.
        captcha: Whether login and sign-up need a captcha; any token but ``invalid`` passes.
        token_hook: ``schema.function`` that sees every token before it is signed; None for no hook.
        token_hook_required: Whether a missing function fails the login. False: it counts as switched off.
        token_hook_timeout_s: What the function may take.
        jwt_lifetime_s: Of an access token.
        refresh_reuse_s: How long a used refresh token may be used again.
        session_timebox_s: How long a session may live; None for ever.
        session_inactivity_s: How long a session may go without a refresh; None for ever.
        single_session: Whether a new login ends the older sessions of the same user.
        rate_limit: Of ``/token``, per address; None switches it off.
        otp_rate_limit: The same, of sign-up, ``/otp``, ``/recover``, ``/resend`` and ``PUT /user``, each by itself.
        verify_rate_limit: The same, of ``/verify``.
        anonymous_rate_limit: The same, of anonymous sign-ups.
        factor_rate_limit: The same, of challenging and of verifying a factor.
        forwarded_for: Whether ``Sb-Forwarded-For`` is believed, given the secret key.
        idle_close_s: Close connections that were idle for so long; None never does.
        max_requests_per_connection: Close a connection after so many answers; None never does.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    publishable_key: str = LOCAL_PUBLISHABLE_KEY
    secret_key: str = field(default=LOCAL_SECRET_KEY, repr=False)
    database_dsn: str | None = field(default=None, repr=False)
    durable: bool = True
    bin_dir: Path | None = None
    open_tables: bool = False
    pool_size: int = 12
    bcrypt_cost: int = 10
    password_min_length: int = 6
    autoconfirm: bool = True
    site_url: str = "http://localhost:3000"
    redirect_urls: tuple[str, ...] = ()
    mail_link: Literal["verify", "redirect"] = "verify"
    mail_verify_path: str = "/auth/v1/verify"
    mail_interval_s: float = 60.0
    mails_per_hour: int | None = None
    mail_delay_ms: float = 0.0
    smtp_url: str | None = field(default=None, repr=False)
    smtp_down: bool = False
    otp_length: int = 6
    otp_exp_s: float = 86400.0
    flow_state_exp_s: float = 300.0
    secure_email_change: bool = True
    magic_links: bool = True
    password_required_characters: tuple[str, ...] = ()
    password_reauthentication: bool = False
    password_needs_current: bool = False
    edge: bool = True
    secret_key_in_browsers: bool = False
    cors_headers: tuple[str, ...] = ()
    version: str = "v2.197.0"
    signing: Literal["ES256", "HS256"] = "ES256"
    jwt_secret: str = field(default="local-standin-secret-of-32-bytes!", repr=False)
    refresh_tokens_v2: bool = False
    anonymous_users: bool = False
    manual_linking: bool = False
    max_factors: int = 10
    totp_enroll: bool = True
    totp_verify: bool = True
    phone_enroll: bool = False
    factor_exp_s: float = 300.0
    providers: tuple[str, ...] = ()
    provider_redirect_uri: str | None = None
    sms_provider: str = ""
    sms_test_codes: Mapping[str, str] = field(default_factory=dict)
    sms_interval_s: float = 60.0
    phone_autoconfirm: bool = False
    signups: bool = True
    email_logins: bool = True
    phone_logins: bool = False
    captcha: bool = False
    token_hook: str | None = "velro_auth.custom_access_token_hook"  # noqa: S105 - a function
    token_hook_required: bool = False
    token_hook_timeout_s: float = 2.0
    jwt_lifetime_s: int = 3600
    refresh_reuse_s: float = 10.0
    session_timebox_s: float | None = None
    session_inactivity_s: float | None = None
    single_session: bool = False
    rate_limit: RateLimit | None = None
    otp_rate_limit: RateLimit | None = None
    verify_rate_limit: RateLimit | None = None
    anonymous_rate_limit: RateLimit | None = None
    factor_rate_limit: RateLimit | None = None
    forwarded_for: bool = True
    idle_close_s: float | None = None
    max_requests_per_connection: int | None = None
