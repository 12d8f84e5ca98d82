"""``velro-auth prove``: test a running gateway for claims that anyone can check."""

from __future__ import annotations

import dataclasses
import math
import random
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

import click
import requests

from velro_auth.config.settings import Settings
from velro_auth.ops.cli.click_helpers import url_option

KINDS: Final = ("unknown", "wrong", "banned")
PAIRS: Final = (("unknown", "wrong"), ("unknown", "banned"), ("wrong", "banned"))

#: Headers whose values differ in every answer: only their presence is compared.
VARYING_HEADERS: Final = frozenset(
    {"date", "x-request-id", "server-timing", "x-fastlane-time-ms", "ratelimit", "sb-request-id", "cf-ray"}
)

TIMEOUT_S: Final = 30.0
#: Rounds per client before the measurement, so that no connect is timed.
WARM_UP: Final = 3
_TOO_MANY_REQUESTS: Final = 429

#: Two samples of one distribution exceed this in one of twenty comparisons: 0.061 for 1,000 values.
KS_FACTOR: Final = 1.358
#: Standard deviations that an AUC may be off: 0.47 to 0.53 for 1,000 values.
AUC_DEVIATIONS: Final = 2.324


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where the logins are sent.

    *refusal* is the status of a refused login.
    """

    url: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    refusal: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One refused login, without what differs in every answer.

    *took_s* is from the first byte sent to the last one received; *body* lacks the request id.
    """

    kind: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    took_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class TimingComparison:
    """Differences between two sets of times.

    Attributes:
        auc: Probability that a time of the first set is larger; 0.5 for equal sets.
        distance: Largest distance of the two distribution functions (Kolmogorov and Smirnov).
        auc_margin: Largest difference between ``auc`` and 0.5 that is chance.
        most_distance: Largest ``distance`` that is chance.
    """

    auc: float
    distance: float
    auc_margin: float
    most_distance: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the sets differ by more than chance."""
        return abs(self.auc - 0.5) > self.auc_margin or self.distance > self.most_distance


@click.group()
def prove() -> None:
    """Check a claim of the service, and show the numbers."""


@prove.command()
@click.option("--samples", default=1000, show_default=True, help="Logins of each kind.")
@url_option
@click.option("--direct", is_flag=True, help="Ask Supabase itself (SUPABASE_URL): it does tell accounts apart.")
@click.option("--existing", default="demo@example.com", show_default=True, help="An account that exists.")
@click.option("--banned", default="banned@example.com", show_default=True, help="An account that is banned.")
@click.option("--parallel", default=4, show_default=True, help="Logins at once.")
def enumeration(*, samples: int, url: str, direct: bool, existing: str, banned: str, parallel: int) -> None:
    """Try to tell unknown accounts, wrong passwords and banned accounts apart.

    Refused logins of the three kinds are mixed at random, and their status, headers, body and time compared.
    Exit status 0: alike. 1: told apart. 2: not measured.

    The limits of the service would stop this after a few tries. Open them for the gateway under test, and only
    there: AUTH_THROTTLE_SCALE=100000, and AUTH_UPSTREAM_QUOTA=off if its Supabase takes that many calls.

    By chance, a correct gateway is reported as told apart in one of eight tests with 1,000 samples. Told apart twice
    in a row means told apart.
    """
    target = _target(url, direct=direct)
    accounts = {"wrong": existing, "banned": banned}
    try:
        found = gather(target, accounts, rounds=samples, parallel=parallel)
    except requests.RequestException as error:
        print(f"{target.url} cannot be asked: {type(error).__name__}", file=sys.stderr)
        sys.exit(2)
    unexpected = [sample.status for sample in found if sample.status != target.refusal]
    if unexpected:
        print(_not_measured(unexpected, target), file=sys.stderr)
        sys.exit(2)
    sys.exit(int(_report(found)))


def _target(url: str, *, direct: bool) -> Target:
    if not direct:
        return Target(url=f"{url}/api/v1/auth/login", headers={}, refusal=401)
    settings = Settings.from_environment()
    if not settings.supabase_url:
        raise click.UsageError("--direct needs SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY.")
    return Target(
        url=settings.supabase_url.rstrip("/") + "/auth/v1/token?grant_type=password",
        headers={"apikey": settings.supabase_publishable_key, "X-Supabase-Api-Version": "2024-01-01"},
        refusal=400,
    )


def _not_measured(statuses: list[int], target: Target) -> str:
    counts = ", ".join(f"{statuses.count(status)} times {status}" for status in sorted(set(statuses)))
    throttled = _TOO_MANY_REQUESTS in statuses
    hint = " Open the throttle of the gateway under test: see --help." if throttled else ""
    return f"Not measured: not all logins were refused with {target.refusal} ({counts}).{hint}"


def gather(target: Target, accounts: Mapping[str, str], *, rounds: int, parallel: int) -> list[Sample]:
    """Return *rounds* samples of each kind, from *parallel* clients, in a random order in each round.

    *accounts* contains the email of an existing account (``wrong``) and of a banned one (``banned``).

    Raises:
        requests.RequestException: The target does not answer.
    """
    local = threading.local()
    sessions: list[requests.Session] = []
    domain = accounts["wrong"].partition("@")[2]

    def one_round(_number: int) -> list[Sample]:
        if not hasattr(local, "session"):
            local.session = _session(target)
            sessions.append(local.session)
        kinds = random.sample(KINDS, k=len(KINDS))
        return [_ask(local.session, target, kind, accounts.get(kind) or _unknown(domain)) for kind in kinds]

    with ThreadPoolExecutor(parallel) as pool:
        try:
            list(pool.map(one_round, range(WARM_UP * parallel)))
            return [sample for samples in pool.map(one_round, range(rounds)) for sample in samples]
        finally:
            pool.shutdown(cancel_futures=True)
            for session in sessions:
                session.close()


def _unknown(domain: str) -> str:
    """Return an email without an account, another one each time."""
    return f"nobody-{secrets.token_hex(6)}@{domain}"


def _session(target: Target) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update(target.headers)
    return session


def _ask(session: requests.Session, target: Target, kind: str, email: str) -> Sample:
    credentials = {"email": email, "password": secrets.token_urlsafe(12)}
    started = time.perf_counter()
    answer = session.post(target.url, json=credentials, timeout=TIMEOUT_S, allow_redirects=False)
    took_s = time.perf_counter() - started
    named = ((name.lower(), value) for name, value in answer.headers.items())
    headers = tuple(sorted((name, "…" if name in VARYING_HEADERS else value) for name, value in named))
    request_id = answer.headers.get("X-Request-ID", "")
    body = answer.content.replace(request_id.encode(), b"") if request_id else answer.content
    return Sample(kind, answer.status_code, headers, body, took_s)


def _report(found: list[Sample]) -> bool:
    """Print the differences; return whether the kinds differ."""
    differs = [_report_equality(found, what) for what in ("status", "headers", "body")]
    times = {kind: [sample.took_s for sample in found if sample.kind == kind] for kind in KINDS}
    print(f"\n{'':<20} {'AUC':>7} {'may differ':>12} {'KS':>7} {'at most':>9}")
    for first, second in PAIRS:
        comparison = compare(times[first], times[second])
        print(_row(f"{first} / {second}", comparison))
        differs.append(comparison.is_told_apart)
    print(f"\n{'Told apart.' if any(differs) else 'Not told apart.'}")
    return any(differs)


def _report_equality(found: list[Sample], what: str) -> bool:
    """Print whether all samples agree in *what*; return whether they differ."""
    values_of = {kind: {getattr(sample, what) for sample in found if sample.kind == kind} for kind in KINDS}
    differs = len({frozenset(values) for values in values_of.values()}) > 1
    print(f"{what:<20} {'DIFFERS' if differs else 'equal'}")
    for kind, values in values_of.items() if differs else ():
        print(f"  {kind:<18} {' | '.join(sorted(map(str, values)))[:300]}")
    return differs


def _row(pair: str, comparison: TimingComparison) -> str:
    margin = f"0.5 ± {comparison.auc_margin:.3f}"
    return (
        f"{pair:<20} {comparison.auc:>7.3f} {margin:>12} {comparison.distance:>7.3f}"
        f" {comparison.most_distance:>9.3f}  {'TOLD APART' if comparison.is_told_apart else 'alike'}"
    )


def compare(first: Sequence[float], second: Sequence[float]) -> TimingComparison:
    """Compare two non-empty sets of times."""
    sizes = 1 / len(first) + 1 / len(second)
    deviation = math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
    return TimingComparison(
        auc=auc(first, second),
        distance=ks_distance(first, second),
        auc_margin=AUC_DEVIATIONS * deviation,
        most_distance=KS_FACTOR * math.sqrt(sizes),
    )


def auc(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability that a value of *first* exceeds one of *second*; ties count half (Mann and Whitney)."""
    larger = ties = below = 0
    for in_first, in_second in _counts_by_value(first, second):
        larger += in_first * below
        ties += in_first * in_second
        below += in_second
    return (larger + ties / 2) / (len(first) * len(second))


def ks_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the largest distance between the distribution functions of *first* and *second*."""
    largest = share_first = share_second = 0.0
    for in_first, in_second in _counts_by_value(first, second):
        share_first += in_first / len(first)
        share_second += in_second / len(second)
        largest = max(largest, abs(share_first - share_second))
    return largest


def _counts_by_value(first: Sequence[float], second: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield for each value, in ascending order, how often it occurs in *first* and in *second*."""
    ordered = sorted([(value, True) for value in first] + [(value, False) for value in second])
    for _value, group in groupby(ordered, key=lambda pair: pair[0]):
        in_first = [is_first for _, is_first in group]
        yield sum(in_first), len(in_first) - sum(in_first)
