"""``/__version``: which build this is. Needs no Railway variable; what is unknown is null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from werkzeug.wrappers import Request

from velro_auth.endpoints.bodies import json_answer
from velro_auth.web.responses import RawResponse


@dataclass(frozen=True)
class VersionEndpoint:
    """Answers with what was known at start."""

    build: Mapping[str, Any]

    name: ClassVar = "version"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/__version", "/__version__")

    def __call__(self, _: Request) -> RawResponse:
        """Answer with the build."""
        return json_answer(self.build)
