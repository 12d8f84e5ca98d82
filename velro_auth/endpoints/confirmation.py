"""Confirmation and password reset: the second half of every flow that goes by mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.account import Code, Link, Proof, ProofType
from velro_auth.auth.password_reset import FactorCode, Key, PasswordSetter
from velro_auth.auth.tickets import Ticket
from velro_auth.context import RequestContext
from velro_auth.endpoints.account import sent
from velro_auth.endpoints.account_schemas import ConfirmAnswer, ConfirmBody, PendingAnswer, ResetBody
from velro_auth.endpoints.bodies import RawResponse, validated
from velro_auth.endpoints.operation import BODY, NEW_PASSWORD, UPSTREAM, Operation
from velro_auth.endpoints.schemas import SessionAnswer
from velro_auth.endpoints.sessions import session_answer

_CONFIRM: Final = ConfirmBody(unknown=marshmallow.EXCLUDE)
_RESET: Final = ResetBody(unknown=marshmallow.EXCLUDE)

_CODES: Final = (
    *BODY,
    "link_invalid",
    *NEW_PASSWORD,
    "too_many_attempts",
    "challenge_required",
    *UPSTREAM,
    "resting",
    "busy",
)


@dataclass(frozen=True)
class ConfirmEndpoint:
    """``POST /api/v1/auth/confirm``: a mailed link or code for a session."""

    setter: PasswordSetter
    max_body_bytes: int

    name: ClassVar = "confirm"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/confirm",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Trade a mailed link or code for a session",
            body=ConfirmBody,
            answer=ConfirmAnswer,
            success=(200, "A session."),
            accepted=(PendingAnswer, "The first of two confirmations of a new address; the other mail has the second."),
            codes=_CODES,
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer a confirmation."""
        body = validated(request, _CONFIRM, self.max_body_bytes)
        context = RequestContext.of(request.environ)
        confirmed = self.setter.confirm(_proof(body, body["type"]), body["password"], context)
        if confirmed.session is None:
            return sent("confirmation_pending", ())
        unproven = {"password_unproven": True} if confirmed.is_password_unproven else {}
        return session_answer(confirmed.session, context, **unproven)


@dataclass(frozen=True)
class ResetEndpoint:
    """``POST /api/v1/auth/password/reset``: a mailed link or code, and a new password, for a session."""

    setter: PasswordSetter
    max_body_bytes: int

    name: ClassVar = "password_reset"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/password/reset", "/api/v1/auth/password-reset-confirm")
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Replace a forgotten password; all other sessions end",
            body=ResetBody,
            answer=SessionAnswer,
            success=(200, "A session."),
            codes=(*_CODES, "same_password", "code_invalid"),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer a reset."""
        body = validated(request, _RESET, self.max_body_bytes)
        context = RequestContext.of(request.environ)
        key: Key = _proof(body, "recovery") if body["ticket"] is None else Ticket(body["ticket"])
        factor = None if body["code"] is None else FactorCode(body["code"], body["factor_id"])
        return session_answer(self.setter.reset(key, body["password"], context, factor=factor), context)


def _proof(body: Mapping[str, Any], kind: str) -> Proof:
    proof_type = cast("ProofType", kind)
    if body["token_hash"] is not None:
        return Link(type=proof_type, token_hash=body["token_hash"], solution=body["challenge"])
    return Code(type=proof_type, email=body["email"], token=body["token"])
