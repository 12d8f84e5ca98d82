"""The wait for the signal that ends the local Supabase."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from supabase_standin.stopping import awaiting_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_came_before_the_wait_is_not_lost(number: signal.Signals) -> None:
    with awaiting_stop() as wait:
        signal.raise_signal(number)

        wait()


def test_a_signal_that_another_thread_gets_ends_the_wait() -> None:
    """The kernel may give a signal to any thread. A main thread that waits for a lock would sleep on."""

    def get_one() -> None:
        time.sleep(0.05)  # the main thread waits by now; whether it does changes nothing in the outcome
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with awaiting_stop() as wait:
        thread = threading.Thread(target=get_one)
        thread.start()
        wait()
        thread.join()


def test_another_signal_does_not_end_the_wait() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with awaiting_stop() as wait:
            signal.raise_signal(signal.SIGUSR1)
            waiting = threading.Thread(target=wait, daemon=True)
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive()
            signal.raise_signal(signal.SIGTERM)
            waiting.join(60)
            assert not waiting.is_alive()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)

    with awaiting_stop():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(wakeup) == wakeup
