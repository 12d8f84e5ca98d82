"""Traefik and Envoy as their documentation says they act on our recipes for pages: what they would send is sent.

Neither program can be had as a package of the system. Each model knows only what its recipe uses, and refuses the rest.
"""

from __future__ import annotations

import posixpath
import re
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
    envoy_upgrade,
    removed_on_match,
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


class Envoy:
    """Envoy's HTTP connection manager with one ext_authz filter over HTTP."""

    def __init__(self, recipe: Any, send: Send) -> None:
        listener = recipe["static_resources"]["listeners"][0]
        self._manager, self._send = listener["filter_chains"][0]["filters"][0]["typed_config"], send

    def answer(self, asked: Asked) -> tuple[int, Fields, bytes]:
        if re.search("%2f|%5c", asked.path, re.IGNORECASE):
            assert self._manager["path_with_escaped_slashes_action"] == "UNESCAPE_AND_REDIRECT"
            return 307, [("Location", re.sub("%2f|%5c", "/", asked.path, flags=re.IGNORECASE))], b""
        assert self._manager["normalize_path"]
        assert self._manager["merge_slashes"]
        path = re.sub("%2e", ".", asked.path, flags=re.IGNORECASE)
        asked.path = re.sub("/+", "/", posixpath.normpath(path) + "/" * path.endswith("/"))
        if envoy_upgrade(asked.headers, self._manager):
            return 403, [], b"upgrade_failed"
        assert self._manager["common_http_protocol_options"] == {"headers_with_underscores_action": "DROP_HEADER"}
        asked.headers = {name: value for name, value in asked.headers.items() if "_" not in name}
        (early,) = self._manager["early_header_mutation_extensions"]
        for mutation in early["typed_config"]["mutations"]:
            self._mutate(asked, mutation)
        asked.headers.setdefault("x-forwarded-proto", "http")
        config = self._manager["route_config"]
        route = next(route for route in config["virtual_hosts"][0]["routes"] if _envoy_matches(route["match"], asked))
        asking, router = self._manager["http_filters"]
        assert router["name"] == "envoy.filters.http.router"
        on_success: Fields = []
        if not route.get("typed_per_filter_config", {}).get(asking["name"], {}).get("disabled"):
            status, fields, body = self._ask(asked, asking["typed_config"])
            if status != 200:
                return status, fields, body
            on_success = fields
        if "direct_response" in route:
            return route["direct_response"]["status"], [], b""
        cluster = route["route"]["cluster"].replace("_", "-")
        status, fields, body = self._send(cluster, asked.method, asked.target, asked.forwarded, asked.body)
        added = {of["header"]["key"]: of["header"]["value"] for of in route.get("response_headers_to_add", ())}
        fields = _with({**dict.fromkeys(config["response_headers_to_remove"], ""), **added})(fields)
        return status, [*fields, *on_success], body

    @staticmethod
    def _mutate(asked: Asked, mutation: Mapping[str, Any]) -> None:
        if "remove_on_match" in mutation:
            asked.headers = removed_on_match(asked.headers, mutation["remove_on_match"])
            return
        if "remove" in mutation:
            asked.headers.pop(mutation["remove"], None)
            return
        header = mutation["append"]["header"]
        assert header["value"] == "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
        asked.headers[header["key"]] = "127.0.0.1"

    def _ask(self, asked: Asked, config: Mapping[str, Any]) -> tuple[int, Fields, bytes]:
        """Return the answer of velro-auth: of a refusal what the client gets, of a success what is added to it."""
        assert config["failure_mode_allow"] is False
        service = config["http_service"]
        allowed: dict[str, str] = {
            name: asked.headers[name] for name in ("host", "authorization") if name in asked.headers
        }
        allowed |= {name: value for name, value in asked.headers.items() if _is_named(config["allowed_headers"], name)}
        allowed |= {added["key"]: added["value"] for added in service["authorization_request"]["headers_to_add"] or ()}
        allowed["content-length"] = "0"
        target = service["path_prefix"] + asked.target
        status, fields, body = self._send("velro-auth", asked.method, target, allowed, b"")
        rules = service["authorization_response"]
        if status != 200:
            return status, [field for field in fields if _is_named(rules["allowed_client_headers"], field[0])], body
        asked.headers |= {name.lower(): of for name, of in fields if _is_named(rules["allowed_upstream_headers"], name)}
        return 200, [f for f in fields if _is_named(rules["allowed_client_headers_on_success"], f[0])], body


def _is_named(matcher: Mapping[str, Any], name: str) -> bool:
    patterns = [item for pattern in matcher["patterns"] for item in pattern.items()]
    assert {kind for kind, _ in patterns} <= {"exact", "prefix"}
    return any(name.lower() == text if kind == "exact" else name.lower().startswith(text) for kind, text in patterns)


def _envoy_matches(match: Mapping[str, Any], asked: Asked) -> bool:
    if "safe_regex" in match:
        return bool(re.fullmatch(match["safe_regex"]["regex"], asked.path))
    return asked.path.startswith(match["prefix"])


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


@contextmanager
def envoy(
    _: Path, verify_port: int, backend_port: int, *, recipe: Path | None = None, relay: bool = True
) -> Iterator[int]:
    """Serve a model of Envoy with the recipe; give the port."""
    assert recipe is None
    text = (PAGES / "envoy.yaml").read_text()
    if relay:
        option = '#- {key: x-velro-relay, value: "write-the-secret-here"}'
        assert option in text
        text = text.replace(option, f'- {{key: x-velro-relay, value: "{SECRET}"}}')
    ports = {"velro-auth": verify_port, "backend": backend_port}
    with _running(Envoy(yaml.safe_load(text), _to(ports)).answer) as port:
        yield port
