"""Routes that the tests compile once are what Werkzeug compiles."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import unquote

from werkzeug.routing import Map, Rule

from tests.fixtures.programs import ROOT, clean_environment
from tests.fixtures.routes import compile_routes_once

TEXTS = ("/", "/a/b", "/a/<b>", "/a/<int:b>/c", "/a/b/", "/é/b", "/a//b")


def made(text: str, *, merge_slashes: bool, **defaults: Any) -> list[Any]:
    """Return all that a map has of a route of this text, and what it finds and builds."""
    rule = Rule(text, endpoint="e", defaults=defaults or None, methods=["GET"])
    paths = Map([rule], merge_slashes=merge_slashes).bind("localhost")
    values: dict[str, Any] = {**defaults, **({"b": 1} if "<" in text else {})}
    address = paths.build("e", values)
    more = paths.build("e", {**values, "y": 2})
    kinds = {name: type(one) for name, one in rule._converters.items()}
    return [rule._parts, rule._trace, kinds, rule.arguments, address, more, paths.match(unquote(address), "GET")]


def all_made() -> str:
    return repr(
        [
            *(made(text, merge_slashes=merge) for text in TEXTS for merge in (True, False)),
            made("/a/b", merge_slashes=True, x=1),
            made("/a/b", merge_slashes=True, x=2),
        ]
    )


def test_a_route_is_the_same_the_first_time_the_second_time_and_without_it() -> None:
    compile_routes_once()
    first, second = all_made(), all_made()

    code = "from tests.unit.test_routes_once import all_made; print(all_made())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )

    assert first == second == done.stdout.strip()
