"""Cross-process single flight: one process spends a refresh token, and the others get the outcome through Redis.

The outcome contains new tokens, so Redis sees as little as possible:

* The name of an entry, and the key that encrypts its content (AES-256-GCM), both come from HKDF over the refresh token,
  salted with a secret of this service that is not in Redis.
* So access to Redis, its traffic or its dump is not enough to read an answer or to try tokens against the names (the
  older kind of refresh token has 62 bits, too few to be safe alone). The secret without the token is not enough either.
* Entries live for 10 s and are never written without an expiry.

Redis unavailable, before or during the call: the token is spent here. Two processes may then spend one token at once;
Supabase's own reuse interval makes that harmless.
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

from velro_auth import errors
from velro_auth.auth.refresh import SAME_ANSWER_S, Outcome
from velro_auth.guards.keys import REDIS_PREFIX, REDIS_VERSION
from velro_auth.stores.client import RedisUnavailable, StoreBackoff, sessions_backoff
from velro_auth.stores.connections import Script

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Failures that waiting processes get too.
SHARED_FAILURES: Final[dict[str, type[errors.VelroAuthError]]] = {
    failure.__name__: failure
    for failure in (
        errors.UpstreamUnavailable,
        errors.UpstreamTimeout,
        errors.UpstreamFailed,
        errors.UpstreamRefused,
        errors.UpstreamMisconfigured,
        errors.UpstreamThrottled,
        errors.CircuitOpen,
        errors.Busy,
        errors.SessionRefused,
    )
}

#: Returns the answer, if there is one, or the holder of the lock: our own nonce if the lock was free.
_LOCK: Final = """
local answer = redis.call('GET', KEYS[1])
if answer then return {answer, ''} end
redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return {'', redis.call('GET', KEYS[2])}
"""

#: Writes an outcome, unless it is empty, and deletes the lock if it is still our own.
_PUBLISH: Final = """
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
"""

#: How often a waiting process reads Redis.
_POLL_S: Final = 0.02

_NONCE_BYTES: Final = 12
_HALF: Final = 32
_MIN_SECRET_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """The name and the key of the entries of one refresh token."""

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
        """Decrypt the output of :meth:`seal`.

        Raises:
            ValueError: Another envelope made it.
        """
        try:
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.name.encode())
        except InvalidTag:
            raise ValueError("not sealed by this envelope") from None
        return dict(json.loads(content))


class RedisSingleFlight(Generic[T]):
    """Shares the outcomes of refreshes between processes.

    Args:
        client: Has short timeouts, and does not decode replies.
        secret: Known to all processes of the service and not to Redis; at least 16 bytes.
        dump: Turns an answer into JSON values.
        load: Turns them back; raises ValueError, TypeError or KeyError for values of another release.
        backoff: Shared with other users of the same Redis.
        prefix: The beginning of all keys.
        same_answer_s: For how long the same outcome is returned again, in seconds.
        wait_s: How long one process waits for the call of another, and how long the lock of a killed process lasts.
    """

    def __init__(
        self,
        *,
        client: Redis,
        secret: bytes,
        dump: Callable[[T], dict[str, Any]],
        load: Callable[[dict[str, Any]], T],
        backoff: StoreBackoff | None = None,
        prefix: str = REDIS_PREFIX,
        same_answer_s: float = SAME_ANSWER_S,
        wait_s: float = 6.0,
    ) -> None:
        if len(secret) < _MIN_SECRET_BYTES:
            raise ValueError(f"the secret for refreshes is shorter than {_MIN_SECRET_BYTES} bytes")
        self._client = client
        self._take_lock, self._hand_over = Script(client, _LOCK), Script(client, _PUBLISH)
        self._secret = secret
        self._dump = dump
        self._load = load
        self._backoff = backoff or sessions_backoff()
        self._prefix = f"{prefix}:{REDIS_VERSION}"
        self._same_answer_ms = int(same_answer_s * 1000)
        self._wait_s = wait_s

    def share(self, token: str, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        """Return the outcome of *spend*, called in one of the processes.

        Raises:
            UpstreamTimeout: The call of another process takes longer than ``wait_s``.
            VelroAuthError: The error of *spend*, here or, if it is one of :data:`SHARED_FAILURES`, in another process.
        """
        envelope = Envelope.of(token, secret=self._secret)
        until_s = time.monotonic() + self._wait_s
        try:
            while True:
                nonce = secrets.token_hex(8).encode()
                sealed, holder = self._lock(envelope, nonce)
                if sealed is None and holder == nonce:
                    break
                sealed = sealed or self._await_outcome(envelope, holder, until_s)
                if sealed is not None:
                    return self._opened(envelope, sealed)
        except (RedisUnavailable, ValueError, TypeError, KeyError) as error:
            log.warning("A refresh is not shared between processes: %s", type(error).__name__)
            return spend()
        return self._spend(envelope, nonce, spend)

    def _lock(self, envelope: Envelope, nonce: bytes) -> tuple[bytes | None, bytes]:
        """Return the outcome, if there is one, and the holder of the lock: *nonce* if this call acquired it."""
        keys = [self._key("answer", envelope), self._key("lock", envelope)]
        with self._backoff.attempt():
            sealed, holder = self._take_lock(keys, [nonce, int(self._wait_s * 1000)])
        return sealed or None, holder or b""

    def _await_outcome(self, envelope: Envelope, holder: bytes, until_s: float) -> bytes | None:
        """Wait for the outcome of another process; None if that process ended without one."""
        keys = [self._key("answer", envelope), self._key("failure", envelope, holder), self._key("lock", envelope)]
        while time.monotonic() < until_s:
            with self._backoff.attempt():
                found: Any = self._client.mget(keys)
            answer, failure, lock = found
            if answer is not None or failure is not None or lock != holder:
                return cast("bytes | None", answer or failure)
            time.sleep(_POLL_S)
        raise errors.UpstreamTimeout("the call of another process takes too long")

    def _opened(self, envelope: Envelope, sealed: bytes) -> Outcome[T]:
        content = envelope.open(sealed)
        if "failure" in content:
            failure = SHARED_FAILURES[content["failure"]]
            raise failure(content["reason"], retry_after_s=content["retry_after_s"])
        if "expired" in content:
            return Outcome(None, content["expired"])
        return Outcome(self._load(content["answer"]))

    def _spend(self, envelope: Envelope, nonce: bytes, spend: Callable[[], Outcome[T]]) -> Outcome[T]:
        key, content = "", dict[str, Any]()
        try:
            outcome = spend()
            expired = {"expired": outcome.expired}
            content = expired if outcome.answer is None else {"answer": self._dump(outcome.answer)}
            key = self._key("answer", envelope)
        except errors.VelroAuthError as error:
            name = type(error).__name__
            if name in SHARED_FAILURES:
                content = {"failure": name, "reason": error.reason, "retry_after_s": error.retry_after_s}
                # The nonce of this flight in the key: only the processes that waited for it find the failure.
                key = self._key("failure", envelope, nonce)
            raise
        finally:
            self._publish(envelope, nonce, key, content)
        return outcome

    def _publish(self, envelope: Envelope, nonce: bytes, key: str, content: dict[str, Any]) -> None:
        """Write the outcome, unless *key* is empty, and release the lock, both in one step."""
        lock, sealed = self._key("lock", envelope), envelope.seal(content) if key else b""
        try:
            with self._backoff.attempt():
                self._hand_over([key or lock, lock], [nonce, sealed, self._same_answer_ms])
        except RedisUnavailable:
            log.warning("The outcome of a refresh could not be handed to other processes")

    def _key(self, kind: str, envelope: Envelope, nonce: bytes = b"") -> str:
        """Return the name of a key in Redis. A cluster hashes what is in braces: all of one token in one slot."""
        parts = (self._prefix, "refresh", f"{{{envelope.name}}}", kind, nonce.decode())
        return ":".join(part for part in parts if part)
