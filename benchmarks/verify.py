"""What it costs to verify a token here, and how much of a worker is left for other work.

Run it with ``python benchmarks/verify.py``. It measures on one core, in one process:

* the verifier alone: a token seen before, and one never seen before, per algorithm;
* what a deny-list in Redis would cost if it were asked each time (only with a Redis server: ``--redis URL``);
* requests per second of a WSGI app around the verifier, beside a bare one that answers the same bytes. No
  sockets: those cost both the same.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# The made-up project of the tests signs the tokens.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fixtures.tokens import ISSUER, SECRET, SigningKey, checked_claims, claims_at, document, hmac_token
from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.denylist import MemoryDenyList
from velro_auth.auth.keys import secret_key
from velro_auth.auth.requirements import identity_headers
from velro_auth.auth.tokens import ClaimRules
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.upstream.jwks import KeyStore

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

ALGORITHMS: Final = ("ES256", "RS256", "EdDSA")


@dataclass
class Results:
    """Named numbers, in the order in which they were measured."""

    rows: dict[str, tuple[float, str]] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str) -> None:
        """Keep one number."""
        self.rows[name] = (value, unit)

    def __str__(self) -> str:
        """Return a table."""
        width = max(map(len, self.rows))
        return "\n".join(f"{name:<{width}}  {value:>10,.1f} {unit}" for name, (value, unit) in self.rows.items())


def microseconds(call: Callable[[], object], *, times: int, rounds: int = 5) -> float:
    """Return what a call takes: the median of some rounds, so that a neighbour's burst does not count."""
    taken = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        for _ in range(times):
            call()
        taken.append((time.perf_counter() - started_s) / times * 1e6)
    return statistics.median(taken)


def verifier(keys: Iterable[SigningKey], *, cache_size: int = 2048) -> TokenVerifier:
    """Return a verifier as the service has one."""
    published = document(keys)
    return TokenVerifier(
        keys=KeyStore(fetch=lambda: published),
        rules=ClaimRules(issuers=(ISSUER,), now=time.time),
        secret=secret_key(SECRET),
        denied=MemoryDenyList(),
        cache_size=cache_size,
    )


def measure_verifier(results: Results, times: int) -> None:
    """Time the verifier, with and without what it remembers."""
    keys = {name: SigningKey(name, name) for name in ALGORITHMS}
    claims = claims_at(time.time())
    tokens = {name: key.token(claims) for name, key in keys.items()} | {"HS256": hmac_token(claims, SECRET)}
    forgetful, remembering = verifier(keys.values(), cache_size=0), verifier(keys.values())
    for name, token in tokens.items():
        results.add(f"verify, {name}, never seen", microseconds(partial(forgetful.verify, token), times=times), "µs")
    token = tokens["ES256"]
    results.add("verify, seen before", microseconds(lambda: remembering.verify(token), times=10 * times), "µs")


def measure_denylist(results: Results, times: int, redis_url: str | None) -> None:
    """Time the deny-list of a process, and the round trip it saves."""
    memory, claims = MemoryDenyList(), checked_claims()
    results.add("deny-list, in memory", microseconds(lambda: memory.denies(claims), times=10 * times), "µs")
    if redis_url is None:
        return
    from velro_auth.stores.client import connect  # noqa: PLC0415 (only with a Redis server)
    from velro_auth.stores.denylist_codec import DenialsInRedis  # noqa: PLC0415

    store = DenialsInRedis(client=connect(redis_url))
    results.add("deny-list, asking Redis", microseconds(lambda: store.read_for(claims), times=times), "µs")


def measure_worker(results: Results, times: int) -> None:
    """Count requests through a WSGI app with the verifier, and through a bare one."""
    key = SigningKey("worker")
    tokens = [key.token(claims_at(time.time(), nonce=number)) for number in range(100)]
    headers = identity_headers(checked_claims(email="ada@example.com"))
    checker = verifier([key])
    numbers = iter(range(10**9))

    def verify_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        claims = checker.verify(bearer_token(environ.get("HTTP_AUTHORIZATION")))
        return answer(start_response, identity_headers(claims))

    def bare_app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return answer(start_response, headers)

    def one_request(app: WSGIApplication) -> Callable[[], object]:
        return lambda: list(app(request(tokens[next(numbers) % len(tokens)]), lambda *_: io.BytesIO().write))

    for name, app in (("bare WSGI app", bare_app), ("verify, 100 users", verify_app)):
        results.add(f"requests/s, {name}", 1e6 / microseconds(one_request(app), times=times), "/s")


def answer(start_response: StartResponse, headers: Mapping[str, str]) -> Iterable[bytes]:
    """Answer 200 with the identity headers."""
    start_response("200 OK", [*headers.items(), ("Content-Length", "0")])
    return [b""]


def request(token: str) -> dict[str, Any]:
    """Return what a server hands over for one request."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/v1/auth/verify",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.input": io.BytesIO(),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    options = argparse.ArgumentParser(description="What it costs to verify a token.")
    options.add_argument("--times", type=int, default=2000, help="calls per round")
    options.add_argument("--redis", metavar="URL", help="also ask this Redis, to know what is saved")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args()
    results = Results()
    measure_verifier(results, chosen.times)
    measure_denylist(results, chosen.times, chosen.redis)
    measure_worker(results, chosen.times)
    numbers = {name: {"value": round(value, 2), "unit": unit} for name, (value, unit) in results.rows.items()}
    print(json.dumps(numbers, indent=2) if chosen.json else results)  # noqa: T201 (that is what it is for)


if __name__ == "__main__":
    main()
