"""Declares settings and reads them from an environment; a wrong value never raises."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import environs
import marshmallow

from velro_auth.auth.api_keys import opens_administration
from velro_auth.config.validation import SettingError
from velro_auth.stores.address import parse_address
from velro_auth.web.cors import header_name
from velro_auth.web.origins import check_pattern, normal_origin
from velro_auth.web.redirects import allowed_redirect, is_address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Spec: TypeAlias = dataclasses.Field[Any]
T = TypeVar("T")

#: 256 bits in hexadecimal have 64 characters, in base64 44.
_SHORTEST_SEALING_KEY: Final = 32
_VISIBLE: Final = re.compile(r"[!-~]*")
_SHORTEST_CLIENT_KEY: Final = 20
#: Supabase's names: ``github``, ``linkedin_oidc``, ``custom:acme``.
_PROVIDER: Final = re.compile(r"[a-z][a-z0-9_:-]{0,63}", re.ASCII)
_LONGEST_BRAND_NAME: Final = 60
#: It becomes a source in a Content-Security-Policy, which has no quotes, spaces, commas or semicolons.
_LOGO_ADDRESS: Final = re.compile(r"https://[a-zA-Z0-9.-]+(:[0-9]{1,5})?/[A-Za-z0-9._~/%@+=?&-]*", re.ASCII)
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
#: Ending of a file → its media type.
LOGO_TYPES: Final[Mapping[str, str]] = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
#: What marshmallow and environs say, which is no advice → what to do.
_ADVICE: Final[Mapping[str, str]] = {
    "Not a valid integer.": "is no whole number: write digits only, such as 8000",
    "Not a valid number.": "is no number: write it like 0.5",
    "Special numeric values (nan or infinity) are not permitted.": "is no number: write it like 0.5",
    "Not a valid boolean.": "is neither true nor false: write one of the two",
    "Not valid JSON.": 'is no list in JSON: write ["a", "b"], or a,b',
}
#: A page is to have less than 60 KiB in all but the logo.
MAX_LOGO_BYTES: Final = 64 * 1024


def setting(
    variable: str,
    default: Any,
    doc: str,
    *,
    aliases: Sequence[str] = (),
    secret: bool = False,
    at_run_time: bool = False,
    check: Callable[[Any], Any] | None = None,
    convert: Callable[[str], Any] = str.strip,
) -> Any:
    """Declare a field of the settings.

    Args:
        variable: The variable it is read from.
        default: Its value if the variable is missing or empty.
        doc: One sentence for the reference page.
        aliases: Older names of the variable.
        secret: Whether the value must not be shown.
        at_run_time: Whether a reload may change it: only for a setting that no part of ``ApplicationState`` reads.
        check: Raises a ValidationError for a value that is wrong.
        convert: For lists: converts each entry; may raise a ValidationError too.
    """
    metadata = {"variable": variable, "doc": doc, "aliases": tuple(aliases), "secret": secret, "check": check}
    metadata |= {"at_run_time": at_run_time, "convert": convert}
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


def read_by(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return *read* with a ValidationError in place of its ValueError, so that all errors are reported together."""

    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise marshmallow.ValidationError(str(error)) from None

    return checked


def between(low: float, high: float) -> Callable[[Any], Any]:
    """Return a check for numbers."""
    return marshmallow.validate.Range(low, high, error="must be between {min} and {max}")


def one_of(*choices: str) -> Callable[[Any], Any]:
    """Return a check for one of some words."""
    return marshmallow.validate.OneOf(choices, error="must be one of {choices}")


def _pages_folder(value: str) -> None:
    from velro_auth.endpoints.pages.folder import check_folder  # noqa: PLC0415 - loads Jinja, which few need here

    check_folder(Path(value))


#: A regular expression for origins.
a_pattern: Final = read_by(check_pattern)
#: The address of the shared store.
a_redis_address: Final = read_by(parse_address)
#: An origin, in the form that browsers send.
an_origin: Final = read_by(normal_origin)
#: An address that ``redirect_to`` may name.
a_redirect: Final = read_by(lambda text: str(allowed_redirect(text)))
#: The folder with an operator's own files of the pages.
a_pages_folder: Final = read_by(_pages_folder)
#: The name of a header that pages may send.
a_request_header: Final = read_by(header_name)
#: An address or a network in CIDR notation.
a_network: Final[Callable[[str], Network]] = read_by(lambda text: ipaddress.ip_network(text.strip(), strict=False))


def a_header_with_an_address(value: str) -> None:
    """Check the name of a header that holds an address."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise marshmallow.ValidationError("is not the name of a header: letters, digits and '-' only")
    if value.lower() == "forwarded":
        raise marshmallow.ValidationError("Forwarded (RFC 7239) is not read: have the proxy send X-Forwarded-For too")


def a_public_url(value: str) -> None:
    """Check the address at which browsers reach this service."""
    origin = an_origin(value)
    if "*" in origin or not origin.startswith(("https://", "http://")):
        raise marshmallow.ValidationError("must be one address, such as https://auth.example.com")


def a_login_url(value: str) -> None:
    """Check the page of the login: an address, or a path on the host that was asked for."""
    address = f"https://host.example{value}" if value.startswith("/") else value
    if not is_address(address):
        raise marshmallow.ValidationError("must be a page, such as https://app.example.com/login, or a path: /login")


def a_sealing_key(text: str) -> str:
    """Check a key that seals cookies."""
    key = text.strip()
    if len(key) < _SHORTEST_SEALING_KEY:
        raise marshmallow.ValidationError(
            f"has a key of {len(key)} characters: write at least {_SHORTEST_SEALING_KEY} (`openssl rand -hex 32`)"
        )
    return key


def a_relay_secret(value: str) -> None:
    """Check the secret that a gateway sends in a header."""
    if len(value) < _SHORTEST_SEALING_KEY or not _VISIBLE.fullmatch(value):
        raise marshmallow.ValidationError(
            f"must be at least {_SHORTEST_SEALING_KEY} visible characters of ASCII (`openssl rand -hex 32`)"
        )


def a_provider(text: str) -> str:
    """Check the name of a provider."""
    name = text.strip()
    if not _PROVIDER.fullmatch(name):
        raise marshmallow.ValidationError(f"{name!r} is not the name of a provider: write github, linkedin_oidc, …")
    return name


def a_brand_name(value: str) -> None:
    """Check the name of a product."""
    if len(value) > _LONGEST_BRAND_NAME or not value.isprintable():
        raise marshmallow.ValidationError(f"must have at most {_LONGEST_BRAND_NAME} visible characters")


def a_logo(value: str) -> None:
    """Check the address or the file of a logo."""
    if value.startswith("https://"):
        if not _LOGO_ADDRESS.fullmatch(value):
            raise marshmallow.ValidationError("is not an address: write https://cdn.example.com/logo.svg")
        return
    if Path(value).suffix.lower() not in LOGO_TYPES:
        raise marshmallow.ValidationError("must be an https address, or a file that ends in " + ", ".join(LOGO_TYPES))
    try:
        size = Path(value).stat().st_size
    except OSError as error:
        raise marshmallow.ValidationError(f"{value} cannot be read: {error.strerror}") from error
    except ValueError:
        raise marshmallow.ValidationError("is no path of a file") from None
    if size > MAX_LOGO_BYTES:
        raise marshmallow.ValidationError(f"has {size} bytes: at most {MAX_LOGO_BYTES} are shown")


def a_color(value: str) -> None:
    """Check a colour."""
    if not _COLOR.fullmatch(value):
        raise marshmallow.ValidationError("must be a colour such as #2f5fd0: six hexadecimal digits after #")


def a_client_key(text: str) -> str:
    """Check a publishable key that clients may send."""
    key = text.strip()
    if len(key) < _SHORTEST_CLIENT_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise marshmallow.ValidationError("has something that is no key: copy it again")
    if opens_administration(key):
        raise marshmallow.ValidationError("has a secret key: list publishable keys only")
    return key


class Environment(environs.Env):
    """Reads a mapping and collects all errors instead of raising the first."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._variables = variables

    def read(self, spec: Spec, kind: Any) -> Any:
        """Return the value of a field of type *kind*; its default where the value is missing or wrong."""
        name = self.name_of(spec) or spec.metadata["variable"]
        if not _is_utf8(self._get_value(name, "")):
            self._errors[name].append("has bytes that are no UTF-8: write it again")
            return spec.default
        method = _METHODS.get(kind)
        value = self._read_list(name, spec) if method is None else self._read_one(method, name, spec)
        return spec.default if value is None else value

    def name_of(self, spec: Spec) -> str | None:
        """Return the variable that sets a field; None if none does."""
        names = (spec.metadata["variable"], *spec.metadata["aliases"])
        return next((name for name in names if self._get_value(name, "")), None)

    def errors(self) -> list[SettingError]:
        """Return the errors found so far."""
        return [
            SettingError(variable, "; ".join(_ADVICE.get(message, message) for message in messages))
            for variable, messages in self._errors.items()
        ]

    def _get_value(self, env_key: str, default: Any) -> Any:
        # An empty variable was cleared in a dashboard: it counts as missing.
        return self._variables.get(env_key, "").strip() or default

    def _read_one(self, method: str, name: str, spec: Spec) -> Any:
        return getattr(self, method)(name, spec.default, validate=spec.metadata["check"])

    def _read_list(self, name: str, spec: Spec) -> tuple[Any, ...] | None:
        """Read a list, comma separated or in JSON."""
        text = self._get_value(name, "")
        entries = self._read_json(name) if text.startswith("[") else text.split(",")
        if not text or entries is None:
            return None
        values, wrong = [], []
        for entry in map(str, entries):
            # Empty entries are ignored, as after a comma at the end.
            if entry.strip():
                try:
                    values.append(spec.metadata["convert"](entry))
                except marshmallow.ValidationError as error:
                    wrong.append(str(error.args[0]))
        if wrong:
            self._errors[name] += wrong
        return None if wrong else tuple(values)

    def _read_json(self, name: str) -> Any:
        """Return the JSON in a variable; None, with an error, where there is none."""
        try:
            return self.json(name, [])
        except (ValueError, RecursionError):
            # Nested too deep, or a number with thousands of digits.
            self._errors[name].append("Not valid JSON.")
            return None


def _is_utf8(text: str) -> bool:
    """Return whether a variable was UTF-8. Python keeps other bytes as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_METHODS: Final[Mapping[Any, str]] = {str: "str", int: "int", float: "float", bool: "bool"}
