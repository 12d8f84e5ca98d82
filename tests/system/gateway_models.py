"""Traefik as its documentation says it acts on our recipe: what it would send is sent.

The program cannot be had as a package. The model reads the recipe, builds the request to velro-auth and the request to
the backend from it, and sends both. It knows only what the recipe uses, and refuses anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import yaml

from tests.system.gateway_lab import RECIPES, serving, with_option

#: Of one connection only (RFC 9110, 7.6.1).
HOP_BY_HOP = {"connection", "keep-alive", "trailer", "transfer-encoding"}


@dataclass
class Asked:
    """A client's request on its way; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def by(cls, handler: BaseHTTPRequestHandler) -> Asked:
        """Read the request. A wish to upgrade is kept with all its values, one a line."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items() if name.lower() not in HOP_BY_HOP}
        headers.pop("upgrade", None)
        if "upgrade" in handler.headers.get("Connection", "").lower():
            headers["upgrade"] = "\n".join(handler.headers.get_all("Upgrade", []))
        path, _, query = handler.path.partition("?")
        return cls(handler.command, path, query, headers, body)

    @property
    def forwarded(self) -> dict[str, str]:
        """The fields for the backend."""
        return {**self.headers, "connection": "Upgrade"} if self.headers.get("upgrade") else self.headers

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


#: Sends a request; gives the answer.
Send = Callable[[str, str, Mapping[str, str], bytes], requests.Response]


@dataclass
class Model:
    """One proxy with its recipe.

    Attributes:
        recipe: The recipe, read.
        ask: Sends to velro-auth.
        forward: Sends to the backend.
    """

    recipe: Any
    ask: Send
    forward: Send

    def answer(self, asked: Asked) -> requests.Response:
        raise NotImplementedError


class Traefik(Model):
    """Traefik 3 with the file provider, forwardAuth and the headers middleware."""

    def answer(self, asked: Asked) -> requests.Response:
        # The entry point's, from the connection: forwardedHeaders trusts no client by default.
        asked.headers = {name: of for name, of in asked.headers.items() if not name.startswith("x-forwarded-")}
        asked.headers = without_aliases((RECIPES / "traefik.yml").read_text(), asked.headers)
        asked.headers["x-real-ip"] = "127.0.0.1"
        asked.headers |= traefik_upgrade(asked.headers)
        routers = self.recipe["http"]["routers"].values()
        matching = [router for router in routers if traefik_matches(router["rule"], asked)]
        router = max(matching, key=lambda found: found.get("priority", len(found["rule"])))
        for name in router["middlewares"]:
            ((kind, options),) = self.recipe["http"]["middlewares"][name].items()
            if kind == "headers":
                self._set(asked, options["customRequestHeaders"])
            elif (refusal := self._ask(asked, options)) is not None:
                return refusal
        return self.forward(asked.method, asked.target, asked.forwarded, asked.body)

    @staticmethod
    def _set(asked: Asked, custom: Mapping[str, str]) -> None:
        for name, value in custom.items():
            asked.headers.pop(name.lower(), None)
            asked.headers |= {name.lower(): value} if value else {}

    def _ask(self, asked: Asked, options: Mapping[str, Any]) -> requests.Response | None:
        assert options.keys() == {"address", "trustForwardHeader", "authRequestHeaders", "authResponseHeaders"}
        assert options["trustForwardHeader"] is False
        named = {name.lower() for name in options["authRequestHeaders"]}
        inner = {name: value for name, value in asked.headers.items() if name in named}
        inner |= {"x-forwarded-method": asked.method, "x-forwarded-uri": asked.target, "x-forwarded-for": "127.0.0.1"}
        address = urlsplit(options["address"])
        answer = self.ask("GET", f"{address.path}?{address.query}" if address.query else address.path, inner, b"")
        if not answer.ok:
            return answer
        for name in options["authResponseHeaders"]:
            asked.headers.pop(name.lower(), None)
            if name in answer.headers:
                asked.headers[name.lower()] = answer.headers[name]
        return None


def without_aliases(recipe: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* as Traefik's entry point leaves them with the option that *recipe* asks for in its head."""
    assert "entryPoints: {web: {http: {aliasHeadersStrategy: delete}}}" in recipe
    return {name: value for name, value in headers.items() if not re.search("[^a-z0-9-]", name)}


def traefik_upgrade(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the wish to upgrade as the entry point leaves it: the first of several fields."""
    return {"upgrade": headers["upgrade"].partition("\n")[0]} if "upgrade" in headers else {}


def traefik_matches(rule: str, asked: Asked, host: str = "") -> bool:
    """Return whether a router with *rule* takes the request of a client that names *host*."""

    def holds(term: re.Match[str]) -> str:
        values = re.findall(r"`([^`]*)`", term[2])
        # Traefik matches the path without escapes.
        path = unquote(asked.path)
        found: dict[str, Callable[[], object]] = {
            "Host": lambda: host == values[0],
            "Path": lambda: path == values[0],
            "PathPrefix": lambda: path.startswith(values[0]),
            "PathRegexp": lambda: re.search(values[0], path),
            "Method": lambda: asked.method == values[0],
            "HeaderRegexp": lambda: re.search(values[1], asked.headers.get(values[0].lower(), "")),
        }
        return str(bool(found[term[1]]()))

    text = re.sub(r"(\w+)\(((?:`[^`]*`(?:, )?)+)\)", holds, rule)
    text = text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    assert re.fullmatch(r"(?:True|False|and|or|not|[()\s])+", text), text
    return bool(eval(text.strip(), {"__builtins__": {}}))  # noqa: S307 (these words only)


@contextmanager
def _running(kind: type[Model], file: str, verify_port: int, backend_port: int, *, preflights: bool) -> Iterator[int]:
    text = (RECIPES / file).read_text()
    recipe = yaml.safe_load(with_option(text) if preflights else text)

    def to(port: int) -> Send:
        def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> requests.Response:
            # As the client wrote it: requests would tidy up the path, and add fields of its own.
            request = requests.Request(method, f"http://127.0.0.1:{port}/", data=body).prepare()
            request.url = f"http://127.0.0.1:{port}{target}"
            request.headers = requests.structures.CaseInsensitiveDict(headers)
            with requests.Session() as session:
                return session.send(request, timeout=10, allow_redirects=False)

        return send

    class Handler(BaseHTTPRequestHandler):
        """A client's request, handed to the model."""

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

        def _answer(self) -> None:
            answer = kind(recipe, to(verify_port), to(backend_port)).answer(Asked.by(self))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in {*HOP_BY_HOP, "content-length"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        # The names that http.server calls.
        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextmanager
def traefik(_: Path, verify_port: int, backend_port: int, *, preflights: bool = False) -> Iterator[int]:
    """Serve a model of Traefik with the recipe; give the port."""
    with _running(Traefik, "traefik.yml", verify_port, backend_port, preflights=preflights) as port:
        yield port
