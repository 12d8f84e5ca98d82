"""Each case that was recorded on a real Supabase Auth, asked of the stand-in: the answer must be the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from tests.contract.surface import tables
from tests.contract.surface.cases import CASES, HEADERS, Case
from tests.contract.surface.different import DIFFERENT
from tests.contract.surface.patterns import bound, differences, rows_differ
from tests.contract.surface.steps import STEPS, prepare
from tests.contract.surface.world import World

#: How the mailbox calls a kind of mail that the recording calls otherwise.
KINDS = {"magic_link": "magiclink", "confirmation": "signup"}
WANTED_SHARE = 0.98
#: Cases about more addresses than the two that have a placeholder each.
SEVERAL_ADDRESSES = frozenset(
    (
        "admin/generate-link-email_change_new-known",
        "admin/user-ban",
        "admin/user-list",
        "admin/user-unban",
        "admin/user-update-phone",
        "email-change/double-restart",
        "email-change/double-start-pkce",
        "resend/email-change-pending",
        "verify/post-signup-otp-uppercase-mail",
    )
)


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_case(name: str, world_of: Callable[[Mapping[str, str]], World]) -> None:
    case = CASES[name]
    world = world_of(case.settings)

    found = _asked(world, case)

    if name in DIFFERENT:
        assert found, f"{name} is the same now: take it out of DIFFERENT"
        return
    assert not found, "\n".join([f"{name} ({case.precondition}): {case.method} {case.path}", *found])


def test_nearly_all_cases_are_the_same() -> None:
    assert len(CASES) == 454
    assert set(DIFFERENT) <= set(CASES)
    assert 1 - len(DIFFERENT) / len(CASES) >= WANTED_SHARE


def test_every_step_belongs_to_a_case() -> None:
    assert set(STEPS) <= set(CASES)


def _asked(world: World, case: Case) -> list[str]:
    prepare(world, case)
    before = world.snapshot() if case.changes is not None else {}
    mails_before = len(world.mails()) if case.mails else 0
    answer = world.send(case)
    found = _in_answer(_own(case, world, case.response), answer)
    if case.changes is not None:
        found += tables.differences(_own(case, world, case.changes), before, world.snapshot())
    if case.mails:
        found += _in_mails(case, world, mails_before)
    if case.claims is not None:
        found += _in_claims(_own(case, world, case.claims), answer)
    if case.new_format is not None:
        world.reset()
        prepare(world, case)
        newer = world.send(case, headers={"X-Supabase-Api-Version": "2024-01-01"})
        found += [f"new format: {line}" for line in _in_answer(case.new_format, newer)]
    return found


def _own(case: Case, world: World, recorded: Any) -> Any:
    """Return *recorded* with the addresses of this world; any address will do where there are several users."""
    return recorded if case.id in SEVERAL_ADDRESSES else bound(recorded, world.values)


def _in_answer(recorded: Mapping[str, Any], answer: requests.Response) -> list[str]:
    if answer.status_code != recorded["status"]:
        return [f"status: recorded {recorded['status']}, came {answer.status_code}: {answer.text[:300]}"]
    headers = {name.lower(): value for name, value in answer.headers.items()}
    came = {name: headers[name] for name in HEADERS if name in headers}
    return differences(recorded["headers"], came, "headers") + differences(recorded["body"], _body(answer), "body")


def _body(answer: requests.Response) -> Any:
    if not answer.content:
        return None
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    return answer.json() if is_json else answer.text


def _in_claims(recorded: Mapping[str, Any], answer: requests.Response) -> list[str]:
    token = _access_token(answer)
    if token is None:
        return ["claims: no access token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    found = differences(recorded, claims, "claims")
    return found + differences(["alg", "kid", "typ"], sorted(jwt.get_unverified_header(token)), "token header")


def _access_token(answer: requests.Response) -> str | None:
    if answer.is_redirect or answer.status_code == 303:
        return parse_qs(urlsplit(answer.headers["Location"]).fragment).get("access_token", [None])[0]
    body = _body(answer)
    return body.get("access_token") if isinstance(body, dict) else None


def _in_mails(case: Case, world: World, before: int) -> list[str]:
    mails = world.mails()
    sent = [_mail(mail) for mail in mails[: len(mails) - before]]
    recorded = [_own(case, world, _recorded_mail(mail)) for mail in case.mails]
    return rows_differ(recorded, sent, "mails")


def _mail(mail: Mapping[str, Any]) -> dict[str, Any]:
    return {key: mail[key] for key in ("to", "subject", "type", "token", "token_hash", "link")}


def _recorded_mail(mail: Mapping[str, Any]) -> dict[str, Any]:
    values = mail["template_values"]
    kind = values["KIND"]
    return {
        "to": mail["to"][0],
        "subject": mail["subject"],
        "type": KINDS.get(kind, kind),
        "token": values["TOKEN"],
        "token_hash": values.get("HASH", ""),
        "link": values.get("URL", ""),
    }
