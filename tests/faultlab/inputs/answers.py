"""Supabase's answers, for every reader of answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, cast

from tests.faultlab.inputs.double import Double, Mood
from tests.faultlab.inputs.part import Part, Wrong, hurt
from tests.faultlab.inputs.proofs import Given, random_uuid, signing_key
from tests.fixtures.tokens import SigningKey, document
from tests.upstream_double import PROJECT
from velro_auth.auth import keys
from velro_auth.auth.account import Code, MailRequest, SignUp
from velro_auth.auth.anonymous import NewAnonymous
from velro_auth.auth.factors import NewFactor
from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.passing import Call
from velro_auth.auth.tokens import Claims
from velro_auth.auth.user_changes import NewAddress, NewPassword
from velro_auth.context import RequestContext
from velro_auth.errors import VelroAuthError
from velro_auth.upstream import calls, captcha
from velro_auth.upstream.accounts import SupabaseAccounts
from velro_auth.upstream.factors import SupabaseFactors
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.upstream.passing import SupabasePassing
from velro_auth.upstream.profiles import SupabaseProfiles
from velro_auth.upstream.session_rows import SupabaseSessionRows
from velro_auth.upstream.transport.transport import Transport
from velro_auth.upstream.users import SupabaseUsers

_EMAIL: Final = "ada@example.com"
_CODE: Final = Code(type="email", email=_EMAIL, token="123456")


class Answers(Part):
    """Supabase's answers, for every reader of answers: each is read, or refused with an error of ours."""

    name = "answers of Supabase"
    share = 50
    parsers = (
        (calls.AuthCalls, "ask"),
        (SupabaseProfiles, "change"),
        (SupabaseSessionRows, "of"),
        (keys, "read_key_set"),
    )
    wanted = frozenset({"read", "UpstreamUnavailable", "UpstreamFailed", "WrongAnswer", "UpstreamMisconfigured"})

    def __init__(self) -> None:
        key = signing_key()
        self._double, self._keys = Double(key), document([key, SigningKey("rsa", "RS256"), SigningKey("ed", "EdDSA")])
        chance = random.Random(1)  # noqa: S311
        self._sub, self._session_id = random_uuid(chance), random_uuid(chance)
        self._token = self._double.token(chance, sub=self._sub, session_id=self._session_id)
        self._readers = {**self._public(), **self._own()}

    def _public(self) -> dict[str, Callable[[RequestContext], Any]]:
        transport = cast("Transport", self._double)
        ours = calls.AuthCalls(transport, forwards_address=False)
        identity, accounts, users = SupabaseIdentity(ours), SupabaseAccounts(ours), SupabaseUsers(ours)
        passing = SupabasePassing(ours)
        mail, sign_up = MailRequest(email=_EMAIL, challenge="c"), SignUp(email=_EMAIL, challenge="", password="p")
        body = {"email": _EMAIL}
        grant = Call(kind="grant", method="POST", path="/token", body=body, account=_EMAIL)
        page = Call(kind="public", method="GET", path="/settings")
        question = captcha.question(transport, "key")
        return {
            "login": lambda its: identity.sign_in(Credentials(_EMAIL, "p"), its),
            "phone": lambda its: identity.sign_in(Credentials("+49 151 1", "p", is_phone=True), its),
            "refresh": lambda its: identity.refresh(f"r{self._double.chance.random()}", its),
            "exchange": lambda its: identity.exchange("c", "v", its),
            "sign-up": lambda its: accounts.sign_up(sign_up, its),
            "mail": lambda its: accounts.send_mail("recovery", mail, its),
            "code": lambda its: accounts.verify(_CODE, its),
            "anonymous": lambda its: users.sign_up(NewAnonymous(data={}), its),
            "grant": lambda its: passing.ask(grant, its),
            "page": lambda its: passing.ask(page, its),
            "captcha": lambda its: captcha.ask(transport, question),
        }

    def _own(self) -> dict[str, Callable[[RequestContext], Any]]:
        transport = cast("Transport", self._double)
        ours = calls.AuthCalls(transport, forwards_address=False)
        identity, factors, users = SupabaseIdentity(ours), SupabaseFactors(ours), SupabaseUsers(ours)
        profiles = SupabaseProfiles(transport, url=PROJECT, key="key")
        rows = SupabaseSessionRows(transport, shows_address=lambda: False)
        claims, token, factor = Claims(self._sub, self._session_id, 0), self._token, random_uuid(random.Random(2))  # noqa: S311
        passed = Call(kind="user", method="GET", path="/user", bearer=token)
        return {
            "check": lambda its: identity.check(token, its),
            "logout": lambda its: identity.sign_out(token, "local", its),
            "password": lambda its: users.change_password(token, NewPassword(password="p"), its),
            "address": lambda its: users.change_address(token, NewAddress(email=_EMAIL), its),
            "metadata": lambda its: users.change_metadata(token, {"a": "b"}, its),
            "nonce": lambda its: users.mail_nonce(token, its),
            "factors": lambda its: factors.all(token, its),
            "enrol": lambda its: factors.enrol(token, NewFactor(), its),
            "challenge": lambda its: factors.challenge(token, factor, its),
            "factor": lambda its: factors.verify(token, factor, factor, "123456", its),
            "remove": lambda its: factors.remove(token, factor, its),
            "user": lambda its: SupabasePassing(ours).ask(passed, its),
            "profile": lambda _: profiles.change(token, self._sub, {"display_name": "A"}),
            "sessions": lambda its: rows.of(token, claims, its),
        }

    def make(self, chance: random.Random) -> Given:
        """Return a damaged key set; or a reader, the mood of the double, and the seed of its answers."""
        luck = chance.random()
        if luck < 0.08:
            text = self._keys.decode()
            text = (
                hurt(chance, text, '{}[]":,AB-_=')
                if luck < 0.05
                else text.replace("AQAB", chance.choice(("", "AA", "1")))
            )
            return Given(text, is_good=False, kind="keys")
        reader = "profile" if luck < 0.16 else "sessions" if luck < 0.24 else chance.choice([*self._readers])
        moods: tuple[Mood, ...] = ("garbled", "garbled", "garbled", "refusing", "another user")
        mood: Mood = "right" if chance.random() < 0.05 else chance.choice(moods)
        return Given((reader, mood, chance.getrandbits(32)), is_good=mood == "right")

    def judge(self, given: Given) -> str:
        """Have it read."""
        if given.kind == "keys":
            try:
                keys.read_key_set(given.text.encode())
            except keys.UnusableKeySet:
                return "UnusableKeySet"
            return "read"
        reader, mood, seed = given.text
        self._double.expect(mood, random.Random(seed))  # noqa: S311
        try:
            found = self._readers[reader](RequestContext(request_id="r", address="203.0.113.7", arrived_s=0.0))
        except VelroAuthError as error:
            if given.is_good:
                raise Wrong(f"a right answer is refused: {reader}: {error!r}") from error
            return type(error).__name__
        except Exception as error:
            error.add_note(repr(self._double.replies))
            raise
        if mood == "another user" and reader not in _ABOUT_NOBODY:
            raise Wrong(f"the answer about another user is taken: {reader}")
        _assert_sound(found)
        return "read"


#: Their answers name no user that was asked about.
_ABOUT_NOBODY: Final = frozenset(
    {"refresh", "exchange", "mail", "page", "captcha", "logout", "nonce", "enrol", "challenge"},
)


def _assert_sound(found: Any) -> None:
    """Refuse a session without what every client relies on."""
    first = found[0] if isinstance(found, tuple) else found
    session = first if isinstance(first, Session) else getattr(first, "session", None)
    if not isinstance(session, Session):
        return
    texts = (session.access_token, session.refresh_token, session.user.id)
    if not all(isinstance(text, str) and text for text in texts):
        raise Wrong("a session without its tokens or its user")
    if not isinstance(session.expires_at, int) or not isinstance(session.expires_in, int):
        raise Wrong("a session without its end")
