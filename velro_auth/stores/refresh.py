"""Spends a refresh token in one of several processes, and hands the outcome to the others through Redis.

The outcome holds new tokens, so what Redis gets to see is decided here:

* the name of an entry, and the key its content is encrypted with (AES-256-GCM), both come from HKDF over the
  refresh token, salted with a secret of this service that Redis never sees;
* so whoever reads Redis, its traffic or its dump can neither read an answer nor try tokens against the names
  (the older kind of refresh token has 62 bits, too few to stand alone), and whoever holds the secret but not the
  token cannot read the answer either;
* entries live for 10 s and are never written without an expiry.

Redis down, or failing on the way: the token is spent here. Two processes may then spend one token at once;
Supabase's own reuse interval is what makes that harmless.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from redis import Redis

from velro_auth.auth.refresh import SAME_ANSWER_S, Outcome
from velro_auth.errors import (
    Busy,
    CircuitOpen,
    SessionRefused,
    UpstreamFailed,
    UpstreamMisconfigured,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    VelroAuthError,
)
from velro_auth.stores.guard import RedisGone, RedisGuard

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Failures that are handed to those who waited for them.
SHARED_FAILURES: Final[dict[str, type[VelroAuthError]]] = {
    failure.__name__: failure
    for failure in (
        UpstreamUnavailable,
        UpstreamTimeout,
        UpstreamFailed,
        UpstreamRefused,
        UpstreamMisconfigured,
        UpstreamThrottled,
        CircuitOpen,
        Busy,
        SessionRefused,
    )
}

#: Deletes a lock only when it is still one's own.
_UNLOCK: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

_NONCE_BYTES: Final = 12
_HALF: Final = 32


@dataclass(frozen=True, slots=True)
class Envelope:
    """The name and the key of one refresh token's entries."""

    name: str
    _cipher: AESGCM = field(repr=False)

    @classmethod
    def of(cls, token: str, *, secret: bytes) -> Envelope:
        """Derive both from the token and the service's secret."""
        derivation = HKDF(algorithm=SHA256(), length=2 * _HALF, salt=secret, info=b"velro-auth refresh relay 1")
        derived = derivation.derive(token.encode("utf-8", "surrogatepass"))
        return cls(derived[:_HALF].hex(), AESGCM(derived[_HALF:]))

    def seal(self, content: dict[str, Any]) -> bytes:
        """Encrypt *content*, bound to this name."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), self.name.encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt what :meth:`seal` made.

        Raises:
            ValueError: It was not made by this envelope.
        """
        try:
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.name.encode())
        except InvalidTag:
            raise ValueError("not sealed by this envelope") from None
        return dict(json.loads(content))


@dataclass(frozen=True, slots=True)
class _Look:
    """What a process found when it came: an outcome, its own lock, or somebody else's."""

    sealed: bytes | None
    is_mine: bool
    holder: bytes


class RedisRelay(Generic[T]):
    """Hands the outcomes of refreshes from process to process.

    Args:
        client: Has short timeouts, and does not decode replies.
        secret: What the service's processes share and Redis does not know, at least 16 bytes.
        dump: Turns an answer into JSON values.
        load: Turns them back; raises ValueError, TypeError or KeyError for those of another release.
        guard: Shared with others who use the same Redis.
        prefix: Of all keys.
        same_answer_s: How long an outcome is given again, in seconds.
        wait_s: How long one process waits for another's call, and how long a lock outlives a killed process.
        poll_s: How often a waiting process looks.
        clock: A clock that never jumps.
        sleep: How one waits.
    """

    def __init__(
        self,
        *,
        client: Redis,
        secret: bytes,
        dump: Callable[[T], dict[str, Any]],
        load: Callable[[dict[str, Any]], T],
        guard: RedisGuard | None = None,
        prefix: str = "velro",
        same_answer_s: float = SAME_ANSWER_S,
        wait_s: float = 6.0,
        poll_s: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if len(secret) < 16:  # noqa: PLR2004 (documented above)
            raise ValueError("the relay's secret is shorter than 16 bytes")
        self._client = client
        self._secret = secret
        self._dump = dump
        self._load = load
        self._guard = guard or RedisGuard()
        self._prefix = prefix
        self._same_answer_ms = int(same_answer_s * 1000)
        self._wait_s = wait_s
        self._poll_s = poll_s
        self._clock = clock
        self._sleep = sleep

    def share(self, token: str, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        """Return the outcome of *spend*, called in one of the processes.

        Raises:
            UpstreamTimeout: Another process's call takes longer than ``wait_s``.
            VelroAuthError: What *spend* raised, here or, when it is one of :data:`SHARED_FAILURES`, there.
        """
        envelope = Envelope.of(token, secret=self._secret)
        until_s = self._clock() + self._wait_s
        try:
            while True:
                nonce = secrets.token_hex(8).encode()
                look = self._look(envelope, nonce)
                if look.sealed is None and look.is_mine:
                    break
                sealed = look.sealed or self._awaited(envelope, look.holder, until_s)
                if sealed is not None:
                    return self._opened(envelope, sealed)
        except (RedisGone, ValueError, TypeError, KeyError) as error:
            log.warning("A refresh is not shared between processes: %s", type(error).__name__)
            return spend()
        return self._spent(envelope, nonce, spend)

    def _look(self, envelope: Envelope, nonce: bytes) -> _Look:
        """Take the lock, unless there is an outcome already or another process holds it."""
        with self._guard.attempt(), self._client.pipeline(transaction=True) as commands:
            commands.get(self._key("answer", envelope))
            commands.set(self._key("lock", envelope), nonce, nx=True, px=int(self._wait_s * 1000))
            commands.get(self._key("lock", envelope))
            sealed, is_mine, holder = commands.execute()
            if sealed is not None and is_mine:
                self._client.eval(_UNLOCK, 1, self._key("lock", envelope), nonce)
        return _Look(sealed, bool(is_mine), holder or b"")

    def _awaited(self, envelope: Envelope, holder: bytes, until_s: float) -> bytes | None:
        """Wait for the outcome of another process; None when that process is gone without one."""
        names = [
            self._key("answer", envelope),
            self._key("failure", envelope, holder),
            self._key("lock", envelope),
        ]
        while self._clock() < until_s:
            with self._guard.attempt():
                found: Any = self._client.mget(names)
            answer, failure, lock = found
            if answer is not None or failure is not None or lock != holder:
                return cast("bytes | None", answer or failure)
            self._sleep(self._poll_s)
        raise UpstreamTimeout("the call of another process takes too long")

    def _opened(self, envelope: Envelope, sealed: bytes) -> Outcome[T]:
        content = envelope.open(sealed)
        if "failure" in content:
            failure = SHARED_FAILURES[content["failure"]]
            raise failure(content["reason"], retry_after_s=content["retry_after_s"])
        if "expired" in content:
            return Outcome(None, content["expired"])
        return Outcome(self._load(content["answer"]))

    def _spent(self, envelope: Envelope, nonce: bytes, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        try:
            outcome = spend()
        except VelroAuthError as error:
            self._report_failure(envelope, nonce, error)
            raise
        except BaseException:
            self._report(envelope, nonce, None, None)
            raise
        content = {"expired": outcome.expired} if outcome.answer is None else {"answer": self._dump(outcome.answer)}
        self._report(envelope, nonce, self._key("answer", envelope), content)
        return outcome

    def _report_failure(self, envelope: Envelope, nonce: bytes, error: VelroAuthError) -> None:
        name = type(error).__name__
        if name not in SHARED_FAILURES:
            self._report(envelope, nonce, None, None)
            return
        content = {"failure": name, "reason": error.reason, "retry_after_s": error.retry_after_s}
        # Under the nonce of this flight: only those who waited for it find it.
        self._report(envelope, nonce, self._key("failure", envelope, nonce), content)

    def _report(self, envelope: Envelope, nonce: bytes, key: str | None, content: dict[str, Any] | None) -> None:
        """Publish the outcome and release the lock, at once so that nobody sees the one without the other."""
        try:
            with self._guard.attempt(), self._client.pipeline(transaction=True) as commands:
                if key is not None and content is not None:
                    commands.set(key, envelope.seal(content), px=self._same_answer_ms)
                commands.eval(_UNLOCK, 1, self._key("lock", envelope), nonce)
                commands.execute()
        except RedisGone:
            log.warning("The outcome of a refresh could not be handed to other processes")

    def _key(self, kind: str, envelope: Envelope, nonce: bytes = b"") -> str:
        return ":".join(part for part in (self._prefix, "refresh", kind, envelope.name, nonce.decode()) if part)
