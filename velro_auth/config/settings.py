"""All settings, read from the environment and from the environment file; the only reader of ``os.environ``.

The file wins over the environment: the environment of a running process cannot change, so an edit of the file would
have no effect for a variable that is set in both.

An error never stops the process, because a process that restarts again and again cannot show what is wrong. All
errors are collected in ``Settings.errors``. While there is one, login answers 503 ``upstream_misconfigured``, the log
and ``velro-auth config check`` name the variable to set, and ``/health`` still answers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_type_hints
from urllib.parse import urlsplit

from velro_auth.auth.access_rules import AccessRules
from velro_auth.config import sources
from velro_auth.config.fields import (
    Environment,
    Network,
    Spec,
    a_brand_name,
    a_client_key,
    a_color,
    a_header_with_an_address,
    a_login_url,
    a_logo,
    a_network,
    a_pages_folder,
    a_pattern,
    a_provider,
    a_public_url,
    a_redirect,
    a_redis_address,
    a_relay_secret,
    a_request_header,
    a_sealing_key,
    an_origin,
    between,
    one_of,
    setting,
)
from velro_auth.config.rules_file import read_rules_file
from velro_auth.config.validation import LEGACY, RETIRED, SettingError, misspelt, project_errors
from velro_auth.guards.keys import project_prefix
from velro_auth.web.client_address import PRIVATE, REAL_IP
from velro_auth.web.origins import OWN_MACHINE, has_bare_dot, normal_origin

MASKED_CHARACTERS: Final = 6

#: User and password in an address (RFC 3986, 3.2.1).
_USERINFO: Final = re.compile(r"//[^/?#\s]*@")

#: No page has this origin (RFC 6761, 6.4).
_FOREIGN_ORIGIN: Final = "https://somebody.invalid"

Origin: TypeAlias = Literal["environment", "file", "default"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of all settings, already checked.

    Each field has its variable, its default and one sentence; ``.env.example`` and
    ``docs/reference/settings.md`` are made from them.
    """

    supabase_url: str = setting(
        "SUPABASE_URL", "", "Address of the Supabase project, for example `https://<ref>.supabase.co`."
    )
    supabase_publishable_key: str = setting(
        "SUPABASE_PUBLISHABLE_KEY",
        "",
        "Publishable API key (`sb_publishable_…`, or the older `anon` key). With it the service finds out whether the"
        " project demands a captcha, and demands it too.",
        aliases=("SUPABASE_ANON_KEY",),
        secret=True,
    )
    supabase_secret_key: str = setting(
        "SUPABASE_SECRET_KEY",
        "",
        "Secret API key (`sb_secret_…`, or the older `service_role` key). Needed to pass on the caller's"
        " address, without which Supabase counts all logins against one address.",
        aliases=("SUPABASE_SERVICE_ROLE_KEY",),
        secret=True,
    )
    auth_fast_login: bool = setting(
        "AUTH_FAST_LOGIN",
        True,
        "Answer login in the fast lane, without a profile query. Off: login goes through Flask and its"
        " extensions and reads the profile row.",
        at_run_time=True,
    )
    auth_forward_client_ip: str = setting(
        "AUTH_FORWARD_CLIENT_IP",
        "auto",
        "Pass the caller's address to Supabase (`Sb-Forwarded-For`): `auto` does when the secret key starts"
        " with `sb_secret_`, `on` and `off` decide.",
        check=one_of("auto", "on", "off"),
        at_run_time=True,
    )
    auth_captcha: str = setting(
        "AUTH_CAPTCHA",
        "auto",
        "The project demands a captcha, which a secret key would skip: with `on` logins and refreshes go with the"
        " publishable key and without the caller's address, with `off` they never do, `auto` finds out"
        " (docs/how-to/captcha.md).",
        check=one_of("auto", "on", "off"),
    )
    auth_max_body_bytes: int = setting(
        "AUTH_MAX_BODY_BYTES",
        16 * 1024,
        "Largest request body, in bytes.",
        check=between(1024, 1024 * 1024),
        at_run_time=True,
    )
    upstream_connect_timeout_s: float = setting(
        "UPSTREAM_CONNECT_TIMEOUT_S",
        2.0,
        "How long a connection to Supabase may take to open, in seconds.",
        check=between(0.1, 30),
    )
    upstream_deadline_s: float = setting(
        "UPSTREAM_DEADLINE_S",
        5.0,
        "How long one call to Supabase may take in all, in seconds.",
        check=between(0.2, 60),
    )
    supabase_jwt_secret: str = setting(
        "SUPABASE_JWT_SECRET",
        "",
        "Secret of a project that signs with HS256. Without it such tokens are left to Supabase to judge.",
        secret=True,
    )
    auth_issuers: Sequence[str] = setting(
        "AUTH_ISSUERS",
        (),
        "Accepted issuers of access tokens, comma separated. Default: `<SUPABASE_URL>/auth/v1`; add the project's"
        " own address beside a custom domain.",
    )
    auth_verify_mode: str = setting(
        "AUTH_VERIFY_MODE",
        "local",
        "`local` judges tokens here; `strict` also asks Supabase, which knows of bans and sessions ended elsewhere.",
        check=one_of("local", "strict"),
        at_run_time=True,
    )
    auth_verify_cache_s: float = setting(
        "AUTH_VERIFY_CACHE_S",
        60.0,
        "How long an answer of Supabase about a token is believed, in seconds; never beyond the token's end.",
        check=between(0, 300),
        at_run_time=True,
    )
    login_concurrency: int = setting(
        "LOGIN_CONCURRENCY",
        0,
        "Logins that may ask Supabase at once, per process. 0: three quarters of the threads. The others stay"
        " free for probes and `verify`, whatever Supabase does.",
        check=between(0, 512),
        at_run_time=True,
    )
    login_queue_s: float = setting(
        "LOGIN_QUEUE_S",
        0.25,
        "How long a login waits for one of those places, in seconds; then it is answered 503 `busy`.",
        check=between(0, 30),
        at_run_time=True,
    )
    auth_session_calls_per_s: float = setting(
        "AUTH_SESSION_CALLS_PER_S",
        20.0,
        "Refreshes, and likewise logouts and calls of `sessions`, that one network (/24, or /64 of IPv6) may make per"
        " second in the long run, per process; of `me` five times as many. Half a minute's worth may come at once.",
        check=between(0.1, 100_000),
        at_run_time=True,
    )
    auth_failure_floor_ms: float = setting(
        "AUTH_FAILURE_FLOOR_MS",
        350.0,
        "Refused logins are answered at the next multiple of so many milliseconds after their arrival, so that"
        " time does not tell who has an account. 0 switches it off.",
        check=between(0, 5000),
        at_run_time=True,
    )
    auth_mail_delay_ms: float = setting(
        "AUTH_MAIL_DELAY_MS",
        1500.0,
        "Requests that may send a mail are answered so many milliseconds after their arrival, or at the next multiple,"
        " so that the response time does not reveal whether an account exists. 0 switches it off.",
        check=between(0, 30_000),
        at_run_time=True,
    )
    auth_mail_budget_per_hour: int = setting(
        "AUTH_MAIL_BUDGET_PER_HOUR",
        25,
        "Mails that Supabase may be asked to send per hour, for all users together. Half of them are kept for networks"
        " that logged in before. Supabase's built-in mail server sends 30.",
        check=between(1, 1_000_000),
        at_run_time=True,
    )
    auth_guards: str = setting(
        "AUTH_GUARDS",
        "on",
        "`on` refuses what exceeds the limits on tries and mails; `report` only counts and logs it"
        " (`velro-auth guard report`).",
        check=one_of("on", "report"),
        at_run_time=True,
    )
    auth_redirect_urls: Sequence[str] = setting(
        "AUTH_REDIRECT_URLS",
        (),
        "Addresses that `redirect_to` may name, comma separated: an origin (`https://app.example.com`) allows all of"
        " its pages, with a path (`https://app.example.com/auth/`) only the pages below it. List them in the project"
        " too (Authentication, URL configuration).",
        convert=a_redirect,
        at_run_time=True,
    )
    auth_supabase_api: bool = setting(
        "AUTH_SUPABASE_API",
        False,
        "Also answer `/auth/v1/*` in Supabase's own format, for Supabase's own clients: `createClient` with the address"
        " of this service. Needs SUPABASE_PUBLISHABLE_KEY or AUTH_CLIENT_KEYS.",
        at_run_time=True,
    )
    auth_client_keys: Sequence[str] = setting(
        "AUTH_CLIENT_KEYS",
        (),
        "Further publishable keys that Supabase's clients may send to `/auth/v1/*`, comma separated: an older `anon`"
        " key, or one for each app. Never a secret key.",
        secret=True,
        convert=a_client_key,
        at_run_time=True,
    )
    auth_public_url: str = setting(
        "AUTH_PUBLIC_URL",
        "",
        "The address at which browsers reach this service, such as `https://auth.example.com`. Sign-in with a provider"
        " needs it: the provider's answer comes back there. The Host header is never used for this.",
        check=a_public_url,
        at_run_time=True,
    )
    auth_cookie_keys: Sequence[str] = setting(
        "AUTH_COOKIE_KEYS",
        (),
        "Keys that seal cookies and tickets, comma separated, at least 32 characters each: the first one seals, all of"
        " them open. Default: made from the secret Supabase key; without one, random at each start.",
        secret=True,
        convert=a_sealing_key,
        at_run_time=True,
    )
    auth_cookie_sessions: bool = setting(
        "AUTH_COOKIE_SESSIONS",
        False,
        "Keep sessions of browsers in sealed cookies, so that no page sees a token: docs/how-to/cookie-sessions.md. Set"
        " `AUTH_PUBLIC_URL` too. The pages of `AUTH_PAGES` do not need it.",
        at_run_time=True,
    )
    auth_pages: bool = setting(
        "AUTH_PAGES",
        False,
        "Answer `/login`, `/signup`, `/forgot`, `/reset`, `/confirm` and `/account` with pages for people:"
        " docs/how-to/pages.md. Needs `AUTH_PUBLIC_URL`.",
        at_run_time=True,
    )
    auth_pages_providers: Sequence[str] = setting(
        "AUTH_PAGES_PROVIDERS",
        (),
        "Providers that `/login` has a button for, comma separated, by Supabase's names: `google,github`. Switch each"
        " of them on in the project.",
        convert=a_provider,
        at_run_time=True,
    )
    auth_pages_dir: str = setting(
        "AUTH_PAGES_DIR",
        "",
        "Folder with files that replace those of the pages: templates (`login.html`), messages (`en.toml`), and"
        " `brand.css` for further styles. Read at the start and at a reload.",
        check=a_pages_folder,
        at_run_time=True,
    )
    auth_brand_name: str = setting(
        "AUTH_BRAND_NAME",
        "",
        "Name of the product on the pages, at most 60 characters. Default: the host of `AUTH_PUBLIC_URL`.",
        check=a_brand_name,
        at_run_time=True,
    )
    auth_brand_logo: str = setting(
        "AUTH_BRAND_LOGO",
        "",
        "Logo on the pages: the path of a file (SVG, PNG, WebP, JPEG; at most 64 KiB), or an https address.",
        check=a_logo,
        at_run_time=True,
    )
    auth_brand_color: str = setting(
        "AUTH_BRAND_COLOR",
        "#2f5fd0",
        "Colour of buttons and links on the pages, as `#rrggbb`. Where it has too little contrast, a darker or lighter"
        " shade of it is used.",
        check=a_color,
        at_run_time=True,
    )
    auth_relay_secret: str = setting(
        "AUTH_RELAY_SECRET",
        "",
        "With cookie sessions: a gateway that sends this secret to `verify` in `X-Velro-Relay`, at least 32 characters,"
        " gets the access token in `X-Auth-Access-Token`, for the backend. Empty: no gateway does.",
        secret=True,
        check=a_relay_secret,
        at_run_time=True,
    )
    auth_login_url: str = setting(
        "AUTH_LOGIN_URL",
        "",
        "The page that `verify?on_fail=login` leads to; the address asked for comes along in `rd`. A path, such as"
        " `/login`, is one on the host that was asked for. Default: `/login` of `AUTH_PUBLIC_URL`.",
        check=a_login_url,
        at_run_time=True,
    )
    auth_rules_file: str = setting(
        "AUTH_RULES_FILE",
        "",
        "File of rules, in TOML: who may reach which part of a site behind a gateway. SIGHUP reads it anew:"
        " docs/how-to/protect-a-site.md.",
        at_run_time=True,
    )
    auth_throttle_scale: float = setting(
        "AUTH_THROTTLE_SCALE",
        1.0,
        "All limits on failed logins times so much; more than 1 opens them for a test.",
        check=between(0.01, 1_000_000),
        at_run_time=True,
    )
    auth_throttle_secret: str = setting(
        "AUTH_THROTTLE_SECRET",
        "",
        "Key of the names under which failed logins are counted. Default: made from the secret Supabase key. Without"
        " one it is random at each start, or made from the publishable key where `REDIS_URL` is set.",
        secret=True,
    )
    auth_challenge: str = setting(
        "AUTH_CHALLENGE",
        "auto",
        "What a login gets that would be refused only because others failed: `auto` gives a proof of work to solve"
        " (429 `challenge_required`), `off` has it wait (429 `too_many_attempts`).",
        check=one_of("auto", "off"),
        at_run_time=True,
    )
    auth_replicas: int = setting(
        "AUTH_REPLICAS",
        0,
        "Instances of this service. Each takes its part of the limits while there is no REDIS_URL, or Redis is away. 0:"
        " with REDIS_URL they count themselves, without it there is one.",
        check=between(0, 1000),
        at_run_time=True,
    )
    auth_upstream_quota: str = setting(
        "AUTH_UPSTREAM_QUOTA",
        "auto",
        "Keep below Supabase's rate limit for our address: `auto` does unless the caller's address is forwarded,"
        " `on` and `off` decide. A self-hosted project may have no limit.",
        check=one_of("auto", "on", "off"),
        at_run_time=True,
    )
    upstream_quota_burst: int = setting(
        "UPSTREAM_QUOTA_BURST",
        29,
        "Logins that Supabase takes at once from one address.",
        check=between(1, 100_000),
        at_run_time=True,
    )
    upstream_quota_refill_s: float = setting(
        "UPSTREAM_QUOTA_REFILL_S",
        2.0,
        "Seconds after which it takes one more.",
        check=between(0.001, 3600),
        at_run_time=True,
    )
    redis_url: str = setting(
        "REDIS_URL",
        "",
        "Redis or Valkey for what several processes share: failed logins, refreshes under way, ended sessions."
        " `redis://`, `rediss://`, `unix://`, `redis+sentinel://a,b,c/name`, `redis+cluster://a,b,c`; `valkey` for"
        " `redis` in each.",
        secret=True,
        check=a_redis_address,
    )
    database_url: str = setting(
        "DATABASE_URL",
        "",
        "The project's database as the role `postgres`; `velro-auth db` needs it, the service does not.",
        secret=True,
    )
    upstream_warm_connections: int = setting(
        "UPSTREAM_WARM_CONNECTIONS",
        2,
        "Connections to Supabase kept open ahead of use, per process. 0 switches it off, and lets a platform put"
        " the service to sleep.",
        check=between(0, 32),
    )
    upstream_warm_every_s: float = setting(
        "UPSTREAM_WARM_EVERY_S", 30.0, "An idle one is tried after so many seconds.", check=between(1, 300)
    )
    cors_origins: Sequence[str] = setting(
        "CORS_ORIGINS",
        (),
        "Origins whose pages may call this service, comma separated or a JSON list: `https://app.example.com`, with one"
        " label as a wildcard (`https://*.vercel.app`), or with any port (`http://localhost:*`). Pages of the last two"
        " cannot send cookies. Never `*`.",
        convert=an_origin,
        at_run_time=True,
    )
    cors_origin_regex: str = setting(
        "CORS_ORIGIN_REGEX",
        "",
        "One pattern for further origins, of up to 128 characters; it has to match the whole origin. Their pages cannot"
        " send cookies.",
        check=a_pattern,
        at_run_time=True,
    )
    cors_allow_headers: Sequence[str] = setting(
        "CORS_ALLOW_HEADERS",
        (),
        "Further headers that those pages may send, comma separated. What Supabase's clients, tracing and common"
        " frameworks send is allowed already.",
        convert=a_request_header,
        at_run_time=True,
    )
    trusted_proxies: Sequence[Network] = setting(
        "TRUSTED_PROXIES",
        tuple(map(a_network, PRIVATE)),
        "Networks of proxies that are believed when they name the caller's address, comma separated. Default: loopback,"
        " private ranges and 100.64.0.0/10.",
        convert=a_network,
        at_run_time=True,
    )
    auth_client_ip_header: str = setting(
        "AUTH_CLIENT_IP_HEADER",
        REAL_IP,
        "The header in which trusted proxies send the caller's address. It must be one that they overwrite, or"
        " `X-Forwarded-For`, to which they add.",
        check=a_header_with_an_address,
        at_run_time=True,
    )
    auth_trusted_hops: int = setting(
        "AUTH_TRUSTED_HOPS",
        1,
        "How many proxies add to `X-Forwarded-For`: the caller's address is the entry that many from the right.",
        check=between(1, 16),
        at_run_time=True,
    )
    port: int = setting("PORT", 8000, "Port to listen on.", check=between(1, 65535))
    web_concurrency: int = setting(
        "WEB_CONCURRENCY",
        1,
        "Worker processes. gunicorn reads it too, and does not start on what is no number.",
        check=between(1, 64),
    )
    gunicorn_threads: int = setting("GUNICORN_THREADS", 32, "Threads per worker process.", check=between(2, 512))
    gunicorn_worker_class: str = setting(
        "GUNICORN_WORKER_CLASS",
        "velro_auth.server.worker.Worker",
        "Worker class; `gthread` is gunicorn's own. See docs/explanation/worker.md.",
        check=one_of("velro_auth.server.worker.Worker", "gthread"),
    )
    worker_cpu_affinity: bool = setting(
        "WORKER_CPU_AFFINITY", True, "Pin each worker to a core where workers do not outnumber cores."
    )
    log_level: str = setting(
        "LOG_LEVEL",
        "info",
        "Least important level that is logged.",
        check=one_of("debug", "info", "warning", "error"),
        at_run_time=True,
    )
    log_format: str = setting(
        "LOG_FORMAT",
        "auto",
        "`json` writes an object a line for programs, `text` short lines for people; `auto` is text where stdout is a"
        " terminal.",
        check=one_of("auto", "json", "text"),
    )
    log_probes_every: int = setting(
        "LOG_PROBES_EVERY",
        100,
        "Log one of so many answered probes (failed ones always); 1 logs all.",
        check=between(1, 1_000_000),
        at_run_time=True,
    )
    metrics_token: str = setting(
        "METRICS_TOKEN",
        "",
        "Bearer token for `/metrics`; in Railway environments it stays closed without one.",
        secret=True,
        at_run_time=True,
    )
    auth_p95_warning: float = setting(
        "AUTH_P95_WARNING",
        500.0,
        "p95 of logins from which it is a warning, in ms.",
        check=between(1, 60_000),
        at_run_time=True,
    )
    auth_p95_critical: float = setting(
        "AUTH_P95_CRITICAL",
        1000.0,
        "p95 of logins from which it is critical, in ms.",
        check=between(1, 60_000),
        at_run_time=True,
    )
    auth_success_rate_min: float = setting(
        "AUTH_SUCCESS_RATE_MIN",
        99.0,
        "Logins that must be answered properly, in percent.",
        check=between(0, 99.999),
        at_run_time=True,
    )
    auth_slo_window_s: float = setting(
        "AUTH_SLO_WINDOW_S", 300.0, "Length of the rolling window of logins, in seconds.", check=between(10, 3600)
    )
    alert_webhook_url: str = setting("ALERT_WEBHOOK_URL", "", "Where alerts are posted.", secret=True)
    alert_webhook_secret: str = setting(
        "ALERT_WEBHOOK_SECRET", "", "Key of their signature (HMAC-SHA-256).", secret=True
    )
    audit_file: str = setting(
        "AUDIT_FILE", "", "File that security events are appended to, hash-chained; `-` for stdout. Default: no trail."
    )
    otel_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Address of an OpenTelemetry collector (OTLP over HTTP), for example `http://localhost:4318`; needs the extra"
        " `tracing`. Default: no traces.",
    )
    otel_service_name: str = setting("OTEL_SERVICE_NAME", "velro-auth", "What traces call this service.")
    sentry_dsn: str = setting(
        "SENTRY_DSN",
        "",
        "Sentry project that defects are reported to; needs the extra `sentry`. Default: nobody.",
        secret=True,
    )
    docs_enabled: str = setting(
        "DOCS_ENABLED",
        "auto",
        "Answer `/docs` and `/openapi.json`: `auto` does unless this is a Railway environment, `on` and `off` decide.",
        check=one_of("auto", "on", "off"),
        at_run_time=True,
    )
    auth_env_file: str = setting(
        sources.VARIABLE,
        "",
        "File with further variables, one `NAME=value` a line, which win over the environment. SIGHUP reads it anew:"
        " docs/how-to/change-settings.md.",
    )
    auth_run_dir: str = setting(
        "AUTH_RUN_DIR",
        "",
        "Folder in which the running service notes its processes, for `velro-auth reload`. Default: this user's folder"
        " `velro-auth-<uid>` below the system's temporary one.",
    )
    commit: str = setting(
        "RAILWAY_GIT_COMMIT_SHA",
        "",
        "Commit this build was made from; Railway sets it for GitHub deployments.",
        aliases=("GIT_COMMIT",),
    )
    build: str = setting("RAILWAY_SNAPSHOT_ID", "", "Identifier of the build; Railway sets it.", aliases=("BUILD_ID",))
    source: str = setting("RAILWAY_GIT_REPO_NAME", "", "Repository this was built from; Railway sets it.")
    deployment_id: str = setting("RAILWAY_DEPLOYMENT_ID", "", "Identifier of the deployment; Railway sets it.")
    environment: str = setting("RAILWAY_ENVIRONMENT_NAME", "", "Name of the environment; Railway sets it.")
    service: str = setting("RAILWAY_SERVICE_NAME", "", "Name of the service; Railway sets it.")
    region: str = setting("RAILWAY_REPLICA_REGION", "", "Region of this replica; Railway sets it.")
    replica: str = setting("RAILWAY_REPLICA_ID", "", "Identifier of this replica; Railway sets it.")
    draining: str = setting(
        "RAILWAY_DEPLOYMENT_DRAINING_SECONDS",
        "",
        "Seconds that Railway lets an old deployment finish its requests; for Railway, looked at by `velro-auth"
        " doctor`.",
    )
    overlap: str = setting(
        "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS",
        "",
        "Seconds that the old deployment serves beside the new one; for Railway, looked at by `velro-auth doctor`.",
    )

    #: What is wrong; empty if all is well.
    errors: Sequence[SettingError] = ()
    #: Variable → where its value came from.
    origins: Mapping[str, Origin] = dataclasses.field(default_factory=dict, compare=False)
    #: ``SUPABASE_ANON_KEY``, also where ``SUPABASE_PUBLISHABLE_KEY`` wins over it: clients may still send it.
    anon_key: str = dataclasses.field(default="", repr=False)
    #: The content of the file of rules; None without one, or with a wrong one.
    access_rules: AccessRules | None = None
    #: Variables that are set but have no effect any more.
    retired: Sequence[str] = dataclasses.field(default=(), compare=False)
    #: Variable that is set and has no effect → the variable that was probably meant.
    misspelt: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def upstream_key(self) -> str:
        """The key that logins are sent with: the secret key if there is one."""
        return self.supabase_secret_key or self.supabase_publishable_key

    @property
    def client_keys(self) -> tuple[str, ...]:
        """The keys that Supabase's own clients may send."""
        own = (self.supabase_publishable_key, self.anon_key, *self.auth_client_keys)
        return tuple(dict.fromkeys(key for key in own if key))

    @property
    def login_url(self) -> str:
        """The page of the login; empty if none is known."""
        public = self.auth_public_url.rstrip("/")
        return self.auth_login_url or (f"{public}/login" if public else "")

    @property
    def redirect_urls(self) -> tuple[str, ...]:
        """The addresses that flows may lead to: those of ``AUTH_REDIRECT_URLS``, and the service's own pages."""
        return (*self.auth_redirect_urls, *([normal_origin(self.auth_public_url)] if self.has_pages else []))

    @property
    def has_pages(self) -> bool:
        """Whether the service has pages. Without what they need, it has none."""
        return self.auth_pages and bool(self.auth_public_url)

    @property
    def has_session_cookies(self) -> bool:
        """Whether cookies keep sessions: those of all browsers, or those of the service's own pages."""
        return self.auth_cookie_sessions or self.has_pages

    @property
    def redis_prefix(self) -> str:
        """The prefix of every key in Redis."""
        return project_prefix(self.supabase_url)

    @property
    def forwards_client_ip(self) -> bool:
        """Whether Supabase is told the caller's address (it listens to secret keys only)."""
        if self.auth_forward_client_ip == "auto":
            return self.supabase_secret_key.startswith("sb_secret_") and self.auth_captcha != "on"
        return self.auth_forward_client_ip == "on"

    @property
    def login_permits(self) -> int:
        """How many logins may ask Supabase at once."""
        return self.login_concurrency or max(1, self.gunicorn_threads * 3 // 4)

    @property
    def waiting_permits(self) -> int:
        """How many logins may be in progress at once, waiting ones included; the other threads stay free."""
        return max(self.login_permits, self.gunicorn_threads - max(1, self.gunicorn_threads // 8))

    @property
    def session_permits(self) -> int:
        """How many calls other than logins may ask Supabase at once: two thirds, so that logins keep a third."""
        return max(1, self.login_permits * 2 // 3)

    @property
    def session_waiting_permits(self) -> int:
        """How many of those may be in progress at once, waiting ones included: two thirds again."""
        return max(self.session_permits, self.waiting_permits * 2 // 3)

    @property
    def session_calls_per_network(self) -> int:
        """How many of those one network may have: three quarters, so that it cannot use all."""
        return max(1, self.session_waiting_permits * 3 // 4)

    @property
    def mail_waiting_permits(self) -> int:
        """How many requests that may send a mail may be in progress at once: half, so that a flood leaves the rest."""
        return max(1, self.session_waiting_permits // 2)

    @property
    def keeps_quota(self) -> bool:
        """Whether to keep below Supabase's rate limit for our own address."""
        if self.auth_upstream_quota == "auto":
            return not self.forwards_client_ip
        return self.auth_upstream_quota == "on"

    @property
    def shows_docs(self) -> bool:
        """Whether the documents of the service are public."""
        return self.docs_enabled == "on" or (self.docs_enabled == "auto" and not self.environment)

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted issuers of access tokens."""
        return tuple(self.auth_issuers) or (f"{self.supabase_url.rstrip('/')}/auth/v1",)

    @property
    def advice(self) -> Sequence[SettingError]:
        """Settings that work but could be better; logged once at the start."""
        found = []
        if self.keeps_quota and not self.errors and self.auth_captcha != "on":
            found.append(
                SettingError(
                    "AUTH_FORWARD_CLIENT_IP",
                    "Supabase counts all logins against this service's own address (30 at once, then one every 2 s):"
                    " put an sb_secret_ key into SUPABASE_SECRET_KEY and switch on IP address forwarding in the"
                    " project (Authentication, Rate limits)",
                )
            )
        if self.auth_captcha == "auto" and self.supabase_secret_key and not self.supabase_publishable_key:
            found.append(
                SettingError(
                    "SUPABASE_PUBLISHABLE_KEY",
                    "without it nothing tells whether the project demands a captcha, and the secret key skips it: set"
                    " it, or AUTH_CAPTCHA=off",
                )
            )
        if LEGACY in {self.supabase_publishable_key[:3], self.supabase_secret_key[:3]}:
            found.append(
                SettingError("SUPABASE_SECRET_KEY", "legacy keys are about to end at Supabase: move to sb_secret_ keys")
            )
        found += self._secret_advice()
        found += self._value_advice()
        if self.web_concurrency > 1 and not self.redis_url:
            found.append(
                SettingError(
                    "REDIS_URL",
                    "without it no process knows of a logout at another one, so the token stays good there until it"
                    " expires: set it, or WEB_CONCURRENCY=1",
                )
            )
        found += self._browser_advice()
        found += [SettingError(name, f"is no setting: did you mean {meant}?") for name, meant in self.misspelt.items()]
        return found + [SettingError(name, RETIRED[name]) for name in self.retired]

    def _value_advice(self) -> Iterator[SettingError]:
        """Say which values cannot be meant."""
        if has_bare_dot(self.cors_origin_regex):
            yield SettingError("CORS_ORIGIN_REGEX", r"a bare '.' matches any character: write '\.' for a dot")
        if self.cors_origin_regex and re.fullmatch(self.cors_origin_regex, _FOREIGN_ORIGIN):
            yield SettingError("CORS_ORIGIN_REGEX", f"matches every origin ({_FOREIGN_ORIGIN}): name your own")
        # Not Path.is_dir: it raises for a folder in one that is closed to this process.
        if self.audit_file not in {"", "-"} and not os.path.isdir(Path(self.audit_file).absolute().parent):  # noqa: PTH112
            advice = "its folder is missing, or closed to this process, so every record is lost: create or open it"
            yield SettingError("AUDIT_FILE", advice)
        for variable, url in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.otel_endpoint),
            ("ALERT_WEBHOOK_URL", self.alert_webhook_url),
            ("SENTRY_DSN", self.sentry_dsn),
        ):
            if url and not url.startswith(("http://", "https://")):
                yield SettingError(variable, "must start with http:// or https://")

    def _browser_advice(self) -> Iterator[SettingError]:
        """Say what lets callers choose their address, and what keeps browsers from keeping a cookie."""
        if any(network.prefixlen == 0 for network in self.trusted_proxies):
            yield SettingError(
                "TRUSTED_PROXIES",
                "trusts every caller, so each may name any client address and pass all limits: list the networks of"
                " your proxies",
            )
        url = urlsplit(self.auth_public_url)
        if self.auth_cookie_sessions and url.scheme == "http" and url.hostname not in OWN_MACHINE:
            yield SettingError("AUTH_PUBLIC_URL", "browsers keep the session cookie with https:// only: use https://")

    def _secret_advice(self) -> Sequence[SettingError]:
        """Return what to set because there is no secret key, from which the service makes its other secrets."""
        found: list[SettingError] = []
        if self.supabase_secret_key or self.errors:
            return found
        if not self.auth_cookie_keys:
            found.append(
                SettingError(
                    "AUTH_COOKIE_KEYS",
                    "without it and without a secret key, the keys of cookies and tickets are random at each start:"
                    " set it, or flows that begin at one replica fail at another, and a restart ends those under way",
                )
            )
        if self.redis_url and not self.auth_throttle_secret:
            found.append(
                SettingError(
                    "AUTH_THROTTLE_SECRET",
                    "without it and without a secret key, whoever reads Redis can find the counters of an account, and"
                    " challenges and refreshes of one replica are unknown to another: set it",
                )
            )
        return found

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read *environ* (the process's own by default) and the file it names. Never raises: see ``errors``."""
        given = os.environ if environ is None else environ
        path = given.get(sources.VARIABLE, "").strip()
        file = sources.read_env_file(path)
        # The file cannot name another one.
        variables = {**given, **file.variables, sources.VARIABLE: path}
        env = Environment(variables)
        settings = cls(**{spec.name: env.read(spec, _types()[spec.name]) for spec in specs()})
        rules = read_rules_file(settings.auth_rules_file)
        errors = (*file.errors, *env.errors(), *rules.errors, *cross_field_errors(settings))
        names = {spec.metadata["variable"]: env.name_of(spec) for spec in specs()}
        origins = {variable: _origin(name, file.variables) for variable, name in names.items()}
        retired = tuple(name for name in RETIRED if variables.get(name, "").strip())
        known = {*RETIRED, *itertools.chain.from_iterable(spec.metadata["aliases"] for spec in specs()), *names}
        anon_key = variables.get("SUPABASE_ANON_KEY", "").strip()
        # Without an entry in the errors: another key counts where both are set, and no client can send this one.
        anon_key = anon_key if anon_key.isascii() else ""
        return dataclasses.replace(
            settings,
            errors=errors,
            origins=origins,
            retired=retired,
            misspelt=misspelt((name for name, value in variables.items() if value.strip()), known),
            anon_key=anon_key,
            access_rules=rules.rules,
        )


def _origin(name: str | None, file: Mapping[str, str]) -> Origin:
    if name is None:
        return "default"
    return "file" if name in file and name != sources.VARIABLE else "environment"


def inherited(**overrides: str) -> dict[str, str]:
    """Return this process's environment with *overrides*, for a process to start."""
    return {**os.environ, **overrides}


@functools.cache
def specs() -> tuple[Spec, ...]:
    """Return the fields that come from the environment, in the order they are documented."""
    return tuple(spec for spec in dataclasses.fields(Settings) if "variable" in spec.metadata)


@functools.cache
def _types() -> Mapping[str, Any]:
    return get_type_hints(Settings)


def shown(settings: Settings, spec: Spec) -> str:
    """Return the value of *spec* for display: of a secret at most its first quarter.

    The user and the password in an address are never shown.
    """
    value = getattr(settings, spec.name)
    if spec.metadata["secret"] and value:
        value = value if isinstance(value, str) else ",".join(value)
        return f"{value[: min(MASKED_CHARACTERS, len(value) // 4)]}… ({len(value)} characters)"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return _USERINFO.sub("//…@", str(value))


def cross_field_errors(settings: Settings) -> list[SettingError]:
    """Validate settings that depend on each other."""
    found = project_errors(
        url=settings.supabase_url,
        publishable_key=settings.supabase_publishable_key,
        secret_key=settings.supabase_secret_key,
    )
    if settings.auth_forward_client_ip == "on" and not settings.supabase_secret_key.startswith("sb_secret_"):
        found.append(
            SettingError("AUTH_FORWARD_CLIENT_IP", "'on' needs an sb_secret_ key in SUPABASE_SECRET_KEY; or set 'auto'")
        )
    if settings.auth_supabase_api and not settings.client_keys:
        found.append(SettingError("AUTH_SUPABASE_API", "needs a key in SUPABASE_PUBLISHABLE_KEY or AUTH_CLIENT_KEYS"))
    if settings.auth_pages and not settings.auth_public_url:
        found.append(SettingError("AUTH_PAGES", "needs AUTH_PUBLIC_URL: the cookie is for pages of this address"))
    if settings.auth_captcha == "on" and not settings.supabase_publishable_key:
        found.append(SettingError("AUTH_CAPTCHA", "'on' needs a key in SUPABASE_PUBLISHABLE_KEY", "settings.keys"))
    if settings.auth_captcha == "on" and settings.auth_forward_client_ip == "on":
        found.append(
            SettingError(
                "AUTH_FORWARD_CLIENT_IP", "'on' needs the secret key, which AUTH_CAPTCHA=on does not use: set 'auto'"
            )
        )
    if settings.login_concurrency >= settings.gunicorn_threads:
        found.append(
            SettingError(
                "LOGIN_CONCURRENCY",
                "must be less than GUNICORN_THREADS, or probes wait with logins",
                "gunicorn.threads",
            )
        )
    if settings.auth_p95_critical < settings.auth_p95_warning:
        found.append(SettingError("AUTH_P95_CRITICAL", "must not be less than AUTH_P95_WARNING"))
    return found
