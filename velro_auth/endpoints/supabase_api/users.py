"""``PUT user``, ``reauthenticate``, ``factors`` and ``user/identities``: what users change about themselves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from velro_auth.auth.factors import Factors, NewFactor
from velro_auth.auth.freshness import Proof
from velro_auth.auth.passing import Call, Passed, PassedCalls
from velro_auth.auth.user_changes import NewPassword, UserChanges
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, is_empty, json_answer
from velro_auth.endpoints.supabase_api.asked import Asked, account_of, captcha_of, checked, only, password_of, text_of
from velro_auth.endpoints.supabase_api.passed import answer_of
from velro_auth.endpoints.supabase_api.tokens import session_answer
from velro_auth.endpoints.user_schemas import a_factor_name, an_issuer
from velro_auth.errors import PassedOn, Told

_CHALLENGE: Final = ("code_challenge", "code_challenge_method")


@dataclass(frozen=True)
class Users:
    """The handlers."""

    changes: UserChanges
    factors: Factors
    calls: PassedCalls

    def change(self, asked: Asked) -> RawResponse:
        """Answer ``PUT /user``.

        A new address may send a mail, so it is a call of its own, answered at the mail delay: it comes after the rest,
        and a failure of the rest leaves it undone.
        """
        body, token = asked.body(), asked.token
        address, is_phone = account_of(body)
        answer = self._rest(asked, token, body, has_address=bool(address))
        return self._address(asked, token, body, "phone" if is_phone else "email") if address else answer_of(answer)

    def _rest(self, asked: Asked, token: str, body: Mapping[str, Any], *, has_address: bool) -> Passed:
        """Change what sends no mail. Where an address is to follow, its proof of freshness is demanded here."""
        rest = only(body, "data")
        if body.get("password") is not None:
            return self._password(asked, token, body, rest)
        if has_address:
            self.changes.check_freshness(token, _proof(body), asked.context)
            if rest.get("data") is None:
                return Passed(200, (), b"")
        return self.calls.change(self._put(token, rest), asked.context)

    def reauthenticate(self, asked: Asked) -> RawResponse:
        """Answer ``GET /reauthenticate``."""
        self.changes.mail_nonce(asked.token, asked.context)
        return json_answer({})

    def enrol(self, asked: Asked) -> RawResponse:
        """Answer ``POST /factors``."""
        body = asked.body()
        if text_of(body, "factor_type") != "totp":
            raise _not_here("This gateway enrols factors of type totp")
        name, issuer = text_of(body, "friendly_name"), text_of(body, "issuer")
        checked(a_factor_name, "friendly_name", name)
        checked(an_issuer, "issuer", issuer)
        wanted = NewFactor(friendly_name=name or None, issuer=issuer or None)
        return json_answer(dict(self.factors.enrol(asked.token, wanted, _proof(body), asked.context).raw))

    def challenge(self, asked: Asked) -> RawResponse:
        """Answer ``POST /factors/{id}/challenge``; the challenge of an authenticator needs no body."""
        challenge = self.factors.challenge(asked.token, asked.parts["factor_id"], asked.context)
        return json_answer(dict(challenge.raw))

    def verify_factor(self, asked: Asked) -> RawResponse:
        """Answer ``POST /factors/{id}/verify``."""
        body = asked.body()
        challenge_id, code = text_of(body, "challenge_id"), text_of(body, "code")
        session = self.factors.verify(
            asked.token, asked.parts["factor_id"], code, asked.context, challenge_id=challenge_id or None
        )
        return session_answer(session, asked)

    def remove_factor(self, asked: Asked) -> RawResponse:
        """Answer ``DELETE /factors/{id}``."""
        body = {} if is_empty(asked.request) else asked.body()
        self.factors.remove(asked.token, asked.parts["factor_id"], _proof(body), asked.context)
        return json_answer({"id": asked.parts["factor_id"]})

    def link(self, asked: Asked) -> RawResponse:
        """Answer ``GET /user/identities/authorize``: another way to sign in, so a proof of freshness is needed."""
        query = [(name, value) for name, value in asked.query.items() if name not in {"apikey", "redirect_to"}]
        call = Call(
            kind="user",
            method="GET",
            path="/user/identities/authorize",
            query=[*query, *asked.redirect_query()],
            bearer=asked.token,
        )
        return answer_of(self.calls.change(call, asked.context, proof=Proof()))

    def unlink(self, asked: Asked) -> RawResponse:
        """Answer ``DELETE /user/identities/{id}``."""
        path = f"/user/identities/{asked.parts['identity_id']}"
        call = Call(kind="user", method="DELETE", path=path, bearer=asked.token)
        return answer_of(self.calls.change(call, asked.context, proof=Proof()))

    def _password(self, asked: Asked, token: str, body: Mapping[str, Any], rest: Mapping[str, Any]) -> Passed:
        asked.context.operation = "password"
        change = NewPassword(
            password=password_of(body),
            nonce=text_of(body, "nonce") or None,
            proof=_proof(body),
        )
        call = self._put(token, {**rest, **only(body, "password", "nonce", "current_password")})
        answers: list[Passed] = []

        def ask() -> float | None:
            answers.append(self.calls.ask(call, asked.context))
            return answers[0].at_s

        self.changes.change_password_with(token, change, asked.context, ask)
        return answers[0]

    def _address(self, asked: Asked, token: str, body: Mapping[str, Any], name: str) -> RawResponse:
        """Ask for a new address, and answer with the user as a pending change looks, whether or not it is taken."""
        before = self.calls.read(Call(kind="user", method="GET", path="/user", bearer=token), asked.context)
        fields = only(body, name, "channel", *_CHALLENGE)
        call = dataclasses.replace(self._put(token, fields), kind="address", query=asked.mail_redirect_query())
        answers: list[Passed] = []

        def ask(behind: RequestContext) -> None:
            answers.append(self.calls.ask(call, behind))

        self.changes.change_address_with(token, str(body[name]), asked.context, ask)
        return answer_of(answers[0]) if answers else _pending(before, name, str(body[name]))

    @staticmethod
    def _put(token: str, body: Mapping[str, Any]) -> Call:
        return Call(kind="user", method="PUT", path="/user", body=body, bearer=token)


def _pending(user: Passed, name: str, address: str) -> RawResponse:
    """Return the answer to a change of address that Supabase did not confirm: it is taken, or the mail is under way."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    members = {f"new_{name}": address.lower().removeprefix("+"), f"{name}_change_sent_at": now, "updated_at": now}
    return json_answer({**json.loads(user.body), **members})


def _proof(body: Mapping[str, Any]) -> Proof:
    return Proof(
        current_password=password_of(body, "current_password") or None,
        captcha_token=captcha_of(body),
    )


def _not_here(message: str) -> PassedOn:
    error = PassedOn(message)
    error.told = Told(422, "feature_disabled", message)
    return error
