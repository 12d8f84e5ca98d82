"""What traces cost: ``python -m benchmarks.tracing``.

Processor time on a request's own thread, which is what the request waits for; encoding and sending happen on
another. The best of several rounds, in turns, so that other work on the machine does not count.
"""

from __future__ import annotations

import logging.config
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from werkzeug.test import EnvironBuilder, run_wsgi_app

from benchmarks.servers import Cores, Fleet
from benchmarks.wire import LOGIN_PATH
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.telemetry.logs import configuration

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_SETTINGS: Final = {"SUPABASE_SECRET_KEY": "sb_secret_0123456789", "AUTH_UPSTREAM_QUOTA": "off"}
#: Nobody listens there: spans wait in the queue, and beyond its bound the oldest make room.
_TRACED: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
_REQUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "login": {
        "path": LOGIN_PATH,
        "method": "POST",
        "json": {"email": "ada@example.com", "password": "correct horse battery staple"},
    },
    "ping": {"path": "/api/v1/auth/ping"},
}


def took_us(app: WSGIApplication, request: Mapping[str, Any], count: int) -> float:
    """Return the microseconds of one request, over *count* of them."""
    environs = [EnvironBuilder(**request).get_environ() for _ in range(count)]
    started_s = time.thread_time()
    for environ in environs:
        _, status, _ = run_wsgi_app(app, environ)
        assert status.startswith("200"), status
    return (time.thread_time() - started_s) / count * 1e6


def best(
    apps: Mapping[str, WSGIApplication], request: Mapping[str, Any], rounds: int, count: int
) -> Mapping[str, float]:
    """Return the best round of each of *apps*, which take turns."""
    found: Sequence[Mapping[str, float]] = [
        {name: took_us(app, request, count) for name, app in apps.items()} for _ in range(rounds)
    ]
    return {name: min(times[name] for times in found) for name in apps}


@click.command()
@click.option("--rounds", default=300, show_default=True)
@click.option("--count", default=20, show_default=True, help="Requests a round: few, so that some are undisturbed.")
def main(rounds: int, count: int) -> None:
    """Measure a login and a ping with traces and without, and print it."""
    logging.config.dictConfig(configuration("error"))
    with (
        tempfile.TemporaryFile() as log,
        Fleet(first_port=18_200, cores=Cores.divided(), log=log).upstream(delay_ms=0) as upstream,
    ):
        base = {**_SETTINGS, "SUPABASE_URL": upstream.url}
        apps = {
            "off": create_app(Settings.from_environment(base)),
            "on": create_app(Settings.from_environment({**base, **_TRACED})),
        }
        for app in apps.values():
            app.start()
        for name, request in _REQUESTS.items():
            times = best(apps, request, rounds, count)
            click.echo(f"{name}: {times['off']:.1f} µs without traces, {times['on'] - times['off']:+.1f} µs with them")
        for app in apps.values():
            app.stop()


if __name__ == "__main__":
    main()
