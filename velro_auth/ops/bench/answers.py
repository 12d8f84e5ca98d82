"""What came back, and what it counts as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from velro_auth.ops.bench.schedule import Kind

#: What an answer is counted under: what was asked, or ``throttled`` when nobody looked at it.
Class: TypeAlias = Literal["good", "wrong_password", "unknown_user", "throttled"]

#: Why there was no answer. ``unsent``: its time passed before a connection was free.
Failure: TypeAlias = Literal["", "timeout", "connection", "unsent"]

CLASSES: Final[tuple[Class, ...]] = get_args(Class)

#: The one status that is right in a class. Anything else is a failure: a 5xx is never a success.
EXPECTED: Final[Mapping[Class, int]] = {"good": 200, "wrong_password": 401, "unknown_user": 401, "throttled": 429}

_TOO_MANY: Final = 429
_DURATION: Final = re.compile(r"([\w-]+)\s*;(?:[^,]*;)?\s*dur=([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service, or why there is none.

    Attributes:
        status: HTTP status; None when there was no answer.
        failure: Why there was none.
        code: The error's code, empty on success.
        own_ms: The service's own share of the time, when it told.
    """

    status: int | None
    failure: Failure = ""
    code: str = ""
    own_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One request from due to done.

    Attributes:
        kind: What was asked.
        at_s: When it was due, in seconds after the start.
        late_ms: How long after that it was sent.
        took_ms: From due (not from sent) to done.
        answer: What came back.
    """

    kind: Kind
    at_s: float
    late_ms: float
    took_ms: float
    answer: Answer

    @property
    def counted_as(self) -> Class:
        """The class it is counted under."""
        return "throttled" if self.answer.status == _TOO_MANY else self.kind

    @property
    def is_expected(self) -> bool:
        """Whether the answer is the right one for its class."""
        return self.answer.status == EXPECTED[self.counted_as]

    @property
    def has_latency(self) -> bool:
        """Whether its time belongs among the percentiles.

        Right answers do, and those that never came in time, since leaving out the slowest would flatter. A quick 503
        or a refused connection does not: it would make a broken service look fast. The success rate counts it.
        """
        return self.is_expected or self.answer.failure in {"timeout", "unsent"}

    @property
    def outcome(self) -> str:
        """The status with the error's code, or why there is none."""
        return self.answer.failure or f"{self.answer.status} {self.answer.code}".strip()


def own_share_ms(server_timing: str) -> float | None:
    """Return what the service itself took, by its ``Server-Timing`` header: the total less the wait for Supabase.

    None when it does not tell both. Refused logins give the total only, so that nobody learns from them who has an
    account.
    """
    durations = dict(_DURATION.findall(server_timing))
    try:
        return float(durations["total"]) - float(durations["upstream"])
    except (KeyError, ValueError):
        return None
