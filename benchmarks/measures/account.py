"""The rest of an account: sign-up, mailed links, forgotten passwords, second factors."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from benchmarks.load import open_loop
from benchmarks.results import Measure, Round
from benchmarks.servers import DIRECT, FASTAPI, FLASK_POOLED, GATEWAY, Server, Upstream
from benchmarks.setting import USERS, Setting, in_turn, titles
from benchmarks.upstream import SESSION_PATH
from benchmarks.wire import Line, Question, get, post
from velro_auth.ops.bench.figures import figures

#: Supabase hashes a password, or sends a mail.
DELAY_MS: Final = 70.0
_RPS: Final = 50

#: No limit may stop the load of one machine; the fixed time of mail routes would hide what is measured.
_OPEN: Final = {
    "AUTH_THROTTLE_SCALE": "1000000",
    "AUTH_MAIL_BUDGET_PER_HOUR": "1000000",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_UPSTREAM_QUOTA": "off",
}
_EVERYBODY: Final = (
    DIRECT,
    dataclasses.replace(GATEWAY, settings={**GATEWAY.settings, **_OPEN}),
    FLASK_POOLED,
    FASTAPI,
)

_FACTORS: Final = [str(uuid.UUID(int=number + 1)) for number in range(USERS)]


@dataclasses.dataclass(frozen=True, slots=True)
class _Action:
    """Something that a user does.

    Attributes:
        title: In the heading of the table.
        path: At the services; ``{factor}`` stands for a factor's id.
        direct: The same at the upstream.
        body: User → body.
        status: Of a success at this service; the peers and the upstream answer 200.
        has_session: Whether the answer is a session of the user.
        needs_token: Whether a user's token is sent.
    """

    title: str
    path: str
    direct: str
    body: Callable[[int], Mapping[str, str]]
    status: int = 200
    has_session: bool = True
    needs_token: bool = False

    def question(self, number: int, contender: str, token: str) -> Question:
        """Return the request of user *number*."""
        path = (self.direct if contender == DIRECT.name else self.path).format(factor=_FACTORS[number])
        proof = f"rt-user{number}@example.com".encode() if self.has_session else b""
        bearer = token if self.needs_token else ""
        return Question(
            post(path, self.body(number), number, token=bearer),
            proof,
            self.status if contender == GATEWAY.name else 200,
        )


_API: Final = "/api/v1/auth"

ACTIONS: Final[Mapping[str, _Action]] = {
    "sign_up": _Action(
        "a sign-up",
        f"{_API}/signup",
        "/auth/v1/signup",
        lambda number: {"email": f"user{number}@example.com", "password": "correct horse battery staple"},
    ),
    "confirm": _Action(
        "a confirmation by link",
        f"{_API}/confirm",
        "/auth/v1/verify",
        lambda number: {"token_hash": f"{number:056x}", "type": "email"},
    ),
    "forgot": _Action(
        "a forgotten password (without the fixed time of the answer)",
        f"{_API}/password/forgot",
        "/auth/v1/recover",
        lambda number: {"email": f"user{number}@example.com"},
        status=202,
        has_session=False,
    ),
    "factor_verify": _Action(
        "a second factor (two calls of the upstream, one after the other)",
        f"{_API}/factors/{{factor}}/verify",
        "/auth/v1/factors/{factor}/verify",
        lambda _: {"code": "123456"},
        has_session=False,
        needs_token=True,
    ),
}


def added_latency(setting: Setting) -> Iterator[Measure]:
    """Measure what each action takes beyond the upstream, beside plain Flask and FastAPI that do the same."""
    with (
        setting.fleet.upstream(delay_ms=DELAY_MS) as upstream,
        setting.fleet.servers(_EVERYBODY, upstream) as servers,
    ):
        token = _token(upstream)
        for name, action in ACTIONS.items():
            rounds = []
            for number in range(setting.effort.rounds):
                setting.tell(f"{action.title}, round {number + 1}")
                rounds.append(_round(in_turn(servers, number), action, token, setting.effort.open_s[_RPS], number))
            yield Measure(
                name=name,
                title=f"What {action.title} adds to an upstream of {DELAY_MS:g} ms, at {_RPS} a second",
                metrics=("p50 ms", "added p50 ms", "added p95 ms", "failed"),
                titles=titles(_EVERYBODY),
                rounds=rounds,
            )


def _round(servers: Sequence[Server], action: _Action, token: str, duration_s: float, seed: int) -> Round:
    found: dict[str, dict[str, float]] = {}
    for server in servers:
        name = server.contender.name
        questions = (action.question(number, name, token) for number in itertools.cycle(range(USERS)))
        samples = open_loop(server.port, questions, rps=_RPS, duration_s=duration_s, seed=seed)
        spread, failed = figures(samples).classes["good"].latency_ms, sum(not s.is_expected for s in samples)
        assert spread is not None, f"{server.contender.title} answers no {action.title}; see the log"
        found[name] = {"p50 ms": spread.p50, "p95 ms": spread.p95, "failed": failed}
    direct = found[DIRECT.name]
    for own in found.values():
        own |= {f"added {name} ms": own[f"{name} ms"] - direct[f"{name} ms"] for name in ("p50", "p95")}
    return found


def _token(upstream: Upstream) -> str:
    with contextlib.closing(Line(upstream.port, timeout_s=5)) as line:
        _, body = line.ask(get(SESSION_PATH).request)
    token: str = json.loads(body)["access_token"]
    return token
