"""An upstream that sends answers twice: its second copies must never become other callers' sessions."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tests.fixtures.repeating import id_of, repeating
from velro_auth.auth.models import Credentials
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamError
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.upstream.transport.transport import Transport

LOGINS, USERS = 1000, 200


def log_in(identity: SupabaseIdentity, numbers: list[int], results: Counter[str]) -> None:
    for number in numbers:
        email = f"user{number % USERS}@example.com"
        context = RequestContext(request_id="test", address="", arrived_s=0.0)
        try:
            session = identity.sign_in(Credentials(email, "a password"), context)
        except UpstreamError as error:
            results[type(error).__name__] += 1
        else:
            results["right" if session.user.id == id_of(email) else "wrong"] += 1


@pytest.mark.parametrize("nagle", [False, True], ids=["without Nagle", "with Nagle"])
@pytest.mark.parametrize("threads", [1, 8])
def test_nobody_gets_the_session_of_another_user(threads: int, *, nagle: bool) -> None:
    results: Counter[str] = Counter()
    with repeating(nagle=nagle) as upstream:
        transport = Transport(upstream.url, key="k" * 20, pool_size=34)
        identity = SupabaseIdentity(AuthCalls(transport, forwards_address=False))
        callers = [
            threading.Thread(target=log_in, args=(identity, list(range(LOGINS))[nth::threads], results))
            for nth in range(threads)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        transport.close()

    # A login that met a second copy may have hung up before its own answer was sent.
    assert upstream.repeated >= LOGINS * 0.95 // 5
    assert results["wrong"] == 0, results
    assert results["right"] >= LOGINS * 0.95, results
    assert results.total() == LOGINS
