"""Generated inputs for what proves who somebody is: tokens, sealed values, solved challenges. None is accepted."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import time
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeAlias

import altcha
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.wrappers import Request

from tests.faultlab import bodies, forging
from tests.faultlab.inputs.part import Part, Wrong, hurt
from tests.fixtures.tokens import ISSUER, HeldKeys, SigningKey, claims_at, rules
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.models import Session, User
from velro_auth.auth.oauth import HandoffCodes
from velro_auth.auth.pkce import challenge_of
from velro_auth.auth.sealing import Sealer
from velro_auth.auth.tickets import Ticket, Tickets
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.errors import LinkInvalid, TokenError
from velro_auth.guards.challenges import Challenges, MemorySpent
from velro_auth.guards.keys import Caller
from velro_auth.web.flow_cookies import Flow, FlowCookies, Purpose
from velro_auth.web.session_cookies import SessionCookies

PUBLIC: Final = "https://auth.example.com"
_URL_SAFE: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def signing_key() -> SigningKey:
    """Return the project's key: the same in each run, so that a failing token can be tried again."""
    key = SigningKey("key-1")
    key._private = ec.derive_private_key(1959, ec.SECP256R1())
    return key


def random_uuid(chance: random.Random) -> str:
    """Return a UUID by chance."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


# -- access tokens ----------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """A text, or several, and whether it has to be accepted."""

    text: Any
    is_good: bool
    kind: str = ""


class Tokens(Part):
    """Forged and damaged access tokens for the verifier."""

    name = "access tokens"
    share = 160
    parsers = ((TokenVerifier, "verify"),)
    wanted = frozenset({"accepted", "TokenInvalid", "TokenExpired", "CannotVerify"})

    def __init__(self) -> None:
        self._key = signing_key()
        self._verifier = TokenVerifier(keys=HeldKeys(self._key), rules=rules(time.time), cache_size=64)
        self._good = [self._key.token(self._claims(random.Random(number))) for number in range(20)]  # noqa: S311
        key = SimpleNamespace(kid=self._key.kid, private=self._key._private, public_jwk=lambda: self._key.jwk)
        mutants = dict(forging.mutants(self._good[0], key))
        self._mutants = [token for token in mutants.values() if len(token) < 20_000]
        self._huge = [token for token in mutants.values() if len(token) >= 20_000]

    def make(self, chance: random.Random) -> Given:
        """Return a good token, a known forgery, a damaged token, or a signed one that says something wrong."""
        kind = chance.random()
        if kind < 0.05:
            return Given(self._key.token(self._claims(chance)), is_good=True)
        if kind < 0.25:
            forged = chance.choice(self._huge if chance.random() < 0.002 else self._mutants)
            return Given(forged, is_good=False)
        if kind < 0.65:
            # Half of them in the signature's last character, whose last bits mean nothing.
            good, alphabet = chance.choice(self._good), _URL_SAFE + "=. \t+/\0\u00e9\ud800"
            made = good[:-1] + chance.choice(_URL_SAFE.replace(good[-1], "")) if kind < 0.27 else ""
            return Given(made or hurt(chance, good, alphabet), is_good=False)
        claims = self._claims(chance)
        if kind < 0.75:
            return Given(forging.forged(claims, kid=chance.choice(("key-1", "key-2", ""))), is_good=False)
        name = chance.choice(("iss", "aud", "sub", "session_id", "exp", "exp", "iat", "nbf", "client_id", "role"))
        late_s = time.time() + chance.choice((60, 3600, 10**9, 10**13))
        wrong = {"iat": late_s, "nbf": late_s, "client_id": "x", "role": "service_role"}.get(name, _no_claim(chance))
        return Given(self._key.token({**claims, name: wrong}), is_good=False)

    @staticmethod
    def _claims(chance: random.Random) -> dict[str, Any]:
        own = {"sub": random_uuid(chance), "session_id": random_uuid(chance), "iss": ISSUER}
        return claims_at(time.time() + chance.randint(-3000, 0), **own, user_metadata={"a": bodies.value(chance)})

    def judge(self, given: Given) -> str:
        """Verify it, twice: the second time it may be cached."""
        claims_of_issued(given.text)
        verdicts = set()
        for _ in range(1 + given.is_good):
            try:
                self._verifier.verify(given.text)
            except (TokenError, CannotVerify) as error:
                verdicts.add(type(error).__name__)
            else:
                verdicts.add("accepted")
        if (verdicts == {"accepted"}) != given.is_good or (self._verifier.known(given.text) is None) == given.is_good:
            raise Wrong("a good token is refused" if given.is_good else "a bad token is accepted")
        return verdicts.pop()


def _no_claim(chance: random.Random) -> Any:
    """Return what is no address, no id, no name and no time to come."""
    found = bodies.value(chance)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return min(found, 10**9) if is_number else found


# -- cookies and other sealed values ----------------------------------------------------------------------------------

_KEYS: Final = (b"k" * 32, b"l" * 32)
_NOW_S: Final = 1_785_600_000
_PROOF: Final = "v" * 43
_FLOW_ID: Final = "f" * 16

#: Names with values: the cookies of a request, or one text under the name "".
Texts: TypeAlias = dict[str, str]


class _Sealer:
    """All that seals, with the same keys and a clock that stands still."""

    KINDS: Final = ("session", "flow", "ticket", "code")

    def __init__(self, keys: Sequence[bytes], *, late_s: float = 0.0) -> None:
        self._now_s = now_s = _NOW_S - late_s
        self.sessions = SessionCookies(keys, public_url=PUBLIC, now=lambda: now_s)
        self.flows = FlowCookies(keys, public_url=PUBLIC, now=lambda: now_s)
        self.codes = HandoffCodes(keys, now=lambda: now_s)
        sealer = Sealer(keys, "ticket", now=lambda: now_s)
        self.tickets = Tickets(sealer=sealer, spent=MemorySpent(), denies=lambda _: False, now=lambda: now_s)

    def sealed(self) -> dict[str, list[Texts]]:
        """Return values of each kind: a session in one cookie and two in two cookies."""
        request, user = _request({}), User(id="u", email="a@example.com")
        made = [
            Session(access_token=letter * size, refresh_token="r" * 12, expires_in=60, expires_at=1, user=user)
            for letter, size in (("a", 600), ("b", 3600), ("c", 3600))
        ]
        flow = Flow("oauth", _FLOW_ID, _PROOF, self._now_s, {"redirect_to": PUBLIC})
        return {
            "session": [_cookies(self.sessions.keep(session, request)) for session in made],
            "flow": [_cookies(self.flows.keep(flow, request))],
            "ticket": [{"": self.tickets.seal(made[0], self.tickets.begin())}],
            "code": [{"": self.codes.seal("c", _PROOF, challenge_of(_PROOF))}],
        }

    def opens(self, kind: str, texts: Texts) -> bool:
        """Return whether it is accepted."""
        if kind == "session":
            return self.sessions.find(_request(texts)) is not None
        if kind == "flow":
            purpose: Purpose = "mail" if "mail" in next(iter(texts)) else "oauth"
            return self.flows.find(purpose, next(iter(texts)).rpartition("_")[2], _request(texts)) is not None
        try:
            if kind == "ticket":
                self.tickets.open(Ticket(texts[""]))
            else:
                self.codes.open(texts[""], _PROOF)
        except LinkInvalid:
            return False
        return True


def cookies_of(headers: Sequence[tuple[str, str]]) -> str:
    """Return the ``Cookie`` field of a browser that got these ``Set-Cookie`` fields."""
    return "; ".join(value.partition(";")[0] for _, value in headers)


def _request(cookies: Texts) -> Request:
    return Request({"HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in cookies.items())})


def _cookies(headers: Sequence[tuple[str, str]]) -> Texts:
    pairs = (pair.partition("=") for pair in cookies_of(headers).split("; "))
    return {name: value for name, _, value in pairs}


class SealedValues(Part):
    """The cookies of sessions and of flows, tickets, and codes for a frontend."""

    name = "sealed values"
    share = 80
    parsers = ((SessionCookies, "find"), (FlowCookies, "find"), (Tickets, "open"), (HandoffCodes, "open"))
    wanted = frozenset(f"{kind} {verdict}" for kind in _Sealer.KINDS for verdict in ("accepted", "refused"))

    def __init__(self) -> None:
        self._ours = _Sealer(_KEYS)
        self._good = self._ours.sealed()
        others = [_Sealer((b"x" * 32,)).sealed(), _Sealer(_KEYS, late_s=31 * 24 * 3600).sealed()]
        self._wrong = {kind: [texts for other in others for texts in other[kind]] for kind in _Sealer.KINDS}
        # Sealed by us, for something else.
        flow, ticket, code = (next(iter(self._good[kind][0].values())) for kind in ("flow", "ticket", "code"))
        short, long, other = self._good["session"]
        first, second = long
        parts = [short[first], flow, ticket, long[first], long[second]]
        self._wrong["session"] += [{first: part} for part in parts[1:]]
        self._wrong["session"] += [
            {first: one[first], second: two[second]} for one, two in ((long, other), (other, long))
        ]
        self._wrong["session"] += [{first: long[second], second: long[first]}]
        (name,) = self._good["flow"][0]
        self._wrong["flow"] += [{name: part} for part in (*parts, code) if part is not flow]
        self._wrong["flow"] += [{name[:-1] + "g": flow}, {name.replace("oauth", "mail"): flow}]
        self._wrong["ticket"] += [{"": part} for part in (*parts, code) if part is not ticket]
        self._wrong["code"] += [{"": part} for part in parts]

    def make(self, chance: random.Random) -> Given:
        """Return a good value, one that is wrong as a whole, or damage a good one."""
        kind, luck = chance.choice(_Sealer.KINDS), chance.random()
        if luck < 0.1:
            return Given(chance.choice(self._good[kind]), is_good=True, kind=kind)
        if luck < 0.25:
            return Given(chance.choice(self._wrong[kind]), is_good=False, kind=kind)
        texts = dict(chance.choice(self._good[kind]))
        name = chance.choice(list(texts))
        # White space, quotes and semicolons are the syntax of cookies: around a value they change nothing.
        texts[name] = hurt(chance, texts[name], _URL_SAFE + "=.+/%\0\u00e9" + ("" if name else "\u20ac\ud800 "))
        return Given(texts, is_good=False, kind=kind)

    def judge(self, given: Given) -> str:
        """Open it."""
        verdict = "accepted" if self._ours.opens(given.kind, given.text) else "refused"
        if (verdict == "accepted") != given.is_good:
            raise Wrong(f"{given.kind}: a {'good' if given.is_good else 'bad'} value is {verdict}")
        return f"{given.kind} {verdict}"


# -- solved challenges ------------------------------------------------------------------------------------------------

_ASKING: Final = Caller("account", "network")


class Solutions(Part):
    """Solved challenges: damaged ones, those of another caller, and those that were used before."""

    name = "challenge solutions"
    share = 20
    parsers = ((Challenges, "check"),)
    wanted = frozenset({"accepted, then used before", "unreadable", "expired", "wrong", "not for this caller"})

    def __init__(self) -> None:
        # One iteration of PBKDF2: the work is not what is tried here.
        self._challenges = Challenges(secret=b"s" * 32, work=(("0", 1),))
        self._early = Challenges(secret=b"s" * 32, work=(("0", 1),), clock=lambda: time.time() - 3600)

    def make(self, chance: random.Random) -> Given:
        """Return a solution, with a member of it replaced or left out, or any text."""
        luck = chance.random()
        if luck < 0.15:
            return Given(base64.b64encode(bodies.generated(chance, 1)[0].data).decode(), is_good=False)
        caller = _ASKING if luck > 0.2 else dataclasses.replace(_ASKING, network=str(luck))
        issuer = self._challenges if luck < 0.95 else self._early
        challenge = dict(issuer.issue(caller, failures=0))
        solution = altcha.solve_challenge(altcha.Challenge.from_dict(challenge))
        assert solution is not None
        payload: dict[str, Any] = {"challenge": challenge, "solution": solution.to_dict()}
        is_good = 0.2 < luck < 0.3
        if 0.3 <= luck < 0.95:
            place = chance.choice((payload, challenge, challenge["parameters"], payload["solution"]))
            # How long the solution took proves nothing.
            name = chance.choice([name for name in place if name != "time"])
            before, is_left_out = place.pop(name), name != "keyLength" and chance.random() < 0.1
            while not is_left_out and place.get(name, before) == before:
                place[name] = before + 1 if isinstance(before, int) and luck < 0.5 else bodies.value(chance)
        return Given(base64.b64encode(json.dumps(payload).encode()).decode(), is_good=is_good)

    def judge(self, given: Given) -> str:
        """Check it; a good one twice."""
        reason = self._challenges.check(_ASKING, given.text)
        if (not reason) != given.is_good:
            raise Wrong("a bad solution is accepted" if not reason else f"a good solution is refused: {reason}")
        if given.is_good and not (again := self._challenges.check(_ASKING, given.text)):
            raise Wrong("a solution is accepted twice")
        return reason or f"accepted, then {again}"
