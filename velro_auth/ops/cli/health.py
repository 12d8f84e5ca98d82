"""``velro-auth health``: whether the service on this machine answers. Images have no curl for that."""

from __future__ import annotations

import http.client

import click

from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.serve import environment

#: Less than the 5 s after which the Dockerfile has the engine give up.
_LIMIT_S = 4.0
_LAST_PORT = 65535


@click.command(epilog="\b\nExamples:\n  velro-auth health\n  velro-auth health --ready --port 8100")
@click.option("--port", type=click.IntRange(1, _LAST_PORT), help="Default: PORT.")
@click.option("--ready", is_flag=True, help="Ask /health/ready, which also looks at what the service needs.")
def health(*, port: int | None, ready: bool) -> None:
    """Exit with 0 if the service on this machine answers /health with 200, else with 1."""
    port = port or Settings.from_environment(environment(inherited(), None, tell=False)).port
    path = "/health/ready" if ready else "/health"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"Port {port} does not answer ({type(error).__name__}).") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise click.ClickException(f"{path} on port {port} answered {status}.")
    click.echo(f"{path} on port {port} answered 200.")
