"""``/health/ready``: can this instance do its work? One entry per check, in ``application/health+json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from werkzeug.wrappers import Request

from velro_auth.endpoints.bodies import NO_STORE, json_bytes
from velro_auth.health_checks import Check, worst
from velro_auth.web.responses import RawResponse

#: What keeps an instance from work is 503, so that a balancer looks elsewhere; a warning is not.
_STATUS: Final = {"pass": "200 OK", "warn": "200 OK", "fail": "503 Service Unavailable"}
_HEADERS: Final = (("Content-Type", "application/health+json"), NO_STORE)


@dataclass(frozen=True)
class ReadyEndpoint:
    """Asks every check and answers with the worst.

    Attributes:
        checks: Stable identifier → check.
        version: This build.
    """

    checks: Mapping[str, Check]
    version: str

    name: ClassVar = "ready"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/health/ready", "/__heartbeat__")

    def __call__(self, _: Request) -> RawResponse:
        """Answer with every finding."""
        findings = {name: check() for name, check in self.checks.items()}
        status = worst(finding.status for finding in findings.values())
        body = {
            "status": status,
            "version": self.version,
            "checks": {
                name: [{"status": finding.status, "output": finding.output}] for name, finding in findings.items()
            },
        }
        return RawResponse(json_bytes(body), _HEADERS, _STATUS[status])
