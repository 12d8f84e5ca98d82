"""One request to one target, and whether it counts as a success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

#: Why there was no usable answer. ``garbage``: the answer is not from this service.
#: ``unsent``: the monitor itself was delayed, which says nothing about the target.
Failure: TypeAlias = Literal["", "timeout", "connection", "dns", "tls", "garbage", "unsent"]

Result: TypeAlias = Literal["success", "failure", "throttled", "unsent"]

#: Name of each target, in the order of display → what one answer of it is called.
TARGETS: Final[Mapping[str, str]] = {
    "health": "answers of /health",
    "ping": "answers of /api/v1/auth/ping",
    "version": "answers of /__version",
    "ready": "answers of /health/ready",
    "login": "logins",
    "logout": "logouts",
}

FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)

_TOO_MANY_REQUESTS: Final = 429
#: Statuses of a login that mean that the account is wrong, not the service.
_ACCOUNT_REFUSED: Final = frozenset({400, 401, 403, 422})


@dataclass(frozen=True, slots=True)
class Observation:
    """One request and its answer.

    Attributes:
        at_s: When it was due, in seconds since the epoch.
        status: HTTP status; None without an answer.
        note: The build that answered, or the checks that readiness reports as failed.
        own_ms: The service's own share of the time, if the answer contains it.
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
    def result(self) -> Result:
        """What the observation counts as.

        The same as in the service, with one difference: 401 and 422 are right answers to strangers, but failures for
        the monitored account, whose password is right.
        """
        if self.failure == "unsent":
            return "unsent"
        if self.status == _TOO_MANY_REQUESTS:
            return "throttled"
        is_good = not self.failure and self.status is not None and self.status // 100 == 2  # noqa: PLR2004 - 2xx
        return "success" if is_good else "failure"

    @property
    def refuses_account(self) -> bool:
        """Whether the service works but refuses the monitored account."""
        return self.target == "login" and not self.failure and self.status in _ACCOUNT_REFUSED

    @property
    def has_latency(self) -> bool:
        """Whether the time is part of the percentiles; a quick refusal would make a broken service look fast."""
        return self.result == "success" or self.failure == "timeout"

    @property
    def outcome(self) -> str:
        """The status with the error's code, or why there is no answer."""
        return self.failure or f"{self.status} {self.code}".strip()

    def record(self) -> dict[str, Any]:
        """Return it as a line of the file; empty members are left out."""
        found = {"status": self.status, "failure": self.failure, "code": self.code, "note": self.note}
        return {
            "kind": "observation",
            "at": round(self.at_s, 3),
            "target": self.target,
            "verdict": self.result,
            "took_ms": round(self.took_ms, 3),
            **{name: value for name, value in found.items() if value},
            **({} if self.own_ms is None else {"own_ms": round(self.own_ms, 3)}),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Observation:
        """Return the observation of a line of the file.

        Raises:
            ValueError: The line contains no observation.
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
