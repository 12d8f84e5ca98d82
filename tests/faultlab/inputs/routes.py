"""Whole requests for every route and method of the service, with cookies, pages and Supabase's own API switched on."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import re
from collections import Counter
from typing import Any, Final
from unittest import mock
from urllib.parse import unquote, urlsplit

from tests.faultlab.client import Reply
from tests.faultlab.inputs.asked import CANARY, KEY, METHODS, Asked, Asking, Route
from tests.faultlab.inputs.double import Double
from tests.faultlab.inputs.heads import PEERS, SERVER
from tests.faultlab.inputs.part import Part, Wrong
from tests.faultlab.inputs.proofs import PUBLIC, signing_key
from tests.faultlab.inputs.values import ENVIRONMENT
from tests.faultlab.invariants import Contract
from tests.fixtures.hostile import ALLOWED, APP
from tests.fixtures.tokens import document
from velro_auth import errors
from velro_auth.app import Service, create_app
from velro_auth.config.settings import Settings
from velro_auth.context import AFTERWARDS
from velro_auth.endpoints.supabase_api.routes import ELSEWHERE, PREFIX, SupabaseApiEndpoint
from velro_auth.server import dispatch, refusals
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import Progress, RequestParser
from velro_auth.upstream.jwks_http import HttpKeySet
from velro_auth.upstream.transport.transport import Transport
from velro_auth.web.middleware import is_below
from velro_auth.wiring import Parts

_SETTINGS: Final = {
    **ENVIRONMENT,
    "AUTH_COOKIE_SESSIONS": "1",
    "AUTH_PAGES": "1",
    "AUTH_SUPABASE_API": "1",
    "AUTH_PUBLIC_URL": PUBLIC,
    "AUTH_COOKIE_KEYS": KEY,
    "AUTH_REDIRECT_URLS": ALLOWED,
    "CORS_ORIGINS": APP,
    "AUTH_CAPTCHA": "off",
    # What is tried is the reading, not the limits: each input has to get to its route.
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_THROTTLE_SCALE": "1000000",
    "AUTH_SESSION_CALLS_PER_S": "100000",
    "AUTH_MAIL_BUDGET_PER_HOUR": "1000000",
    "AUTH_UPSTREAM_QUOTA": "off",
    "LOG_PROBES_EVERY": "1",
}
#: Hosts that an answer may lead to.
_OWN: Final = frozenset(urlsplit(url).netloc for url in (PUBLIC, *ALLOWED.split(","), ENVIRONMENT["SUPABASE_URL"]))
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")
_SECRET: Final = re.compile(rf"{CANARY}|eyJhbGci|sb_secret_")
#: Readiness is 503 when the service finds itself not ready.
_READINESS: Final = ("/health/ready", "/__heartbeat__")
#: From so many inputs on, a route has to have answered something else than that there is none.
_TRIES: Final = 20


class Routes(Part):
    """No 500, no defect, an answer as the contract says, no secret in a log, and nothing without a session."""

    name = "routes"
    share = 120
    parsers = ((Service, "__call__"),)
    wanted = frozenset({"200", "204", "303", "400", "401", "403", "404", "405", "422", "503"})

    def __init__(self) -> None:
        key = signing_key()
        self._double = Double(key)
        patches: list[Any] = [
            mock.patch.object(Transport, "ask", lambda _, *given, **named: self._double.ask(*given, **named)),
            mock.patch.object(HttpKeySet, "__call__", return_value=document([key])),
            # Answers that are garbled on purpose must not open the circuit breaker: then no input would get through.
            mock.patch.object(errors.UpstreamError, "is_outage", new=False),
        ]
        self._ends = contextlib.ExitStack()
        with self._ends:
            for patch in patches:
                self._ends.enter_context(patch)
            self._begin()
            # Kept until close(), unless the beginning failed.
            self._ends = self._ends.pop_all()

    def _begin(self) -> None:
        """Build the service, and learn its routes and its document."""
        found: list[Parts] = []

        def extend(_: Settings, parts: Parts) -> Parts:
            found.append(parts)
            return parts

        self._service = create_app(Settings.from_environment(_SETTINGS), extend=extend)
        self._ends.callback(self._service.stop)
        self._routes = routes_of(found[0])
        self._refuser = refusals.Refuser(self._service)
        paths = self._service.main_thread_paths
        self._parser = ParserSettings(SERVER, paths, lambda: self._service.body_limits)
        file = re.search(rb'"(/static/[^"]+)"', self._answer(b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n").body)
        assert file is not None
        self._asking = Asking(self._double, {"/static/<version>/<name>": file[1].decode()})
        self._pages = {"/docs", *(route.path for route in self._routes if route.is_page)}
        self._seen: dict[Route, Counter[int]] = {route: Counter() for route in self._routes}
        # The signing keys are fetched with the first token.
        token = self._double.token(random.Random())  # noqa: S311
        self._answer(f"GET /api/v1/auth/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        self._document = json.loads(self._answer(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n").body)
        self._contract = Contract()
        self._contract.learn(self._document)

    def make(self, chance: random.Random) -> Asked:
        """Return a request for any of the routes."""
        return self._asking.make(chance, chance.choice(self._routes))

    def judge(self, given: Asked) -> str:
        """Have the service answer it, and look at the answer and at the log."""
        self._double.expect(given.mood, random.Random(given.seed))  # noqa: S311
        reply = None
        try:
            reply = self._answer(given.data)
            self._check(given, reply)
        except Exception as error:
            error.add_note(f"{reply}\n  {self._double.replies}")
            raise
        finally:
            self._double.tokens.clear()
        return str(reply.status)

    def _answer(self, data: bytes) -> Reply:
        """Return the answer to a request, as the worker gives it."""
        parser, afterwards = RequestParser(self._parser, self._parser.environ_of(*PEERS)), refusals.Afterwards()
        if parser.feed(bytearray(data)) is Progress.PARTIAL:
            raise Wrong("a whole request is not complete")
        if parser.error is not None:
            written = self._refuser.answer(parser.error, parser.head, *PEERS, afterwards)
        else:
            self._service.answers_at_once(parser.environ)
            parser.environ[AFTERWARDS] = afterwards
            written, _ = dispatch.respond(self._service, parser.environ, keep=False)
        for callback in afterwards:
            callback()
        head, _, body = written.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        if not all(map(_FIELD.fullmatch, lines)):
            raise Wrong("a malformed header field")
        headers: dict[str, str] = {}
        for name, _, value in (line.partition(": ") for line in lines):
            headers[name.lower()] = f"{headers[name.lower()]}\n{value}" if name.lower() in headers else value
        return Reply(int(status[9:12]), headers, body, 0.0)

    def _check(self, given: Asked, reply: Reply) -> None:
        method, target, _ = given.data.partition(b"\r\n")[0].decode("ascii").split(" ")
        route, path = given.route, target.partition("?")[0]
        is_own = method == route.method and _shape(route.path).fullmatch(path) is not None
        if is_own:
            self._seen[route][reply.status] += 1
        where = f"{method} {route.path if is_own else '(another path)'}"
        has_failed = bool(self._double.replies) and given.mood != "right"
        if reply.status >= 500 and not (reply.status == 503 and (has_failed or path.removesuffix("/") in _READINESS)):
            raise Wrong(f"{reply.status} {reply.code}: {where}")
        if reply.status < 300 and is_own and not given.has_session and self._needs_session(route):
            raise Wrong(f"accepted without a session: {where}")
        if found := _SECRET.search(repr([vars(record) for record in self.records])):
            raise Wrong(f"a secret is logged ({found[0]}): {where}")
        if complaint := _leads_away(given, reply) or self._malformed(route if is_own else None, method, path, reply):
            raise Wrong(f"{complaint}: {where}")

    def _malformed(self, route: Route | None, method: str, path: str, reply: Reply) -> str:
        """Return what is wrong with the form of an answer; empty if nothing is."""
        is_html = reply.headers.get("content-type", "").startswith("text/html")
        if method == "HEAD":
            return "" if not reply.body and "x-request-id" in reply.headers else "a body for HEAD, or no request id"
        if is_html:
            # Below the prefix it may be Supabase's own.
            is_passed_on = is_below(path, (PREFIX,)) and self._double.mood == "garbled"
            return "" if path.removesuffix("/") in self._pages or is_passed_on else "HTML that is no page"
        if reply.status >= 400 and (CANARY.encode() in reply.body or b"eyJhbGci" in reply.body):
            return "the error repeats a secret"
        path = unquote(path, "latin-1")
        if is_below(path, (PREFIX, *ELSEWHERE)) and reply.status >= 400:
            # What the server itself refuses outside of the prefix, or with no known method, has our own format.
            is_supabase = isinstance(reply.json, dict) and not {"msg", "message"}.isdisjoint(reply.json)
            is_due = is_below(path, (PREFIX,)) and method != "PROPFIND"
            return "" if is_supabase or not is_due else "no error of Supabase"
        return self._contract(method, _documented(route.path) if route else path, reply)

    def _needs_session(self, route: Route) -> bool:
        """Return whether a route answers only somebody with a session. Nobody is logged out already."""
        methods = self._document["paths"].get(_documented(route.path), {})
        is_face = re.fullmatch(f"{PREFIX}/(user|factors|reauthenticate).*", route.path) is not None
        return "logout" not in route.path and (is_face or bool(methods.get(route.method.lower(), {}).get("security")))

    def lacks(self) -> list[str]:
        """Return the documented routes that are not tried, and those that no input got to."""
        tried = {(_documented(route.path), route.method.lower()) for route in self._routes}
        documented = {(path, method) for path, methods in self._document["paths"].items() for method in methods}
        told = [f"{method} {path} is not tried" for path, method in sorted(documented - tried)]
        return told + [
            f"no input got to {route.method} {route.path}: {dict(seen)}"
            for route, seen in self._seen.items()
            if seen.total() >= _TRIES and seen.keys() <= {404, 405} and route.path not in {PREFIX, *ELSEWHERE}
        ]

    def close(self) -> None:
        """End the service, and put back what stood in its way."""
        self._ends.close()


def _leads_away(given: Asked, reply: Reply) -> str:
    location = reply.headers.get("location", "/")
    is_path = location.startswith("/") and not location.startswith(("//", "/\\"))
    # What Supabase itself says, Supabase's own API passes on.
    is_ours = is_path or urlsplit(location).netloc in _OWN or given.mood == "garbled"
    return "" if is_ours else f"leads to {location[:60]}"


def routes_of(parts: Parts) -> list[Route]:
    """Return every route of the service, those of Supabase's own API included."""
    pages = {path for page in parts.pages for path in page.paths}
    found = [
        Route(method, path, path in pages)
        for endpoint in parts.endpoints
        for path in endpoint.paths
        for method in endpoint.methods or (METHODS if path not in ELSEWHERE else ("GET", "POST"))
    ]
    found += [Route(method, f"{path}/a/b") for path in parts.verify.paths for method in METHODS]
    assert isinstance(parts.supabase_api, SupabaseApiEndpoint)
    return found + [Route(each.method, f"{PREFIX}{each.path}") for each in parts.supabase_api.routes]


def _documented(path: str) -> str:
    """Return a path as the OpenAPI document spells it."""
    return re.sub("<([a-z_]+)>", r"{\1}", path)


@functools.cache
def _shape(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split("<[a-z_]+>", path))))
