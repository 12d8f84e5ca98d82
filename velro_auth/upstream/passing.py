"""Passes calls of Supabase's own clients on, and checks whose the answers are."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from velro_auth import errors
from velro_auth.auth.models import Session
from velro_auth.auth.passing import Call, Kind, Passed
from velro_auth.context import RequestContext
from velro_auth.upstream import account_questions, translate
from velro_auth.upstream.answers import (
    NO_JSON,
    claims_of,
    content,
    date_s,
    demand,
    is_json,
    is_text,
    same_address,
    same_phone,
    session_from,
    user_of,
)
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.transport.transport import Reply

#: Headers of Supabase's answers that go on to the client. Its ``sb-auth-…`` headers name users and sessions.
_HEADERS: Final = ("Content-Type", "Cache-Control", "Location")

#: Requests without a query that are kept prepared; a path with an id of a user is used some few times only.
_PREPARED: Final = 64

#: RFC 9110, 5.5.
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

#: Codes that say that the project has something switched off. The client may see them.
_SWITCHED_OFF: Final[translate.Codes] = {
    "email_provider_disabled": errors.PassedOn,
    "phone_provider_disabled": errors.PassedOn,
}

_PUBLIC: Final = translate.Question(
    codes={**translate.ANYWHERE, **_SWITCHED_OFF},
    refused=errors.PassedOn,
    otherwise=errors.PassedOn,
    successes=_REDIRECTS | {200, 204},
)

_USER: Final = translate.Question(
    codes={
        **translate.PASSWORD_CODES,
        **_SWITCHED_OFF,
        "validation_failed": errors.PassedOn,
        "email_exists": errors.AlreadyRegistered,
        "phone_exists": errors.AlreadyRegistered,
    },
    refused=errors.PassedOn,
    otherwise=errors.PassedOn,
    successes=_REDIRECTS | {200, 204},
)

#: What each kind of call means when it is refused.
QUESTIONS: Final[Mapping[Kind, translate.Question]] = {
    "public": _PUBLIC,
    # What depends on the account must look like a mail that was not sent.
    "mail": translate.Question(
        codes={
            **account_questions.MAIL.codes,
            "over_sms_send_rate_limit": errors.MailRefused,
            # Decided before the account is looked for.
            "phone_provider_disabled": errors.PassedOn,
        },
        refused=errors.MailRefused,
        otherwise=errors.MailRefused,
    ),
    "verify": translate.Question(
        codes={**account_questions.VERIFY.codes, **_SWITCHED_OFF},
        refused=errors.LinkInvalid,
        otherwise=errors.LinkInvalid,
    ),
    "grant": translate.Question(
        codes={**translate.ANYWHERE, **_SWITCHED_OFF}, refused=errors.LinkInvalid, otherwise=errors.PassedOn
    ),
    "user": _USER,
    # A malformed address is reported. Supabase checks the domain only after it has looked for a user with the address.
    "address": dataclasses.replace(
        _USER,
        codes={
            **_USER.codes,
            "validation_failed": errors.InvalidRequest,
            "email_address_invalid": errors.MailRefused,
            "email_address_not_authorized": errors.MailRefused,
            "over_email_send_rate_limit": errors.MailRefused,
            "over_sms_send_rate_limit": errors.MailRefused,
        },
        refused=errors.MailRefused,
        otherwise=errors.MailRefused,
    ),
}


class SupabasePassing:
    """Passes calls on; see ``auth.passing.Ask``."""

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        # What is asked for all the time is prepared once.
        self._prepare = functools.lru_cache(maxsize=_PREPARED)(calls.prepare)
        self._public = functools.lru_cache(maxsize=_PREPARED)(calls.prepare_public)

    def ask(self, call: Call, context: RequestContext) -> Passed:
        """Return Supabase's answer; see ``auth.passing.Ask``, also for what is raised."""
        question = QUESTIONS[call.kind]

        def read(reply: Reply) -> Passed:
            return self._read(call, reply)

        if call.bearer:
            request = (
                self._prepare(call.method, call.path) if not call.query else self._calls.prepare(*_with_query(call))
            )
            passed = self._calls.ask(request, context, question, read, body=call.body, bearer=call.bearer)
        else:
            public = (
                self._public(call.method, call.path)
                if not call.query
                else self._calls.prepare_public(*_with_query(call))
            )
            passed = self._calls.ask_public(public, context, question, read, call.body)
        if passed.session is not None:
            self._calls.owners.note(passed.session.refresh_token, passed.session.user.id)
        return passed

    def _read(self, call: Call, reply: Reply) -> Passed:
        told = content(reply)
        if told is NO_JSON and reply.body and is_json(reply):
            raise errors.UpstreamUnavailable(f"{reply.status} with a part of a JSON document")
        session = self._session(call, reply, told)
        if call.bearer and call.path == "/user":
            # Only a user object shows whose answer it is.
            user_of(call.bearer, reply)
        headers = [(name, _checked(value)) for name in _HEADERS if (value := reply.headers.get(name))]
        content_ = None if told is NO_JSON else told
        return Passed(reply.status, headers, reply.body, content_, session, date_s(reply))

    def _session(self, call: Call, reply: Reply, told: Any) -> Session | None:
        if not isinstance(told, dict) or "access_token" not in told:
            if call.kind == "grant":
                raise errors.UpstreamFailed("200 without a session")
            return None
        session = session_from(reply)
        if call.account is not None:
            user = session.raw["user"]
            is_right = _is(user.get("email"), call.account) or same_phone(user.get("phone"), call.account)
            demand(is_right=is_right, what="the address")
        if call.bearer:
            same = claims_of(call.bearer).get("sub") == session.user.id
            demand(is_right=same, what="the subject of the token")
        return session


def _checked(value: str) -> str:
    """Return the value of a header field that goes on to the client, if every reader can read it.

    Raises:
        UpstreamUnavailable: It has a control character, or an address in it cannot be read.
    """
    try:
        urlsplit(value)
    except ValueError:
        raise errors.UpstreamUnavailable("a header field with half an address") from None
    if not _VALUE.fullmatch(value):
        raise errors.UpstreamUnavailable("a header field with a control character")
    return value


def _with_query(call: Call) -> tuple[str, str]:
    return call.method, f"{call.path}?{urlencode(call.query)}"


def _is(told: Any, asked: str) -> bool:
    return is_text(told) and same_address(told, asked)
