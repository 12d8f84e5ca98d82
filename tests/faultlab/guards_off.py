"""Switches guards off inside a process of the lab, where no setting does: for ``--without-guard``.

A scenario that passes with its guard off tests nothing. Each patch changes one thing, in memory only.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final


def put(owner: Any, name: str, value: Any) -> None:
    """Replace an attribute of a module or a class."""
    assert hasattr(owner, name), name
    setattr(owner, name, value)


def _no_breaker() -> None:
    from velro_auth.guards.asking import CircuitBreaker  # noqa: PLC0415

    @contextlib.contextmanager
    def attempt(_: CircuitBreaker) -> Iterator[None]:
        yield

    put(CircuitBreaker, "attempt", attempt)


def _nervous_breaker() -> None:
    from velro_auth.guards import asking  # noqa: PLC0415

    put(asking, "FAILURE_RATIO", 0.1)


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
    put(asking, "CircuitBreaker", nervous)
    from velro_auth.wiring import guards  # noqa: PLC0415

    put(guards, "CircuitBreaker", nervous)
    guards.GuardState.__dataclass_fields__["breaker"].default_factory = nervous


def _no_retry_after() -> None:
    from velro_auth.upstream import translate  # noqa: PLC0415

    def believed(reply: Any) -> float | None:
        with contextlib.suppress(ValueError):
            return float(reply.headers.get("Retry-After", ""))
        return None

    put(translate, "_retry_after_s", believed)


def _any_session() -> None:
    from velro_auth.upstream import answers  # noqa: PLC0415

    put(answers, "is_text", lambda _: True)


def _any_certificate() -> None:
    from velro_auth.upstream.transport import transport  # noqa: PLC0415

    def trusting() -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    put(transport, "_certifi_context", trusting)


def _no_owners() -> None:
    from velro_auth.upstream import accounts, answers, identity  # noqa: PLC0415
    from velro_auth.upstream.transport.connection import Connection  # noqa: PLC0415

    def trusting(*, is_right: bool, what: str) -> None:
        """Take every answer."""

    for module in (answers, identity, accounts):
        if hasattr(module, "demand"):
            put(module, "demand", trusting)
    put(Connection, "received_unexpected_bytes", lambda _: False)


def _any_leeway() -> None:
    from velro_auth.auth.tokens import ClaimRules  # noqa: PLC0415

    put(ClaimRules, "check_expiry", lambda self, claims: None)


def _no_key_cooldown() -> None:
    from velro_auth.upstream import jwks  # noqa: PLC0415

    made = jwks.KeyStore.__init__

    def eager(self: Any, **options: Any) -> None:
        times = jwks.KeyTimes(cooldown_s=0.0, eager_cooldown_s=0.0)
        made(self, **{**options, "times": times})

    put(jwks.KeyStore, "__init__", eager)


def _any_signature() -> None:
    from velro_auth.auth.keys import Key  # noqa: PLC0415

    put(Key, "signed", lambda *_: True)


def _blocking_log() -> None:
    from velro_auth.telemetry.sink import Sink  # noqa: PLC0415

    def write(self: Any, line: str, on_lost: Any = None) -> bool:
        del on_lost
        if not hasattr(self, "_blocking"):
            self._blocking = self._open()
            os.set_blocking(self._blocking, True)
        os.write(self._blocking, line.encode() + b"\n")
        return True

    put(Sink, "write", write)


def _leak() -> None:
    from velro_auth.context import RequestContext  # noqa: PLC0415

    kept: list[bytes] = []
    made = RequestContext.__init__

    def keep(self: Any, *arguments: Any, **options: Any) -> None:
        kept.append(os.urandom(200_000))
        made(self, *arguments, **options)

    put(RequestContext, "__init__", keep)


def _no_backoff() -> None:
    from velro_auth.stores.client import StoreBackoff  # noqa: PLC0415

    put(StoreBackoff, "may_ask", lambda _: True)


def _underscores() -> None:
    from velro_auth.server import request_head, request_parser  # noqa: PLC0415

    def key_of(name: bytes) -> str:
        key = name.decode("latin-1").upper().replace("-", "_")
        return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"

    put(request_head, "key_of", key_of)
    put(request_parser, "key_of", key_of)


def _plain_log() -> None:
    from velro_auth.telemetry import sink  # noqa: PLC0415

    write = sink.Sink.write

    def plain(self: Any, line: str, *more: Any) -> bool:
        return write(self, line.replace("\\n", "\n"), *more)

    put(sink.Sink, "write", plain)


def _no_leeway() -> None:
    from velro_auth.auth.tokens import ClaimRules  # noqa: PLC0415

    made = ClaimRules.__init__

    def strict(self: Any, **options: Any) -> None:
        made(self, **{**options, "leeway_s": 0.0})

    put(ClaimRules, "__init__", strict)


def _whole_share() -> None:
    from velro_auth.wiring import rate_limits  # noqa: PLC0415

    put(rate_limits, "processes_of", lambda *_: 1)


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
    "no_leeway": _no_leeway,
    "whole_share": _whole_share,
    "tls": _any_certificate,
}
