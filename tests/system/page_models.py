"""Traefik as its documentation says it acts on our recipe for pages: what it would send is sent.

The program cannot be had as a package. The model knows only what the recipe uses, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

from tests.system.gateway_lab import serving
from tests.system.gateway_models import (
    HOP_BY_HOP,
    Asked,
    traefik_matches,
    traefik_upgrade,
    without_aliases,
)
from tests.system.page_lab import PAGES, SECRET

#: Header fields of an answer, in their order.
Fields = list[tuple[str, str]]
#: Sends a request to a service by its name.
Send = Callable[[str, str, str, Mapping[str, str], bytes], tuple[int, Fields, bytes]]

_HOST = "app.example.com"


class Traefik:
    """Traefik 3 with the file provider, forwardAuth and the headers middleware."""

    def __init__(self, recipe: Any, send: Send) -> None:
        self._http, self._send = recipe["http"], send

    def answer(self, asked: Asked) -> tuple[int, Fields, bytes]:
        asked.headers = {name: of for name, of in asked.headers.items() if not name.startswith("x-forwarded-")}
        asked.headers = without_aliases((PAGES / "traefik.yml").read_text(), asked.headers)
        asked.headers["x-real-ip"] = "127.0.0.1"
        asked.headers |= traefik_upgrade(asked.headers)
        routers = self._http["routers"].values()
        matching = [router for router in routers if traefik_matches(router["rule"], asked, _HOST)]
        router = max(matching, key=lambda found: found.get("priority", len(found["rule"])))
        ends: list[Callable[[Fields], Fields]] = []
        for name in router["middlewares"]:
            ((kind, options),) = self._http["middlewares"][name].items()
            if kind == "headers":
                self._set(asked, options)
                ends.append(_with(options.get("customResponseHeaders", {})))
            else:
                status, fields, body = self._ask(asked, options)
                if not 200 <= status < 300:
                    return status, fields, body
                ends.append(_with_cookies(fields, options["addAuthCookiesToResponse"]))
        status, fields, body = self._send(router["service"], asked.method, asked.target, asked.forwarded, asked.body)
        for end in reversed(ends):
            fields = end(fields)
        return status, fields, body

    @staticmethod
    def _set(asked: Asked, options: Mapping[str, Any]) -> None:
        assert options.keys() <= {"customRequestHeaders", "customResponseHeaders"}
        for name, value in options.get("customRequestHeaders", {}).items():
            asked.headers.pop(name.lower(), None)
            asked.headers |= {name.lower(): value} if value else {}

    def _ask(self, asked: Asked, options: Mapping[str, Any]) -> tuple[int, Fields, bytes]:
        known = {"address", "trustForwardHeader", "authRequestHeaders", "authResponseHeaders"}
        assert options.keys() == known | {"addAuthCookiesToResponse"}
        assert options["trustForwardHeader"] is False
        named = {name.lower() for name in options["authRequestHeaders"]}
        inner = {name: value for name, value in asked.headers.items() if name in named}
        inner |= {"x-forwarded-method": asked.method, "x-forwarded-uri": asked.target, "x-forwarded-for": "127.0.0.1"}
        inner |= {"x-forwarded-proto": "http", "x-forwarded-host": asked.headers["host"]}
        address = urlsplit(options["address"])
        answer = self._send("velro-auth", "GET", f"{address.path}?{address.query}", inner, b"")
        if 200 <= answer[0] < 300:
            for name in options["authResponseHeaders"]:
                asked.headers.pop(name.lower(), None)
                asked.headers |= {name.lower(): of for field, of in answer[1] if field.lower() == name.lower()}
        return answer


def _with(custom: Mapping[str, str]) -> Callable[[Fields], Fields]:
    """Set the fields of *custom* in an answer; an empty one is removed."""
    names = {name.lower() for name in custom}
    added = [(name, value) for name, value in custom.items() if value]
    return lambda fields: [*(field for field in fields if field[0].lower() not in names), *added]


def _with_cookies(answer: Fields, names: Sequence[str]) -> Callable[[Fields], Fields]:
    """Add the cookies of the gateway's answer, in place of those of the backend with the same names."""

    def is_named(field: tuple[str, str]) -> bool:
        return field[0].lower() == "set-cookie" and field[1].partition("=")[0] in names

    return lambda fields: [*(field for field in fields if not is_named(field)), *filter(is_named, answer)]


@contextmanager
def _running(model: Callable[[Asked], tuple[int, Fields, bytes]]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        """A client's request, handed to the model."""

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

        def _answer(self) -> None:
            status, fields, content = model(Asked.by(self))
            self.send_response(status)
            for name, value in fields:
                if name.lower() not in {*HOP_BY_HOP, "content-length"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        # The names that http.server calls.
        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


def _to(ports: Mapping[str, int]) -> Send:
    def send(
        service: str, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Fields, bytes]:
        # As the client wrote it: requests would tidy up the path, and add fields of its own.
        request = requests.Request(method, f"http://127.0.0.1:{ports[service]}/", data=body).prepare()
        request.url = f"http://127.0.0.1:{ports[service]}{target}"
        request.headers = requests.structures.CaseInsensitiveDict(headers)
        with requests.Session() as session:
            answer = session.send(request, timeout=20, allow_redirects=False)
        return answer.status_code, [*answer.raw.headers.items()], answer.content

    return send


@contextmanager
def traefik(
    _: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
) -> Iterator[int]:
    """Serve a model of Traefik with the recipe; give the port."""
    assert recipe is None
    read = yaml.safe_load((PAGES / "traefik.yml").read_text())
    if relay:
        read["http"]["middlewares"]["without-forgeries"]["headers"]["customRequestHeaders"]["X-Velro-Relay"] = SECRET
    with _running(Traefik(read, _to({"velro-auth": verify_port, "backend": backend_port})).answer) as port:
        yield port
