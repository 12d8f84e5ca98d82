"""The faults that the index page switches in the local Supabase, over the stand-in's own route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from velro_auth.errors import UpstreamUnavailable

#: How long the local Supabase may take to answer, in seconds: it is on this machine.
_LIMIT_S: Final = 2

#: Name on the page → what the stand-in is asked for (``docs/reference/stand-in.md``). Each meets every request to
#: Supabase; the delay is longer than any login and shorter than the deadline of one.
FAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "down": {"kind": "reset"},
    "slow": {"kind": "latency", "seconds": 2.5},
    "failing": {"kind": "failure", "status": 500},
}
_NAMES: Final = {options["kind"]: name for name, options in FAULTS.items()}


@dataclass(frozen=True)
class FaultSwitches:
    """Switches one fault at a time."""

    url: str
    token: str = field(repr=False)

    def current(self) -> Mapping[str, Any] | None:
        """Return the fault that is on and how many requests it met; None when none is on.

        Raises:
            UpstreamUnavailable: The local Supabase does not answer.
        """
        switches = self._call("GET").json()
        if not switches:
            return None
        kind = switches[0]["kind"]
        return {"name": _NAMES.get(kind, kind), "met": sum(switch["fired"] for switch in switches)}

    def switch(self, name: str | None) -> None:
        """Switch the fault of that name on, and any other off; None switches all off.

        Raises:
            UpstreamUnavailable: The local Supabase does not answer.
        """
        self._call("DELETE")
        if name is not None:
            self._call("POST", FAULTS[name])

    def _call(self, method: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        try:
            with requests.Session() as session:
                # A proxy of the environment cannot reach this machine's loopback address.
                session.trust_env = False
                response = session.request(
                    method,
                    f"{self.url}/_standin/faults",
                    json=body,
                    headers={"Authorization": f"Bearer {self.token}"},
                    timeout=_LIMIT_S,
                )
            response.raise_for_status()
        except requests.RequestException as error:
            raise UpstreamUnavailable(f"the switches of the local Supabase: {type(error).__name__}") from error
        return response
