"""The file that ``AUTH_RULES_FILE`` names: who may reach which part of a site, in TOML.

Each mistake is reported with its line and with what to write, and all of them together. A file with a mistake gives no
rules at all: half of the rules could open what the other half closes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.auth.access_rules import ALLOWS, AccessRule, AccessRules, check_host, check_method, check_path
from velro_auth.auth.requirements import LEVELS, Requirements, roles_of
from velro_auth.config.sources import UnreadableFile, read_text
from velro_auth.config.validation import SettingError
from velro_auth.errors import BadParameter

#: The variable that names the file.
VARIABLE: Final = "AUTH_RULES_FILE"
#: Larger than any list that a person can keep an eye on.
MAX_BYTES: Final = 64 * 1024

_KEYS: Final = ("path", "host", "methods", "allow", "role", "aal", "name")
_RULE: Final = re.compile(r"^\s*\[\[\s*rules\s*\]\]", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class RulesFile:
    """The content of a file of rules.

    Attributes:
        rules: None without a file, or with a wrong one.
        errors: What is wrong, and where.
    """

    rules: AccessRules | None = None
    errors: Sequence[SettingError] = ()


def read_rules_file(path: str) -> RulesFile:
    """Read the file at *path*. Never raises: see ``errors``. An empty path is no file."""
    if not path:
        return RulesFile()
    try:
        text = read_text(path, MAX_BYTES)
    except UnreadableFile as error:
        return _wrong(str(error))
    return parsed(text, path)


def parsed(text: str, path: str) -> RulesFile:
    """Parse the *text* of a file; *path* is named in what is wrong. Never raises."""
    try:
        content = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        return _wrong(f"{path} is not TOML: {error}")
    except (ValueError, RecursionError):
        return _wrong(f"{path} has a number with thousands of digits, or lists within thousands of lists")
    entries = content.get("rules")
    if content.keys() != {"rules"} or not isinstance(entries, list) or not entries:
        other = ", ".join(sorted(content.keys() - {"rules"}))
        return _wrong(f"{path} has to hold [[rules]] and nothing else" + (f", but has {other}" if other else ""))
    places = _Places.of(text)
    rules, errors = [], []
    for number, entry in enumerate(entries, start=1):
        found = _Entry(number, entry, places)
        rules.append(found.rule())
        errors += [SettingError(VARIABLE, f"{path}, {advice}") for advice in found.mistakes]
    return RulesFile(errors=errors) if errors else RulesFile(rules=AccessRules(tuple(rules)))


def _wrong(advice: str) -> RulesFile:
    return RulesFile(errors=[SettingError(VARIABLE, advice)])


@dataclass(frozen=True)
class _Places:
    """Where things are in a file; TOML's own reader does not say."""

    lines: Sequence[str]
    starts: Sequence[int]

    @classmethod
    def of(cls, text: str) -> _Places:
        starts = [text.count("\n", 0, found.end()) + 1 for found in _RULE.finditer(text)]
        return cls(text.splitlines(), starts)

    def line(self, number: int, key: str = "") -> int:
        """Return the line of a key of a rule, else of the rule; 0 when the rules are written in another way."""
        if number > len(self.starts):
            return 0
        start = self.starts[number - 1]
        end = self.starts[number] - 1 if number < len(self.starts) else len(self.lines)
        inside = range(start, end)
        is_key = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=") if key else None
        found = (index + 1 for index in inside if is_key and is_key.match(self.lines[index]))
        return next(found, start)


class _Entry:
    """One rule of the file and what is wrong with it."""

    def __init__(self, number: int, entry: Any, places: _Places) -> None:
        self._number = number
        self._entry: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        self._places = places
        self.mistakes: list[str] = []

    def rule(self) -> AccessRule:
        """Return the rule; without use if there are mistakes."""
        for key in self._entry.keys() - set(_KEYS):
            self._mistake(key, f"unknown key {key!r}: there are {', '.join(_KEYS)}")
        allow = self._entry.get("allow")
        if allow not in ALLOWS:
            self._mistake("allow", f"write allow = one of {', '.join(map(repr, ALLOWS))}")
        paths = self._texts("path", check_path)
        if "path" not in self._entry:
            self._mistake("", 'write path = "/…", for all paths "/**"')
        name = self._entry.get("name", "")
        if not isinstance(name, str):
            self._mistake("name", "name is a text")
        return AccessRule(
            allow=allow or "nobody",
            paths=paths,
            hosts=self._texts("host", check_host),
            methods=self._texts("methods", check_method),
            requirements=self._requirements(),
            name=str(name),
            line=self._places.line(self._number),
        )

    def _requirements(self) -> Requirements:
        roles, aal = self._texts("role", lambda _: ""), self._entry.get("aal", "")
        if (roles or aal) and self._entry.get("allow") != "signed-in":
            self._mistake("role" if roles else "aal", "role and aal need allow = 'signed-in'")
        if "aal" in self._entry and not (isinstance(aal, str) and aal in LEVELS):
            self._mistake("aal", f"aal must be one of {', '.join(LEVELS)}")
            return Requirements()
        try:
            return Requirements(roles=roles_of(roles), aal=aal)
        except BadParameter as error:
            self._mistake("role", error.advice)
        return Requirements()

    def _texts(self, key: str, check: Callable[[str], str]) -> tuple[str, ...]:
        """Return the value of *key*: one text, or a list of them."""
        if key not in self._entry:
            return ()
        value = self._entry[key]
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            self._mistake(key, f"{key} is a text, or a list of texts, and not empty")
            return ()
        for advice in self._advice(texts, check):
            self._mistake(key, advice)
        return tuple(texts)

    @staticmethod
    def _advice(texts: Sequence[str], check: Callable[[str], str]) -> Iterator[str]:
        for text in texts:
            if advice := check(text):
                yield f"{text!r}: {advice}"

    def _mistake(self, key: str, advice: str) -> None:
        line = self._places.line(self._number, key)
        self.mistakes.append(f"{f'line {line}' if line else f'rule {self._number}'}: {advice}")
