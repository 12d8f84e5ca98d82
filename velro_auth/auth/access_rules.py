"""Rules that say who may reach which part of a site: the first rule that matches decides, and no match is a refusal.

A rule matches by host, method and path. Its requirements do not decide whether it matches: a user without the role of
the first matching rule is refused, and no later rule is read. :func:`AccessRules.decide` reads no clock and no file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from velro_auth.auth.request_paths import AmbiguousPath, readings
from velro_auth.auth.requirements import Requirements

Allow: TypeAlias = Literal["public", "signed-in", "nobody"]

#: What a rule may allow: all requests; users with a good session, who meet its role and level; no request.
ALLOWS: Final[tuple[Allow, ...]] = ("public", "signed-in", "nobody")
#: Stands for the path before it, and for every path below that.
REST: Final = "/**"

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_-])?|\[[0-9a-f:.]+\]", re.ASCII)
_METHOD: Final = re.compile(r"[A-Z]{1,32}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AccessRule:
    """One rule. Empty hosts and methods match all.

    Attributes:
        allow: Who may pass.
        paths: Patterns; one is enough. ``*`` stands for characters of one segment, ``/**`` at the end for the path
            before it and everything below. Case counts, a slash at the end does not.
        hosts: Names in lower case, without a port; ``*.example.com`` stands for one label left of ``example.com``.
        methods: In capitals. ``GET`` includes ``HEAD``.
        requirements: What a user must have beside a good session.
        name: Chosen by the operator, for the log and for explanations; may be empty.
        line: Where it begins in its file; 0 when that is unknown.
    """

    allow: Allow
    paths: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    name: str = ""
    line: int = 0

    @functools.cached_property
    def _paths(self) -> Callable[[str], object]:
        return re.compile("|".join(map(_pattern, self.paths))).fullmatch

    @functools.cached_property
    def _paths_in_any_case(self) -> Callable[[str], object]:
        return re.compile("|".join(map(_pattern, self.paths)), re.IGNORECASE).fullmatch

    def mismatch(self, method: str, host: str, path: str, *, any_case: bool = False) -> str:
        """Return the first of ``host``, ``method`` and ``path`` that does not match; empty if the rule matches."""
        if self.hosts and not ({host, f"*.{host.partition('.')[2]}"} & {*self.hosts}):
            return "host"
        if self.methods and method not in self.methods and not (method == "HEAD" and "GET" in self.methods):
            return "method"
        return "" if (self._paths_in_any_case if any_case else self._paths)(path) else "path"

    def __getstate__(self) -> dict[str, object]:
        """Leave the compiled patterns out: a reload sends rules to other processes."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say about a request.

    Attributes:
        rule: The rule that decides; None if none does.
        reason: Why the request is refused for all users; empty if *rule* allows any user to pass.
    """

    rule: AccessRule | None
    reason: str = ""

    @property
    def allow(self) -> Allow:
        """Who may pass."""
        return "nobody" if self.rule is None or self.reason else self.rule.allow


@dataclass(frozen=True)
class AccessRules:
    """All rules of a site, in their order."""

    rules: tuple[AccessRule, ...]

    @functools.cached_property
    def _has_capitals(self) -> bool:
        return any(path != path.lower() for rule in self.rules for path in rule.paths)

    def decide(self, method: str, host: str, target: str) -> Decision:
        """Return who may send the request. Never raises.

        A path that servers could read in different ways has to lead to the same rule in each reading.

        Args:
            method: Its method.
            host: Its host as the client sent it, perhaps with a port.
            target: Its path and query, as the client sent them.
        """
        method, name = method.upper(), normal_host(host)
        if not _METHOD.fullmatch(method) or not name:
            return Decision(None, "the request has no method or no host that can be compared")
        try:
            paths = readings(target)
        except AmbiguousPath as error:
            return Decision(None, str(error))
        found = {self._first(method, name, path) for path in paths}
        if self._has_capitals or any(path != path.lower() for path in paths):
            found |= {self._first(method, name, path, any_case=True) for path in paths}
        if len(found) > 1:
            return Decision(None, "the path leads to different rules, depending on how a server reads it")
        number = found.pop()
        if number is None:
            return Decision(None, "no rule matches")
        rule = self.rules[number]
        return Decision(rule, "the rule allows nobody" if rule.allow == "nobody" else "")

    def _first(self, method: str, host: str, path: str, *, any_case: bool = False) -> int | None:
        matching = (
            number for number, rule in enumerate(self.rules) if not rule.mismatch(method, host, path, any_case=any_case)
        )
        return next(matching, None)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what can be computed again."""
        return {"rules": self.rules}


def normal_host(text: str) -> str:
    """Return a host as rules name it: in lower case, without a port and a dot at the end; empty if it is none."""
    name = re.sub(r":\d{0,5}$", "", text.lower()).removesuffix(".")
    return name if _HOST.fullmatch(name) and "*" not in name and ".." not in name else ""


def check_path(pattern: str) -> str:
    """Return what is wrong with the pattern of a rule; empty if nothing is."""
    rest = pattern.removesuffix(REST)
    if not pattern.startswith("/") or "//" in pattern:
        return "a path begins with one slash"
    if "**" in rest:
        return "'**' can only be at the end, after a slash: /admin/**"
    try:
        found = readings(rest or "/")
    except AmbiguousPath as error:
        return str(error)
    if "%" in pattern or "?" in pattern or len(found) > 1:
        return "write a path as it is read: without escapes, query, semicolon, and no dot or blank at the end of a part"
    return ""


def check_host(name: str) -> str:
    """Return what is wrong with the host of a rule; empty if nothing is."""
    labels = name.removeprefix("*.")
    is_good = _HOST.fullmatch(name) and normal_host(labels) == labels
    return "" if is_good else "a host is a name in lower case without a port, such as app.example.com or *.example.com"


def check_method(name: str) -> str:
    """Return what is wrong with the method of a rule; empty if nothing is."""
    return "" if _METHOD.fullmatch(name) else "a method is written in capitals, such as GET"


def _pattern(path: str) -> str:
    """Return a regular expression that takes time in proportion to the path that it is matched with.

    Between two stars the first occurrence of a text is as good as any other one, so it is never tried again (``(?>``).
    """
    rest = path.removesuffix(REST)
    first, *texts = map(re.escape, rest.rstrip("/").split("*"))
    inner = "".join(f"(?>[^/]*?{text})" for text in texts[:-1])
    last = f"[^/]*{texts[-1]}" if texts else ""
    segments = first + inner + last
    if path.endswith(REST):
        return f"{segments}(?:/.*)?" if segments else "/.*"
    return segments or "/"
