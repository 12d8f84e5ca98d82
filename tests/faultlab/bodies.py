"""Bodies that a parser of JSON should not take, or should take no harm from."""

from __future__ import annotations

import gzip
import json
import random
import string
from functools import cache
from typing import Any, Final, NamedTuple

#: Of made-up values.
MAX_DEPTH: Final = 4


class Body(NamedTuple):
    """One body; *coding* is its Content-Encoding."""

    name: str
    data: bytes
    coding: str = ""


_GOOD: Final = b'{"email": "a@lab.example.com", "password": "canary-body"}'


@cache
def known() -> tuple[Body, ...]:
    """Return the attacks that have a name."""
    deep = 100_000
    return (
        Body("10 MB of text", b'{"email": "' + b"x" * 10_000_000 + b'"}'),
        Body("10 MB of blanks", b" " * 10_000_000),
        Body("10 MB of keys", b"{" + b",".join(b'"%d":1' % n for n in range(700_000)) + b"}"),
        Body("deep arrays", b"[" * deep),
        Body("deep closed arrays", b"[" * deep + b"]" * deep),
        Body("deep objects", b'{"a":' * deep),
        Body("deep within the limit", b'{"email":' + b"[" * 7000 + b"]" * 7000 + b"}"),
        Body("depth 17", b'{"email":' + b"[" * 17 + b"]" * 17 + b"}"),
        Body("a million digits", b'{"email": ' + b"9" * 1_000_000 + b"}"),
        Body("5,000 digits", b'{"email": ' + b"9" * 5000 + b"}"),
        Body("a million digits behind the point", b'{"email": 0.' + b"9" * 1_000_000 + b"}"),
        Body("exponent", b'{"email": 1e999999999}'),
        Body("two addresses", b'{"email": "a@lab.example.com", "email": "b@lab.example.com", "password": "canary-b"}'),
        Body("two passwords", _GOOD[:-1] + b', "password": "canary-c"}'),
        Body("escaped twin", b'{"email": "a@lab.example.com", "\\u0065mail": "b@lab.example.com", "password": "x"}'),
        Body("NaN", b'{"email": NaN}'),
        Body("Infinity", b'{"email": -Infinity}'),
        Body("BOM", b"\xef\xbb\xbf" + _GOOD),
        Body("UTF-16", _GOOD.decode().encode("utf-16")),
        Body("UTF-32", _GOOD.decode().encode("utf-32")),
        Body("lone surrogate", b'{"email": "\\ud800@lab.example.com", "password": "canary-d"}'),
        Body("raw surrogate", b'{"email": "\xed\xa0\x80@lab.example.com", "password": "canary-d"}'),
        Body("invalid UTF-8", b'{"email": "\xff\xfe@lab.example.com", "password": "canary-d"}'),
        Body("overlong UTF-8", b'{"email": "\xc0\x80@lab.example.com", "password": "canary-d"}'),
        Body("NUL", b'{"email": "a\\u0000@lab.example.com", "password": "canary-d"}'),
        Body("raw NUL", b'{"email": "a\x00@lab.example.com", "password": "canary-d"}'),
        Body("text behind", _GOOD + b"{}"),
        Body("comment", b'/* */{"email": 1}'),
        Body("single quotes", b"{'email': 'a@lab.example.com'}"),
        Body("trailing comma", _GOOD[:-1] + b",}"),
        Body("gzip bomb", gzip.compress(b'{"email": "' + b"x" * 50_000_000 + b'"}'), "gzip"),
        Body("gzip", gzip.compress(_GOOD), "gzip"),
        Body("unknown coding", _GOOD, "br"),
        *(Body(f"not an object {text!r}", text) for text in (b"", b"null", b"[]", b"1", b'"x"', b"true", b"{", b"}")),
        *(Body(f"type of email {text!r}", b'{"email": %s, "password": "canary-t"}' % text) for text in _VALUES),
        *(Body(f"type of password {t!r}", b'{"email": "a@lab.example.com", "password": %s}' % t) for t in _VALUES),
        Body("long password", json.dumps({"email": "a@lab.example.com", "password": "x" * 1025}).encode()),
        Body("empty password", b'{"email": "a@lab.example.com", "password": ""}'),
        Body("long address", json.dumps({"email": "a" * 300 + "@lab.example.com", "password": "canary-l"}).encode()),
    )


_VALUES: Final = (b"null", b"1", b"1.5", b"true", b"[]", b"{}", b'["a"]', b'{"a": 1}', b"-0", b"1e3")


def generated(chance: random.Random, count: int) -> list[Body]:
    """Return random bodies: a good one that was damaged, or values of the wrong kind."""
    return [chance.choice((_damaged, _wrong))(chance, number) for number in range(max(0, count))]


def _damaged(chance: random.Random, number: int) -> Body:
    """Damage the structure, so that no luck makes it good again."""
    data = bytearray(_GOOD)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        change = chance.randrange(3)
        if change == 0:
            del data[at]
        elif change == 1:
            data.insert(at, chance.randrange(256))
        else:
            data[at] = chance.randrange(256)
    data[0:1] = chance.choice((b"[", b"{{", b"\x00{", b"(", b"{,"))
    return Body(f"damaged {number}", bytes(data))


def _wrong(chance: random.Random, number: int) -> Body:
    return Body(f"wrong {number}", json.dumps({"email": value(chance), "password": value(chance)}).encode())


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return a made-up value of JSON."""
    # No address: there is no @ in it.
    letters = string.ascii_letters + string.digits + '\u00e4\u202e\u0000\ud83d\n\t"\\'
    text = "".join(chance.choices(letters, k=chance.randint(0, 40))).encode("utf-8", "replace").decode()
    number = chance.random() * 10 ** chance.randint(-300, 300)
    plain = [None, True, False, chance.randint(-(10**30), 10**30), number, text]
    if depth >= MAX_DEPTH or chance.random() < 0.7:
        return chance.choice(plain)
    values = [value(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return chance.choice((values, {str(number): each for number, each in enumerate(values)}))
