"""Switches guards off inside a process of the lab, where no setting does: for ``--without-guard``.

A scenario that passes with its guard off tests nothing. Each patch changes one thing, in memory only.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final


def _no_breaker() -> None:
    from velro_auth.guards.asking import CircuitBreaker  # noqa: PLC0415

    @contextlib.contextmanager
    def attempt(_: CircuitBreaker) -> Iterator[None]:
        yield

    CircuitBreaker.attempt = attempt  # type: ignore[method-assign, assignment]


def _nervous_breaker() -> None:
    from velro_auth.guards import asking  # noqa: PLC0415

    asking.FAILURE_RATIO = 0.1  # type: ignore[misc]


def breaker_that_counts_refusals() -> Any:
    """Return a circuit breaker for which every error is a failure of Supabase."""
    from velro_auth.errors import UpstreamUnavailable, VelroAuthError  # noqa: PLC0415
    from velro_auth.guards.asking import CircuitBreaker  # noqa: PLC0415

    class Nervous(CircuitBreaker):
        """Confuses a refusal with an outage."""

        @contextlib.contextmanager
        def attempt(self) -> Iterator[None]:
            """Take every error for an outage."""
            refusal: VelroAuthError | None = None
            try:
                with super().attempt():
                    try:
                        yield
                    except VelroAuthError as error:
                        refusal = error
                        raise UpstreamUnavailable("taken for an outage") from error
            except UpstreamUnavailable:
                if refusal is not None:
                    raise refusal from None
                raise

    return Nervous


def _refusals_are_failures() -> None:
    from velro_auth.guards import asking  # noqa: PLC0415

    nervous = breaker_that_counts_refusals()
    asking.CircuitBreaker = nervous  # type: ignore[misc]
    from velro_auth.wiring import guards  # noqa: PLC0415

    guards.CircuitBreaker = nervous
    guards.GuardState.__dataclass_fields__["breaker"].default_factory = nervous


def _no_retry_after() -> None:
    from velro_auth.upstream import translate  # noqa: PLC0415

    def believed(reply: Any) -> float | None:
        with contextlib.suppress(ValueError):
            return float(reply.headers.get("Retry-After", ""))
        return None

    translate._retry_after_s = believed


def _any_session() -> None:
    from velro_auth.upstream import answers  # noqa: PLC0415

    answers.is_text = lambda _: True  # type: ignore[assignment]


def _any_certificate() -> None:
    from velro_auth.upstream.transport import transport  # noqa: PLC0415

    def trusting() -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    transport._certifi_context = trusting


def _no_owners() -> None:
    from velro_auth.upstream import accounts, answers, identity  # noqa: PLC0415
    from velro_auth.upstream.transport.connection import Connection  # noqa: PLC0415
    from velro_auth.upstream.transport.pool import ConnectionPool  # noqa: PLC0415

    def trusting(*, is_right: bool, what: str) -> None:
        """Take every answer."""

    for module in (answers, identity, accounts):
        if hasattr(module, "demand"):
            module.demand = trusting
    Connection.received_unexpected_bytes = lambda _: False  # type: ignore[method-assign]
    release = ConnectionPool.release

    def keep(self: Any, connection: Any, *, is_usable: bool) -> None:
        release(self, connection, is_usable=is_usable)

    ConnectionPool.release = keep  # type: ignore[method-assign]


def _any_leeway() -> None:
    from velro_auth.auth.tokens import ClaimRules  # noqa: PLC0415

    ClaimRules.check_expiry = lambda self, claims: None  # type: ignore[method-assign]


def _no_key_cooldown() -> None:
    from velro_auth.upstream import jwks  # noqa: PLC0415

    made = jwks.KeyStore.__init__

    def eager(self: Any, **options: Any) -> None:
        times = jwks.KeyTimes(cooldown_s=0.0, eager_cooldown_s=0.0)
        made(self, **{**options, "times": times})

    jwks.KeyStore.__init__ = eager  # type: ignore[method-assign, assignment]


def _any_signature() -> None:
    from velro_auth.auth.keys import Key  # noqa: PLC0415

    Key.signed = lambda *_: True  # type: ignore[method-assign, assignment]


def _blocking_log() -> None:
    from velro_auth.telemetry.sink import Sink  # noqa: PLC0415

    def write(self: Any, line: str, on_lost: Any = None) -> bool:
        del on_lost
        if not hasattr(self, "_blocking"):
            self._blocking = self._open()
            os.set_blocking(self._blocking, True)
        os.write(self._blocking, line.encode() + b"\n")
        return True

    Sink.write = write  # type: ignore[method-assign]


def _leak() -> None:
    from velro_auth.context import RequestContext  # noqa: PLC0415

    kept: list[bytes] = []
    made = RequestContext.__init__

    def keep(self: Any, *arguments: Any, **options: Any) -> None:
        kept.append(os.urandom(40_000))
        made(self, *arguments, **options)

    RequestContext.__init__ = keep  # type: ignore[method-assign]


def _no_backoff() -> None:
    from velro_auth.stores.client import StoreBackoff  # noqa: PLC0415

    StoreBackoff.may_ask = lambda _: True  # type: ignore[method-assign]


def _underscores() -> None:
    from velro_auth.server import request_head, request_parser  # noqa: PLC0415

    def key_of(name: bytes) -> str:
        key = name.decode("latin-1").upper().replace("-", "_")
        return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"

    request_head.key_of = request_parser.key_of = key_of  # type: ignore[assignment]


def _plain_log() -> None:
    from velro_auth.telemetry import sink  # noqa: PLC0415

    write = sink.Sink.write

    def plain(self: Any, line: str, *more: Any) -> bool:
        return write(self, line.replace("\\n", "\n"), *more)

    sink.Sink.write = plain  # type: ignore[method-assign]


PATCHES: Final[Mapping[str, Callable[[], Any]]] = {
    "breaker": _no_breaker,
    "nervous_breaker": _nervous_breaker,
    "refusals_are_failures": _refusals_are_failures,
    "retry_after": _no_retry_after,
    "sessions": _any_session,
    "owners": _no_owners,
    "leeway": _any_leeway,
    "key_cooldown": _no_key_cooldown,
    "signatures": _any_signature,
    "blocking_log": _blocking_log,
    "leak": _leak,
    "no_backoff": _no_backoff,
    "underscores": _underscores,
    "plain_log": _plain_log,
    "tls": _any_certificate,
}
