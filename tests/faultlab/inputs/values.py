"""Generated inputs for what is configured and compared: settings, rules, addresses, origins, redirects."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import random
import re
import warnings
from typing import Final

from tests.faultlab import bodies, raw
from tests.faultlab.inputs.part import Part, Wrong, hurt
from tests.faultlab.inputs.proofs import Given
from tests.fixtures.hostile import ALLOWED, APP, GOOD, HOSTILE
from velro_auth import app
from velro_auth.auth.access_rules import AccessRules
from velro_auth.config import fields, rules_file, settings
from velro_auth.errors import BadParameter
from velro_auth.web import forwarded, redirects
from velro_auth.web.client_address import Addresses
from velro_auth.web.cors import Cors

ENVIRONMENT: Final = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_canary0123456789",
    "SUPABASE_SECRET_KEY": "sb_secret_canary01234567890123",
}
_RULES: Final = (
    '[[rules]]\npath = ["/admin/**", "/x*"]\nhost = "*.example.com"\nmethods = ["GET"]\nallow = "signed-in"\n'
)
#: Pieces of regular expressions, of addresses of a store, and whole values; with white space between them.
_OF_PATTERNS: Final = r"""
https:// [a-z]+ \. (a|b) {2} {1,} {99999999999} * + ? ( ) (?x) # | (?i) [^] [] \ (?P<a> (?P=a) (?: (?= (?<= (?#x)
(?(1)a|b) \d a-z ^ $ .
"""
_OF_STORES: Final = """
redis rediss unix valkey +sentinel +cluster :// a:6379 u:p@ [::1] : @ / 0 ?db=1 & ssl_cert_reqs=none # , %00 % :99999
ssl_ca_certs=/dev/null \u00e9 b host
"""
_VALUES: Final = """
1 0 -1 nan inf 1e999 \u0663 true on auto local / /login x.svg [1] [null] {} * Forwarded #12345g 10.0.0.0/8 1, - ~ ..
::/129 fe80::1%eth0 https://github github,GITHUB sb_secret_canary-0123456789 eyJhbGciOiJ9.e30.x https://a@b https://[::1
https://\u00ad https://xn--\uff0e.example https://*.example.com http://localhost:* ["https://a.example"] Forwarded-For
"""
_PATTERN_PIECES: Final = [*_OF_PATTERNS.split(), "x" * 200, "\u0660", "(" * 500, "\n"]
_STORE_PIECES: Final = _OF_STORES.split()
_BY_HAND: Final = ("", " ", "\0.svg", "\udcff", "\udcff" * 40, "9" * 5000, "a" * 3000, "[" * 60_000, f"[{'9' * 5000}]")
_WORDS: Final = [*_VALUES.split(), *_BY_HAND, *ENVIRONMENT.values()]


def _text(chance: random.Random, variable: str = "") -> str:
    """Return what somebody might write into a setting."""
    luck = chance.random()
    if variable == "CORS_ORIGIN_REGEX" and luck < 0.9:
        return "".join(chance.choices(_PATTERN_PIECES, k=chance.randint(1, 7)))
    if variable == "REDIS_URL" and luck < 0.9:
        return "".join(chance.choices(_STORE_PIECES, k=chance.randint(2, 8)))
    if luck < 0.5:
        return chance.choice(_WORDS if chance.random() < 0.95 else raw.INJECTIONS)
    if luck < 0.8:
        return hurt(chance, chance.choice((*HOSTILE, *GOOD))[:300], "*:/.[]@\u00e9,")
    return json.dumps(bodies.value(chance), ensure_ascii=False)


class SettingsPart(Part):
    """Single settings, whole environments, and files of rules: an error says what to write, and nothing raises."""

    name = "settings"
    share = 50
    parsers = ((fields.Environment, "read"), (rules_file, "parsed"))
    wanted = frozenset({"setting read", "setting refused", "rules read", "rules refused", "environment", "service"})

    def make(self, chance: random.Random) -> Given:
        """Return the text of a file of rules, or variables."""
        luck = chance.random()
        if luck < 0.3:
            text, is_good = _RULES * chance.randint(1, 3), luck < 0.01
            for _ in range(0 if is_good else chance.randint(1, 3)):
                if chance.random() < 0.5:
                    value = chance.choice(
                        (_text(chance)[:5000], json.dumps(bodies.value(chance)), "[" * 3000, "9" * 5000)
                    )
                    text += f"{chance.choice(('path', 'role', 'aal', 'allow', 'host', 'x'))} = {value}\n"
                text = hurt(chance, text, "[]\"'\n=,.{}*/0\0") if chance.random() < 0.7 else text
            return Given(text, is_good=is_good, kind="rules")
        specs = settings.specs()
        if luck < 0.96:
            own = (
                ("CORS_ORIGIN_REGEX", "REDIS_URL")
                if luck < 0.55
                else tuple(spec.metadata["variable"] for spec in specs)
            )
            variable = chance.choice(own)
            return Given({variable: _text(chance, variable)}, is_good=False, kind="setting")
        is_good = luck < 0.965
        names = [spec.metadata["variable"] for spec in chance.sample(specs, chance.randint(1, 4))]
        changed = {name: _text(chance, name) for name in names}
        return Given(
            {**ENVIRONMENT, **({} if is_good else changed)},
            is_good=is_good,
            kind=chance.choice(("environment",) * 4 + ("service",)),
        )

    def judge(self, given: Given) -> str:
        """Have it read."""
        with warnings.catch_warnings():
            # Python warns of some patterns. They mean what they say.
            warnings.simplefilter("ignore", FutureWarning)
            return self._read(given)

    def _read(self, given: Given) -> str:
        if given.kind == "rules":
            read = rules_file.parsed(given.text, "rules.toml")
            if (read.rules is None) != bool(read.errors) or (given.is_good and read.errors):
                raise Wrong("rules beside errors, or good ones refused")
            for target in () if read.rules is None else ("/admin/x", "/%2e", "//"):
                read.rules.decide("GET", "a.example.com", target)  # type: ignore[union-attr] # the line above
            return "rules refused" if read.errors else "rules read"
        if given.kind == "setting":
            return self._one(given.text)
        found = settings.Settings.from_environment(given.text)
        if given.is_good and found.errors:
            raise Wrong("a good environment is refused")
        if given.kind == "service":
            # It starts whatever its settings say, and tells what is wrong with them.
            app.create_app(found).stop()
            # Else what it leaves is collected while a later input has used up the stack.
            gc.collect()
        return given.kind

    @staticmethod
    def _one(variables: dict[str, str]) -> str:
        ((name, text),) = variables.items()
        spec = next(spec for spec in settings.specs() if spec.metadata["variable"] == name)
        environment = fields.Environment(variables)
        value, errors = environment.read(spec, settings._types()[spec.name]), environment.errors()
        if spec.metadata["secret"] and len(text) > 24 and any(text in str(error) for error in errors):
            raise Wrong("an error quotes a secret")
        if errors and value != spec.default:
            raise Wrong("a refused value is used")
        if not errors and spec.metadata["check"] and value != spec.default:
            spec.metadata["check"](value)
        return "setting refused" if errors else "setting read"


class AddressesPart(Part):
    """Addresses of clients, and requests that gateways describe: only clear words of trusted peers count."""

    name = "client addresses"
    share = 35
    parsers = ((Addresses, "of"), (forwarded, "forwarded_request"), (AccessRules, "decide"))
    wanted = frozenset({"claimed", "peer", "described", "refused"})

    def __init__(self) -> None:
        trusted = [ipaddress.ip_network("10.0.0.0/8")]
        self._by_header = Addresses(trusted)
        self._by_list = Addresses(trusted, header="X-Forwarded-For", hops=2)
        self._rules = rules_file.parsed(_RULES, "rules.toml").rules

    def make(self, chance: random.Random) -> Given:
        """Return the part of a WSGI environment that is read."""
        environ = {"REMOTE_ADDR": chance.choice(("10.0.0.1", "10.0.0.1", "::ffff:10.0.0.2", "203.0.113.7", "", "unix"))}
        if chance.random() < 0.35:
            for name in ("HTTP_X_REAL_IP", "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"):
                texts = [raw.address(chance) for _ in range(chance.choice((0, 1, 1, 2, 4)))]
                if texts:
                    text = chance.choice((", ", ",")).join(texts)
                    environ[name] = hurt(chance, text, ":.,[]% \t\xa0\xb9") if chance.random() < 0.3 else text
            return Given(environ, is_good=False, kind="address")
        # As nginx tells it, as Caddy and Traefik do, as Envoy does; or a mixture.
        url = chance.choice(HOSTILE if chance.random() < 0.4 else GOOD).encode("utf-8", "replace").decode("latin-1")
        path = "/api/v1/auth/verify" + chance.choice(("", "", "", "/a", "/", "//x", "/%2e%2e"))
        environ |= {"PATH_INFO": path, "RAW_URI": path, "REQUEST_METHOD": chance.choice(("GET", "GET", "POST", "\xff"))}
        given = {"X_ORIGINAL_URL": url, "X_ORIGINAL_METHOD": "GET", "X_FORWARDED_PROTO": "https", "HOST": "own"}
        given |= {"X_FORWARDED_METHOD": chance.choice(("GET", "GET", "get", "PUT"))}
        given |= {"X_FORWARDED_URI": "/" + url.partition("://")[2].partition("/")[2]}
        given |= {"X_FORWARDED_HOST": chance.choice(("app.example.com",) * 4 + ("a,b", "a@b", "evil.example/"))}
        kind = chance.choice(("ORIGINAL", "FORWARDED", ""))
        environ |= {f"HTTP_{name}": text for name, text in given.items() if kind in name or chance.random() < 0.06}
        return Given(environ, is_good=False, kind="described")

    def judge(self, given: Given) -> str:
        """Find the address, or the request that is asked about."""
        environ = given.text
        if given.kind == "address":
            peer = environ["REMOTE_ADDR"]
            found = {self._by_header.of(environ), self._by_list.of(environ)}
            own = {"203.0.113.7": "203.0.113.7", "10.0.0.1": "10.0.0.1", "::ffff:10.0.0.2": "10.0.0.2"}.get(peer, "")
            if not own.startswith("10.") and found != {own}:
                raise Wrong("the word of a peer that is not trusted counts")
            for text in found - {""}:
                if str(ipaddress.ip_address(text)) != text:
                    raise Wrong("an address is not in its usual spelling")
            return "peer" if found == {own} else "claimed"
        try:
            request = forwarded.forwarded_request(environ, ["/api/v1/auth/verify"])
        except BadParameter:
            return "refused"
        named = {environ.get(f"HTTP_{name}") for name in ("X_ORIGINAL_METHOD", "X_FORWARDED_METHOD")} - {None}
        parts = (request.scheme in {"http", "https"}, request.target.startswith("/"), len(named) <= 1)
        if not all(parts) or re.search(r"[/?#\\@\s,]", request.authority, re.ASCII):
            raise Wrong("an unclear description of a request is taken")
        assert self._rules is not None
        self._rules.decide(request.method, request.authority, request.target)
        return "described"


_ALLOWED: Final = re.compile(
    r"https://app\.example\.com(:443)?([/?].*)?|https://www\.example\.com/auth([/?].*)?", re.DOTALL
)
_CLEAN: Final = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+", re.ASCII)
_ORIGIN: Final = re.compile(r"https://app\.example\.com|https://[a-z0-9-]{1,63}\.preview\.example\.com")


class RedirectsPart(Part):
    """Addresses that a flow may lead to, and origins: nothing beyond the list, read by a rule of its own."""

    name = "redirects and origins"
    share = 35
    parsers = ((redirects, "is_allowed"), (Cors, "headers"))
    wanted = frozenset({"redirect allowed", "redirect refused", "origin allowed", "origin refused"})

    def __init__(self) -> None:
        self._allowed = [redirects.allowed_redirect(entry) for entry in ALLOWED.split(",")]
        self._cors = Cors([APP, "https://*.preview.example.com"])
        self._origins = [*raw.origins(APP), *raw.origins("https://x.preview.example.com")]

    def make(self, chance: random.Random) -> Given:
        """Return an address or an origin, as it is or damaged."""
        alphabet = "/\\.:@?#%&;*\t\r\n \0\u3002\uff0e\u00adae0[]-"
        if chance.random() < 0.3:
            origin = chance.choice((*[APP] * 5, "https://x.preview.example.com", *self._origins))
            return Given(
                origin if chance.random() < 0.4 else hurt(chance, origin, alphabet), is_good=False, kind="origin"
            )
        if (luck := chance.random()) < 0.05:
            return Given(chance.choice(GOOD), is_good=True, kind="redirect")
        if luck < 0.2:
            return Given(chance.choice(HOSTILE), is_good=False, kind="hostile")
        return Given(hurt(chance, chance.choice((*GOOD, *HOSTILE)), alphabet), is_good=False, kind="redirect")

    def judge(self, given: Given) -> str:
        """Compare the verdict with what a strict rule allows."""
        if given.kind == "origin":
            is_allowed = any(name == "Access-Control-Allow-Origin" for name, _ in self._cors.headers(given.text))
            if is_allowed != bool(_ORIGIN.fullmatch(given.text)):
                raise Wrong("another origin is allowed, or an own one refused")
            return f"origin {'allowed' if is_allowed else 'refused'}"
        is_allowed = redirects.is_allowed(given.text, self._allowed)
        with contextlib.suppress(ValueError):
            redirects.allowed_redirect(given.text)
        scheme, _, rest = given.text.partition("://")
        host, slash, path = rest.partition("/")
        text = f"{scheme.lower()}://{host.lower()}{slash}{path}"
        may_be = (
            _CLEAN.fullmatch(text)
            and _ALLOWED.fullmatch(text)
            and not {"..", "."} & {*path.partition("?")[0].split("/")}
        )
        if (is_allowed and (not may_be or given.kind == "hostile")) or (given.is_good and not is_allowed):
            raise Wrong("an address beyond the list is allowed" if is_allowed else "a good address is refused")
        return f"redirect {'allowed' if is_allowed else 'refused'}"
