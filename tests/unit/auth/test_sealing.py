"""Sealed values: only this service opens them, only for their purpose, only for a time."""

from __future__ import annotations

import pytest

from tests.fixtures.tokens import HandClock
from velro_auth.auth.sealing import Sealed, Sealer, sealing_keys

OLD, NEW = b"o" * 32, b"n" * 32
VALUE = {"verifier": "ä" * 43, "number": 7}


def sealer(*keys: bytes, purpose: str = "flow", now: HandClock | None = None) -> Sealer:
    return Sealer(keys or (OLD,), purpose, now=now or HandClock())


def test_a_sealed_value_opens_again() -> None:
    assert sealer().open(sealer().seal(VALUE, good_for_s=60)) == VALUE


def test_a_sealed_value_is_opaque_and_never_the_same_twice() -> None:
    first, second = (sealer().seal({"a": "secret"}, good_for_s=60) for _ in range(2))
    assert first != second
    assert "secret" not in first


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_changed_value_stays_sealed(at: int) -> None:
    text = sealer().seal(VALUE, good_for_s=60)
    changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    with pytest.raises(Sealed):
        sealer().open(changed)


@pytest.mark.parametrize("text", ["", "A", "ä", "=", "AQ", "!!!!", "A" * 64, "\n"])
def test_what_was_never_sealed_stays_sealed(text: str) -> None:
    with pytest.raises(Sealed):
        sealer().open(text)


def test_an_expired_value_stays_sealed() -> None:
    clock = HandClock()
    text = sealer(now=clock).seal(VALUE, good_for_s=60)
    clock.advance(59)
    assert sealer(now=clock).open(text) == VALUE
    clock.advance(2)
    with pytest.raises(Sealed):
        sealer(now=clock).open(text)


def test_a_value_opens_for_its_purpose_and_binding_only() -> None:
    text = sealer().seal(VALUE, good_for_s=60, bound_to="cookie-1")
    assert sealer().open(text, bound_to="cookie-1") == VALUE
    with pytest.raises(Sealed):
        sealer().open(text, bound_to="cookie-2")
    with pytest.raises(Sealed):
        sealer(purpose="ticket").open(text, bound_to="cookie-1")


def test_keys_are_replaced_without_ending_what_the_old_one_sealed() -> None:
    old = sealer(OLD).seal(VALUE, good_for_s=60)
    new = sealer(NEW, OLD).seal(VALUE, good_for_s=60)
    assert sealer(NEW, OLD).open(old) == VALUE
    with pytest.raises(Sealed):
        sealer(OLD).open(new)
    with pytest.raises(Sealed):
        sealer(NEW).open(old)


def test_the_default_key_is_made_from_the_supabase_key() -> None:
    assert sealing_keys((), secret="a") == sealing_keys((), secret="a")
    assert sealing_keys((), secret="a") != sealing_keys((), secret="b")
    assert sealing_keys(("x" * 32,), secret="a") == (b"x" * 32,)


def test_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Sealer((), "flow")


def test_a_value_has_one_text() -> None:
    text = sealer().seal({"kept": "12"}, good_for_s=60)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [text[:-1] + last for last in alphabet if last != text[-1]]

    for other in (*others, text + "=", text + "=="):
        with pytest.raises(Sealed):
            sealer().open(other)
