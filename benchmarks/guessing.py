"""Ten thousand wrong passwords from one address, and people elsewhere who log in meanwhile.

Run ``make run`` in one terminal and ``python -m benchmarks.guessing`` in another. What to look for: no more guesses
tried than the network's limit allows, the others refused in a few milliseconds, and all other logins successful.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

#: Of ``velro-auth dev``.
EMAIL: Final = "demo@example.com"
PASSWORD: Final = "correct-horse-battery-staple"  # noqa: S105 - everybody knows it
ATTACKER: Final = "203.0.113.7"
CLIENTS: Final = 8


class Client:
    """One connection to the gateway, kept alive."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=30)

    def log_in(self, email: str, password: str, address: str) -> tuple[int, float]:
        """Return the status and the time it took, in milliseconds. The address is claimed as an edge would."""
        body = json.dumps({"email": email, "password": password})
        headers = {"Content-Type": "application/json", "X-Real-IP": address}
        started_s = time.perf_counter()
        self._connection.request("POST", "/api/v1/auth/login", body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, (time.perf_counter() - started_s) * 1000


def guess(url: str, numbers: Iterator[int]) -> list[tuple[int, float]]:
    """Try wrong passwords for one account after the other until the numbers run out."""
    client = Client(url)
    return [client.log_in(f"victim{number}@example.com", "guess", ATTACKER) for number in numbers]


def live(url: str, is_over: threading.Event) -> list[tuple[int, float]]:
    """Log in with the right password, each time from another network, four times a second."""
    client, answers = Client(url), []
    for number in itertools.count(1):
        answers.append(client.log_in(EMAIL, PASSWORD, f"198.18.{number % 250}.9"))
        if is_over.wait(0.25):
            return answers
    return answers


def summary(name: str, answers: list[tuple[int, float]]) -> str:
    """Return one line of the report."""
    statuses = dict(sorted(Counter(status for status, _ in answers).items()))
    lines = [f"{name}: {statuses}"]
    for status in statuses:
        times = sorted(took_ms for answered, took_ms in answers if answered == status)
        p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
        lines.append(f"  {status}: median {statistics.median(times):.2f} ms, p99 {p99:.2f} ms")
    return "\n".join(lines)


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--guesses", type=int, default=10_000)
    given = parser.parse_args()
    numbers, lock, is_over = iter(range(given.guesses)), threading.Lock(), threading.Event()

    def shared() -> Iterator[int]:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            yield number

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        others = pool.submit(live, given.url, is_over)
        time.sleep(2)
        started_s = time.perf_counter()
        guesses = [pool.submit(guess, given.url, shared()) for _ in range(CLIENTS)]
        answers = [answer for part in guesses for answer in part.result()]
        took_s = time.perf_counter() - started_s
        is_over.set()
    print(summary("guesses", answers))  # noqa: T201 - a report
    print(f"  {len(answers) / took_s:.0f} a second")  # noqa: T201
    print(summary("others", others.result()))  # noqa: T201


if __name__ == "__main__":
    main()
