"""What gunicorn serves for ``velro-auth dev``: the service, with the index page and everything below ``/dev/``."""

from __future__ import annotations

import dataclasses
import functools

from velro_auth import __version__
from velro_auth.app import Service, create_app
from velro_auth.config.settings import Settings, inherited
from velro_auth.ops import assets
from velro_auth.ops.panel.endpoints import AssetEndpoint, FaultEndpoint, PageEndpoint, StateEndpoint
from velro_auth.ops.panel.faults import FaultSwitches
from velro_auth.ops.panel.project import PanelProject
from velro_auth.ops.panel.readings import readings
from velro_auth.wiring import Parts


def from_environment() -> Service:
    """Build the application that the environment asks for: gunicorn calls this.

    Raises:
        KeyError: ``velro-auth dev`` did not start this process.
    """
    project = PanelProject.from_variables(inherited())
    return create_app(Settings.from_environment(), extend=functools.partial(with_panel, project=project))


def with_panel(settings: Settings, parts: Parts, *, project: PanelProject) -> Parts:
    """Return *parts* with the index page and what it calls."""
    [index] = (endpoint for endpoint in parts.operations if "/" in endpoint.paths)
    faults = FaultSwitches(project.supabase_url, project.control_token)
    page = functools.partial(
        assets.render,
        "panel.html",
        project=project,
        version=__version__,
        has_pages=any("/login" in endpoint.paths for endpoint in parts.endpoints),
        shows_docs=settings.shows_docs,
        address_header=settings.auth_client_ip_header,
    )
    state = StateEndpoint(functools.partial(readings, parts.state.telemetry), faults)
    added = (PageEndpoint(page, index), AssetEndpoint(), state, FaultEndpoint(faults))
    kept = (endpoint for endpoint in parts.operations if endpoint is not index)
    # The page asks for the state each second: as with probes, only some of those responses are logged.
    return dataclasses.replace(parts, operations=(*kept, *added), probes=(*parts.probes, state))
