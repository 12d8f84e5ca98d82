from __future__ import annotations

import os
import signal
import threading

from tests.fixtures.tokens import SigningKey, document
from velro_auth.upstream.jwks import KeyStore

ONE = SigningKey("one")


def test_a_forked_child_fetches_for_itself() -> None:
    """Forked while the parent's fetch hangs: the child has neither its thread nor, any more, its lock."""
    release, started = threading.Event(), threading.Event()
    parent = os.getpid()

    def fetch() -> bytes:
        if os.getpid() == parent:
            started.set()
            assert release.wait(10)
        return document([ONE])

    store = KeyStore(fetch=fetch)
    store.warm()
    assert started.wait(5)

    with store._lock:
        child = os.fork()
        if child == 0:
            # A child that hangs must not outlive the test.
            signal.alarm(5)
            os._exit(0 if store.find("one").kid == "one" else 1)
    _, status = os.waitpid(child, 0)
    release.set()
    store.close()

    assert os.waitstatus_to_exitcode(status) == 0
