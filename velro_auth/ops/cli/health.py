"""``velro-auth health``: whether the service on this machine answers. Images have no curl for that."""

from __future__ import annotations

import http.client

import click

from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.click_helpers import json_option, print_json
from velro_auth.ops.cli.serve import environment

#: Less than the 5 s after which the Dockerfile has the engine give up.
_LIMIT_S = 4.0
_LAST_PORT = 65535


@click.command()
@click.option("--port", type=click.IntRange(1, _LAST_PORT), help="Default: PORT.")
@click.option("--ready", is_flag=True, help="Ask /health/ready, which also looks at what the service needs.")
@json_option
def health(*, port: int | None, ready: bool, as_json: bool) -> None:
    """Exit with 0 if the service on this machine answers /health with 200, else with 1."""
    port = port or Settings.from_environment(environment(inherited(), None, tell=False)).port
    path = "/health/ready" if ready else "/health"
    try:
        status = _ask(port, path)
    except (OSError, http.client.HTTPException) as error:
        if as_json:
            print_json({"port": port, "path": path, "status": None, "healthy": False})
        raise click.ClickException(
            f"Port {port} does not answer ({type(error).__name__}). Start the service, or name its port with --port."
        ) from error
    if as_json:
        print_json({"port": port, "path": path, "status": status, "healthy": status == http.client.OK})
    if status != http.client.OK:
        raise click.ClickException(f"{path} on port {port} answered {status}. velro-auth doctor says why.")
    if not as_json:
        click.echo(f"{path} on port {port} answered {status}.")


def _ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
