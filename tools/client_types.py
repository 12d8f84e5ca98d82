"""Writes the types of the TypeScript client from the gateway's own OpenAPI document and its table of errors.

Run ``make client-types`` after a change of a schema, a route or an error code; a test compares the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from velro_auth.config.settings import Settings
from velro_auth.endpoints.openapi import openapi
from velro_auth.web.problems import ANSWERS
from velro_auth.wiring import build

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "clients" / "typescript" / "src" / "generated.ts"

#: Routes of the account. The client calls no other.
PREFIX: Final = "/api/v1/auth/"
#: Below it, but not for a client: probes, what gateways ask, and what browsers visit.
LEFT_OUT: Final = frozenset({"authorize", "callback", "ping", "verify"})

_HEAD: Final = """\
// Made from the gateway's OpenAPI document by `make client-types`. Do not edit.
"""
_SCALARS: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_WIDTH: Final = 120


def types() -> str:
    """Return the text of the file."""
    document = openapi(build(Settings.from_environment({})).endpoints, version="")
    parts = [_HEAD, *_error_codes()]
    parts += [_interface(name, schema) for name, schema in document["components"]["schemas"].items()]
    parts += _operations(document["paths"])
    return "\n".join(parts)


def _error_codes() -> Iterator[str]:
    codes = sorted({answer.code for answer in ANSWERS.values()})
    yield "/** Every `code` that an error of the gateway can have. */"
    yield "export const ERROR_CODES = [\n" + "".join(f'  "{code}",\n' for code in codes) + "] as const;\n"
    yield "export type ErrorCode = (typeof ERROR_CODES)[number];\n"


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    return f"{_comment(schema, '')}export interface {name} {_type(schema, '')}\n"


def _type(schema: Mapping[str, Any], indent: str) -> str:
    """Return the TypeScript type of a schema; *indent* is that of the line it begins on."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "string")
    if isinstance(kinds, list):
        return " | ".join(_type({**schema, "type": kind}, indent) for kind in kinds)
    if kinds == "array":
        inner = _type(schema["items"], indent)
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if kinds == "object":
        return _object(schema, indent)
    return _SCALARS[kinds]


def _object(schema: Mapping[str, Any], indent: str) -> str:
    if "properties" not in schema:
        values = schema.get("additionalProperties")
        return f"Record<string, {_type(values, indent) if values else 'unknown'}>"
    required, inside, lines = schema.get("required", ()), indent + "  ", []
    for name, member in schema["properties"].items():
        mark = "" if name in required else "?"
        lines.append(f"{_comment(member, inside)}{inside}{name}{mark}: {_type(member, inside)};\n")
    return "{\n" + "".join(lines) + indent + "}"


def _comment(schema: Mapping[str, Any], indent: str) -> str:
    text = schema.get("description", "")
    if len(text) + len(indent) + 7 <= _WIDTH:
        return f"{indent}/** {text} */\n" if text else ""
    lines = re.findall(rf"(.{{1,{_WIDTH - len(indent) - 3}}})(?:\s+|$)", text)
    return f"{indent}/**\n" + "".join(f"{indent} * {line}\n" for line in lines) + f"{indent} */\n"


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table for the compiler (what goes in and comes out) and one for the program (method and path)."""
    rows = [
        (_camel(described["operationId"]), method.upper(), path, described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if path.startswith(PREFIX) and method != "head" and described["operationId"] not in LEFT_OUT
    ]
    yield "/** What each operation takes and answers. */\nexport interface Operations {"
    for name, _, _, described in rows:
        yield f"  /** {described['summary']}. */"
        yield f"  {name}: {{ body: {_body(described)}; answer: {_answer(described)} }};"
    yield "}\n\n/** Where each operation is; `{…}` is a placeholder. */\nexport const PATHS = {"
    for name, method, path, _ in rows:
        yield f'  {name}: ["{method}", "/{path.removeprefix(PREFIX)}"],'
    yield "} as const satisfies Record<keyof Operations, readonly [string, string]>;\n"


def _body(described: Mapping[str, Any]) -> str:
    if "requestBody" not in described:
        return "undefined"
    body = _type(described["requestBody"]["content"]["application/json"]["schema"], "")
    return body if described["requestBody"].get("required") else f"{body} | undefined"


def _answer(described: Mapping[str, Any]) -> str:
    found = [
        _type(answer["content"]["application/json"]["schema"], "") if "content" in answer else "undefined"
        for status, answer in described["responses"].items()
        if status.startswith("2")
    ]
    return " | ".join(found)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def main() -> None:
    """Write the file anew."""
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(types(), "utf-8")


if __name__ == "__main__":
    main()
