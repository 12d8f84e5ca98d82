"""One look at one target, and what it counts as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

#: Why there was no usable answer. ``garbage``: something answered, but not what this service says.
#: ``unsent``: the monitor itself was held up, which says nothing about the target.
Failure: TypeAlias = Literal["", "timeout", "connection", "dns", "tls", "garbage", "unsent"]

Verdict: TypeAlias = Literal["success", "failure", "throttled", "unsent"]

#: What can be watched, in the order it is shown; what one answer of it is called.
TARGETS: Final[Mapping[str, str]] = {
    "health": "answers of /health",
    "ping": "answers of /api/v1/auth/ping",
    "version": "answers of /__version",
    "ready": "answers of /health/ready",
    "login": "logins",
    "logout": "logouts",
}

FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)

_TOO_MANY: Final = 429
_SUCCESSES: Final = 2
#: How a login is answered whose account, not whose service, is the matter.
_ACCOUNT: Final = frozenset({400, 401, 403, 422})


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of one request.

    Attributes:
        at_s: When it was due, in seconds since the epoch.
        target: One of ``TARGETS``.
        took_ms: From due to done.
        status: HTTP status; None when there was no answer.
        failure: Why there was no usable answer.
        code: The error's code.
        note: Which build answered, or what readiness complains of.
        own_ms: The service's own share of the time, when it told.
    """

    at_s: float
    target: str
    took_ms: float
    status: int | None = None
    failure: Failure = ""
    code: str = ""
    note: str = ""
    own_ms: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What it counts as.

        As the service counts, with one difference: 401 and 422 are rightful answers to strangers, never to an
        account that is watched with its right password.
        """
        if self.failure == "unsent":
            return "unsent"
        if self.status == _TOO_MANY:
            return "throttled"
        is_good = not self.failure and self.status is not None and self.status // 100 == _SUCCESSES
        return "success" if is_good else "failure"

    @property
    def refuses_account(self) -> bool:
        """Whether the service is well and the watched account is not."""
        return self.target == "login" and not self.failure and self.status in _ACCOUNT

    @property
    def has_latency(self) -> bool:
        """Whether its time belongs among the percentiles; a quick refusal would make a broken service look fast."""
        return self.verdict == "success" or self.failure == "timeout"

    @property
    def outcome(self) -> str:
        """The status with the error's code, or why there is none."""
        return self.failure or f"{self.status} {self.code}".strip()

    def record(self) -> dict[str, Any]:
        """Return it as a line of the file has it; what is empty is left out."""
        told = {
            "kind": "observation",
            "at": round(self.at_s, 3),
            "target": self.target,
            "verdict": self.verdict,
            "took_ms": round(self.took_ms, 3),
            "status": self.status,
            "failure": self.failure or None,
            "code": self.code or None,
            "note": self.note or None,
            "own_ms": None if self.own_ms is None else round(self.own_ms, 3),
        }
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Observation:
        """Return what a line of the file holds.

        Raises:
            ValueError: It holds no observation.
        """
        failure, own_ms, status = record.get("failure", ""), record.get("own_ms"), record.get("status")
        if record.get("target") not in TARGETS or failure not in FAILURES:
            raise ValueError("no observation")
        try:
            return cls(
                at_s=float(record["at"]),
                target=record["target"],
                took_ms=float(record["took_ms"]),
                status=None if status is None else int(status),
                failure=failure,
                code=str(record.get("code", "")),
                note=str(record.get("note", "")),
                own_ms=None if own_ms is None else float(own_ms),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("no observation") from error
