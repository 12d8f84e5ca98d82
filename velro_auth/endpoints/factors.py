"""Second factors of the user of a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import marshmallow
from werkzeug.wrappers import Request, Response

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.factors import Factors, NewFactor
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, json_answer, no_content, uuid_in_path, validated, validated_if_any
from velro_auth.endpoints.operation import BODY, TOKEN, UPSTREAM, Operation
from velro_auth.endpoints.schemas import SessionAnswer
from velro_auth.endpoints.sessions import session_answer
from velro_auth.endpoints.user import PROOF, proof_of
from velro_auth.endpoints.user_schemas import (
    ChallengeAnswer,
    EnrolmentAnswer,
    FactorBody,
    FactorCodeBody,
    FactorsAnswer,
    ProofBody,
)

_PROOF: Final = ProofBody(unknown=marshmallow.EXCLUDE)
_FACTOR: Final = FactorBody(unknown=marshmallow.EXCLUDE)
_CODE: Final = FactorCodeBody(unknown=marshmallow.EXCLUDE)
_FACTORS: Final = FactorsAnswer()
_ENROLMENT: Final = EnrolmentAnswer()
_CHALLENGE: Final = ChallengeAnswer()

_CALL: Final = (*TOKEN, *UPSTREAM, "too_many_attempts", "resting", "busy")


@dataclass(frozen=True)
class _OfFactors:
    """What these endpoints have in common."""

    factors: Factors


@dataclass(frozen=True)
class FactorsEndpoint(_OfFactors):
    """``/api/v1/auth/factors``: lists the second factors, or enrols one."""

    max_body_bytes: int

    name: ClassVar = "factors"
    methods: ClassVar = ("GET", "HEAD", "POST")
    paths: ClassVar = ("/api/v1/auth/factors",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            summary="List the second factors of the token's user",
            answer=FactorsAnswer,
            success=(200, "The factors, without secrets."),
            needs_token=True,
            codes=_CALL,
        ),
        "POST": Operation(
            summary="Enrol an authenticator; it counts once a code of it was verified",
            body=FactorBody,
            answer=EnrolmentAnswer,
            success=(201, "The factor, with what the authenticator needs. The secret is shown once."),
            needs_token=True,
            codes=(*BODY, *PROOF, "not_enabled", *_CALL),
        ),
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the factors, or with the new one."""
        token = bearer_token(request.headers.get("Authorization"))
        context = RequestContext.of(request.environ)
        if request.method != "POST":
            return json_answer(_FACTORS.dump({"factors": self.factors.all(token, context)}))
        body = validated(request, _FACTOR, self.max_body_bytes)
        wanted = NewFactor(friendly_name=body["friendly_name"], issuer=body["issuer"])
        enrolled = self.factors.enrol(token, wanted, proof_of(body), context)
        context.security_event = "factor_enrolled"
        return json_answer(
            _ENROLMENT.dump(
                {"id": enrolled.id, "type": enrolled.type, "friendly_name": enrolled.friendly_name, "totp": enrolled}
            ),
            "201 Created",
        )


@dataclass(frozen=True)
class FactorEndpoint(_OfFactors):
    """``DELETE /api/v1/auth/factors/<factor_id>``: removes a second factor."""

    max_body_bytes: int

    name: ClassVar = "factor"
    methods: ClassVar = ("DELETE",)
    paths: ClassVar = ("/api/v1/auth/factors/<factor_id>",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "DELETE": Operation(
            summary="Remove a second factor",
            body=ProofBody,
            is_body_optional=True,
            success=(204, "The factor was removed."),
            has_content=False,
            needs_token=True,
            codes=(*BODY, *PROOF, "not_found", *_CALL),
        )
    }

    def __call__(self, request: Request) -> Response:
        """Answer that the factor is gone."""
        token, factor_id = bearer_token(request.headers.get("Authorization")), uuid_in_path(request, "factor_id")
        body = validated_if_any(request, _PROOF, self.max_body_bytes)
        self.factors.remove(token, factor_id, proof_of(body), RequestContext.of(request.environ))
        return no_content()


class FactorChallengeEndpoint(_OfFactors):
    """``POST /api/v1/auth/factors/<factor_id>/challenge``: begins a proof. ``verify`` does it by itself."""

    name: ClassVar = "factor_challenge"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/factors/<factor_id>/challenge",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Begin the proof of a second factor",
            answer=ChallengeAnswer,
            success=(200, "The challenge."),
            needs_token=True,
            codes=("not_found", "not_enabled", *_CALL),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the challenge."""
        token, factor_id = bearer_token(request.headers.get("Authorization")), uuid_in_path(request, "factor_id")
        made = self.factors.challenge(token, factor_id, RequestContext.of(request.environ))
        return json_answer(_CHALLENGE.dump(made))


@dataclass(frozen=True)
class FactorVerifyEndpoint(_OfFactors):
    """``POST /api/v1/auth/factors/<factor_id>/verify``: a right code for a session at ``aal2``."""

    max_body_bytes: int

    name: ClassVar = "factor_verify"
    methods: ClassVar = ("POST",)
    paths: ClassVar = ("/api/v1/auth/factors/<factor_id>/verify",)
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            summary="Prove a second factor: the session steps up to aal2, the user's lower sessions end",
            body=FactorCodeBody,
            answer=SessionAnswer,
            success=(200, "The session, at aal2."),
            needs_token=True,
            codes=(*BODY, "code_invalid", "not_found", "not_enabled", *_CALL),
        )
    }

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the session."""
        token, factor_id = bearer_token(request.headers.get("Authorization")), uuid_in_path(request, "factor_id")
        context = RequestContext.of(request.environ)
        body = validated(request, _CODE, self.max_body_bytes)
        session = self.factors.verify(token, factor_id, body["code"], context, challenge_id=body["challenge_id"])
        return session_answer(session, context)
