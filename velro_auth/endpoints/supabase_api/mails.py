"""``signup``, ``otp``, ``magiclink``, ``recover``, ``resend`` and ``verify``: everything that goes by mail or message.

Nothing in an answer depends on who has an account, beyond what the project itself cannot hide.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from velro_auth.auth.account import Code, Link, ProofType, SignUp, Verified
from velro_auth.auth.anonymous import Anonymous, NewAnonymous
from velro_auth.auth.mailing import TOLD, Mailing
from velro_auth.auth.passing import Call, Passed, PassedCalls
from velro_auth.auth.proofs import Proofs
from velro_auth.auth.sign_up import SignUps
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, json_answer
from velro_auth.endpoints.supabase_api.asked import Asked, account_of, captcha_of, only, password_of, text_of
from velro_auth.endpoints.supabase_api.passed import answer_of
from velro_auth.endpoints.supabase_api.tokens import session_answer
from velro_auth.errors import InvalidRequest, LinkInvalid, PassedOn

#: Refusals that depend on the request alone.
_TOLD: Final = (*TOLD, PassedOn)

_FIELDS: Final = ("gotrue_meta_security", "code_challenge", "code_challenge_method")
_OTP: Final = ("email", "phone", "create_user", "data", "channel", *_FIELDS)

#: Supabase's answer to the first of the two confirmations of a new address; its code is a text.
_FIRST_OF_TWO: Final = {
    "code": "200",
    "msg": "Confirmation link accepted. Please proceed to confirm link sent to the other email",
}


@dataclass(frozen=True)
class Mails:
    """The handlers."""

    sign_up: SignUps
    anonymous: Anonymous
    mailing: Mailing
    proofs: Proofs
    calls: PassedCalls

    def signup(self, asked: Asked) -> RawResponse:
        """Answer ``POST /signup``."""
        body = asked.body()
        account, is_phone = account_of(body)
        data = body.get("data")
        data = data if isinstance(data, dict) else {}
        if not account:
            asked.context.operation = "anonymous"
            wanted = NewAnonymous(data=data, captcha_token=captcha_of(body))
            return session_answer(self.anonymous(wanted, asked.context), asked)
        sign_up = SignUp(
            email=account,
            is_phone=is_phone,
            password=password_of(body),
            data=data,
            challenge=text_of(body, "code_challenge"),
            challenge_method=text_of(body, "code_challenge_method"),
            redirect_to=asked.mail_redirect_to,
            captcha_token=captcha_of(body),
        )
        session = self.sign_up(sign_up, asked.context)
        return json_answer(new_user(sign_up)) if session is None else session_answer(session, asked)

    def otp(self, asked: Asked) -> RawResponse:
        """Answer ``POST /otp`` and ``POST /magiclink``."""
        return self._mail(asked, "/otp", _OTP)

    def recover(self, asked: Asked) -> RawResponse:
        """Answer ``POST /recover``."""
        return self._mail(asked, "/recover", ("email", *_FIELDS))

    def resend(self, asked: Asked) -> RawResponse:
        """Answer ``POST /resend``."""
        return self._mail(asked, "/resend", ("email", "phone", "type", *_FIELDS))

    def verify(self, asked: Asked) -> RawResponse:
        """Answer ``POST /verify``: a link or code for a session."""
        body = asked.body()
        account, _ = account_of(body)
        kind, token, token_hash = text_of(body, "type"), text_of(body, "token"), text_of(body, "token_hash")
        if bool(token) == bool(token_hash) or bool(account) != bool(token):
            raise InvalidRequest({"token": ["Send token with an address, or token_hash alone."]})
        names = ("type", "email", "phone", "token") if token else ("type", "token_hash")
        # A change of address is confirmed with either address, and ends in a session for the new one.
        is_change = kind in {"email_change", "phone_change"}
        call = Call(
            kind="verify",
            method="POST",
            path="/verify",
            query=asked.redirect_query() if token else (),
            body=only(body, *names, "gotrue_meta_security"),
            account=account if token and not is_change else None,
        )

        def ask() -> Verified:
            return Verified(self.calls.ask(call, asked.context).session)

        of_type = cast("ProofType", kind)
        code, link = Code(type=of_type, email=account, token=token), Link(type=of_type, token_hash=token_hash)
        session = self.proofs.check_with(code if token else link, asked.context, ask).session
        return json_answer(_FIRST_OF_TWO) if session is None else session_answer(session, asked)

    def follow(self, asked: Asked) -> RawResponse:
        """Answer ``GET /verify``: the link of a mail. Where it leads is Supabase's answer; nothing follows it here."""
        query = [(name, asked.query[name]) for name in ("token", "type") if name in asked.query]
        call = Call(kind="public", method="GET", path="/verify", query=[*query, *asked.redirect_query()])
        link = Link(type=cast("ProofType", asked.query.get("type", "")), token_hash=asked.query.get("token", ""))
        answers: list[Passed] = []

        def ask() -> Verified:
            answers.append(self.calls.ask(call, asked.context))
            if _is_refused(answers[0]):
                raise LinkInvalid("the redirect has an error")
            return Verified(None)

        with contextlib.suppress(LinkInvalid):
            self.proofs.check_with(link, asked.context, ask)
        return answer_of(answers[0])

    def _mail(self, asked: Asked, path: str, names: tuple[str, ...]) -> RawResponse:
        body = asked.body()
        account, _ = account_of(body)
        if not account:
            raise InvalidRequest({"email": ["An address is needed."]})
        call = Call(kind="mail", method="POST", path=path, query=asked.mail_redirect_query(), body=only(body, *names))

        def ask(behind: RequestContext) -> None:
            self.calls.ask(call, behind)

        self.mailing.send(account, asked.context, ask, told=_TOLD)
        return json_answer({})


def _is_refused(passed: Passed) -> bool:
    """Return whether a redirect tells that the link was refused: Supabase puts that behind the ``#``, always."""
    location = next((value for name, value in passed.headers if name == "Location"), "")
    return any(name == "error" for name, _ in parse_qsl(urlsplit(location).fragment))


def new_user(sign_up: SignUp) -> dict[str, Any]:
    """Return the user object that answers a sign-up where a mail confirms, whether or not the address has an account.

    Its ids are made up each time. Supabase gives the real id of a new user, again at the next sign-up, and a made-up
    one for a known address: two sign-ups would tell who has an account. The session after the confirmation has the
    real id.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    user_id = str(uuid.uuid4())
    name = "phone" if sign_up.is_phone else "email"
    address = sign_up.email.lower()
    subject = {"sub": user_id, name: address, "email_verified": False, "phone_verified": False}
    identity = {
        "identity_id": str(uuid.uuid4()),
        "id": user_id,
        "user_id": user_id,
        "identity_data": {**sign_up.data, **subject},
        "provider": name,
        "last_sign_in_at": now,
        "created_at": now,
        "updated_at": now,
        **({} if sign_up.is_phone else {"email": address}),
    }
    return {
        "id": user_id,
        "aud": "authenticated",
        "role": "authenticated",
        "email": "",
        "phone": "",
        name: address.removeprefix("+"),
        "confirmation_sent_at": now,
        "app_metadata": {"provider": name, "providers": [name]},
        "user_metadata": {**sign_up.data, **subject},
        "identities": [identity],
        "created_at": now,
        "updated_at": now,
        "is_anonymous": False,
    }
