"""Compares what was recorded with what came: placeholders such as ``<uuid>`` stand for a form, not a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
ADDRESS: Final = r"[^\s@&?#\"]+(?:@|%40)[^\s@&?#\"]+"

#: Placeholder → what stands there.
FORMS: Final[Mapping[str, str]] = {
    "uuid": UUID,
    "time": TIME,
    "email": ADDRESS,
    "new_email": ADDRESS,
    "token_hash": r"[0-9a-f]{56}",
    "otp": r"\d{6}",
    "totp": r"\d{6}",
    "unix": r"\d{10}",
    "int": r"\d+",
    "n": r"\d+",
    "refresh_token": r"[a-z0-9]{12}",
    "first 5 characters of the refresh token": r"[a-z0-9]{5}",
    "jwt": r"[\w-]+\.[\w-]+\.[\w-]+",
    "bcrypt": r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}",
    "base32": r"[A-Z2-7]{32}",
    "base64url": r"[\w-]+",
    "svg": r"<\?xml[\s\S]*<svg[\s\S]*</svg>\s*",
    "phone": r"\d{8,15}",
    "code_challenge": r"[\w.~-]{43,128}",
    "code_verifier": r"[\w.~-]{43,128}",
    "provider_token": r"[\w.-]+",
    "auth_base": r"http://127\.0\.0\.1:\d+",
    "provider_base": r"http://127\.0\.0\.1:\d+/[\w/-]*?",
    "html link to the location": r'<a href="[^"]*">[A-Za-z ]+</a>\.\s*',
}
PLACEHOLDER: Final = re.compile(r"<([a-z][a-z0-9_ ]*)>")
#: Stands for a document that another case looks at.
WHOLE_DOCUMENT: Final = "<settings>"


def differences(expected: Any, actual: Any, where: str = "") -> list[str]:
    """Return what differs, one line each: where, what was recorded, what came."""
    if expected == WHOLE_DOCUMENT and isinstance(actual, Mapping):
        return []
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _in_objects(expected, actual, where)
    if isinstance(expected, list) and isinstance(actual, list):
        return _in_lists(expected, actual, where)
    if isinstance(expected, str) and isinstance(actual, str | int) and not isinstance(actual, bool):
        fits = _fits(expected, str(actual)) and (isinstance(actual, str) or PLACEHOLDER.fullmatch(expected))
        return [] if fits else [f"{where}: recorded {expected!r}, came {_short(actual)}"]
    # How long is left is told at the time of the answer, and a second may begin meanwhile.
    is_later = where.endswith("expires_in") and actual == expected - 1
    if is_later or (type(expected) is type(actual) and expected == actual):
        return []
    return [f"{where}: recorded {_short(expected)}, came {_short(actual)}"]


def bound(recorded: Any, values: Mapping[str, str]) -> Any:
    """Return *recorded* with the case's own addresses in place of ``<email>`` and ``<new_email>``."""
    if isinstance(recorded, Mapping):
        return {key: bound(item, values) for key, item in recorded.items()}
    if isinstance(recorded, list):
        return [bound(item, values) for item in recorded]
    if not isinstance(recorded, str):
        return recorded
    return recorded.replace("<email>", values["email"]).replace("<new_email>", values["new_email"])


def rows_differ(expected: Sequence[Any], actual: Sequence[Any], where: str) -> list[str]:
    """Return what differs between rows, whose order says nothing: each is compared with the likest one left."""
    if len(expected) != len(actual):
        return [f"{where}: recorded {len(expected)} rows, came {len(actual)}: {_short(list(actual))}"]
    left, found = list(actual), []
    for index, row in enumerate(expected):
        likest = min(left, key=lambda one: len(differences(row, one)))
        left.remove(likest)
        found += differences(row, likest, f"{where}[{index}]")
    return found


def _in_objects(expected: Mapping[str, Any], actual: Mapping[str, Any], where: str) -> list[str]:
    found = [f"{where}.{key}: missing, recorded {_short(expected[key])}" for key in expected if key not in actual]
    found += [f"{where}.{key}: not recorded, came {_short(actual[key])}" for key in actual if key not in expected]
    for key in expected:
        if key in actual:
            found += differences(expected[key], actual[key], f"{where}.{key}")
    return found


def _in_lists(expected: list[Any], actual: list[Any], where: str) -> list[str]:
    if len(expected) != len(actual):
        return [f"{where}: recorded {len(expected)} items, came {len(actual)}: {_short(actual)}"]
    return [
        line
        for index, (one, other) in enumerate(zip(expected, actual, strict=True))
        for line in differences(one, other, f"{where}[{index}]")
    ]


def _fits(expected: str, actual: str) -> bool:
    parts = PLACEHOLDER.split(expected)
    pattern = "".join(
        re.escape(part) if index % 2 == 0 else FORMS.get(part, re.escape(f"<{part}>"))
        for index, part in enumerate(parts)
    )
    return re.fullmatch(pattern, actual) is not None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
