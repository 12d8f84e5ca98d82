"""The page for people that ``/docs`` answers with: every operation of the OpenAPI document, with a form to try it.

It needs nothing from another server, and it is one file: its style and its script are in it, and the policy names both
by their hashes, so that nothing else can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any, Final

_STYLE: Final = resources.files(__package__).joinpath("docs.css").read_text("utf-8")
_SCRIPT: Final = resources.files(__package__).joinpath("docs.js").read_text("utf-8")

#: Values that make an example clearer than an empty text.
_EXAMPLES: Final[Mapping[str, Any]] = {"email": "ada@example.com", "type": "signup"}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: What a browser may do on the page: run this script, use this style, ask this service.
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(document: Mapping[str, Any], *, server: str = "") -> str:
    """Return the OpenAPI *document* as an HTML page.

    Args:
        document: The OpenAPI document, version 3.1.
        server: The address that the forms ask; the page's own by default.
    """
    title = f"{document['info']['title']} {document['info']['version']}"
    operations = list(_operations(document))
    links = "".join(
        f'<a href="#{escape(one["operationId"])}">{method.upper()} {escape(path)}</a>'
        for path, method, one in operations
    )
    schemas = document["components"]["schemas"]
    sections = "".join(_section(path, method, one, schemas) for path, method, one in operations)
    return (
        f'<!doctype html><html lang="en" data-server="{escape(server)}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f'<nav aria-label="Routes"><strong>{escape(title)}</strong>{links}</nav><main><h1>{escape(title)}</h1>'
        f"<p>{escape(document['info']['description'])} For programs: "
        f'<a href="{escape(server)}/openapi.json">openapi.json</a>.</p>'
        "<label>Access token, for the routes that need one. A login below fills it in; it is kept in this page only."
        '<input id="token" autocomplete="off" spellcheck="false"></label>'
        f"{sections}</main><script>{_SCRIPT}</script></html>"
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "head":
                yield path, method, operation


def _section(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    body = _resolved(body, schemas)
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{_marked(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f'<h2><code class="method">{method.upper()}</code> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation['summary'])}.{' Needs an access token.' if operation.get('security') else ''}</p>"
        f"{_fields(operation.get('parameters', ()), body)}"
        f"<h3>Answers</h3><table>{answers}</table>{_form(path, method, operation, body)}</section>"
    )


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _fields(parameters: Any, body: Mapping[str, Any]) -> str:
    """Return a table of what a request may have: parameters, then members of its body."""
    rows = [
        _row(one["name"], one["in"], one.get("schema", {}), one.get("description", ""), is_needed=one.get("required"))
        for one in parameters
    ]
    rows += [
        _row(name, "body", schema, schema.get("description", ""), is_needed=name in body.get("required", ()))
        for name, schema in body.get("properties", {}).items()
    ]
    return f"<h3>Request</h3><table>{''.join(rows)}</table>" if rows else ""


def _row(name: str, where: str, schema: Mapping[str, Any], description: str, *, is_needed: Any) -> str:
    kind = schema.get("type", "")
    kinds = " or ".join(kind) if isinstance(kind, list) else str(kind)
    values = ", ".join(map(str, schema.get("enum", ())))
    most = f"at most {schema['maxLength']} characters" if "maxLength" in schema else ""
    told = "; ".join(part for part in (where, kinds, "needed" if is_needed else "", values, most) if part)
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(told)}</td><td>{_marked(description)}</td></tr>"


def _form(path: str, method: str, operation: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    fields = "".join(
        f'<label>{escape(one["name"])}<input name="{one["in"]}:{escape(one["name"])}" autocomplete="off"'
        f"{' required' if one.get('required') else ''}></label>"
        for one in operation.get("parameters", ())
    )
    if body:
        example = json.dumps({name: _EXAMPLES.get(name, "") for name in body.get("required", ())}, indent=2)
        fields += (
            f'<label>Body<textarea name="body" rows="{example.count(chr(10)) + 2}" spellcheck="false">'
            f"{escape(example)}</textarea></label>"
        )
    asks = f'data-method="{method.upper()}" data-path="{escape(path)}"'
    needs_token = ' data-token="yes"' if operation.get("security") else ""
    return (
        f"<details><summary>Try it</summary><form {asks}{needs_token}>"
        f'{fields}<button>Send</button><output aria-live="polite"></output></form></details>'
    )


def _marked(text: str) -> str:
    """Return *text* as HTML; what stands between backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
