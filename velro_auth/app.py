"""The WSGI application: Flask with its blueprints, wrapped in the fast lane and the middleware."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.wrappers import Response

from velro_auth.blueprints import AnyPath, blueprint
from velro_auth.blueprints.auth import auth
from velro_auth.config.reload import OnFollowed, Outcome, Reloads
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.operation import Operation
from velro_auth.endpoints.sessions import LoginEndpoint
from velro_auth.endpoints.supabase_api.refusals import refuse
from velro_auth.endpoints.supabase_api.routes import PREFIX
from velro_auth.errors import MethodNotAllowed, NotFound, RequestError
from velro_auth.fastlane import FastLane, FastRequest
from velro_auth.telemetry.logs import set_level
from velro_auth.web import problems
from velro_auth.web.cors import Cors
from velro_auth.web.middleware import Middleware, is_below
from velro_auth.wiring import Parts, build
from velro_auth.wiring.state import Threads

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("velro_auth")

#: Returns the parts to serve, made from the usual ones; called at the start and at each settings reload.
Extend: TypeAlias = Callable[[Settings, Parts], Parts]


def _unchanged(_: Settings, parts: Parts) -> Parts:
    return parts


class Service:
    """The WSGI application, with the threads that start and stop with a process.

    Attributes:
        main_thread_paths: Paths whose answers touch no network, no disk and no lock that a login holds, so that
            ``velro_auth.server.worker`` may answer them where nothing queues.
        answers_refusals: Whether this also builds the responses to requests that the worker refuses itself.
        refusal_fields: Further header fields that are read for such a response; in lower case.
        body_limits: (method, path) → largest body that is read there, in bytes; no other request has its body read.

    Args:
        settings: What the environment says.
        fast_lane: False sends everything through Flask.
        extend: Adds endpoints that production does not have.
    """

    def __init__(self, settings: Settings, *, fast_lane: bool = True, extend: Extend = _unchanged) -> None:
        self._fast_lane, self._extend = fast_lane, extend
        self._taking = threading.Lock()
        self._parts = extend(settings, build(settings))
        self._edge = _edge(settings, self._parts, fast_lane=fast_lane)
        self._outermost = self._parts.state.tracing.wrap(self._edge)
        self._reloads = Reloads(settings, take=self._take)
        if replicas := self._parts.state.guards.replicas:
            replicas.on_change = self._rebuild
        self._parts.state.telemetry.jobs.retry_with(self._reloads.thread)
        self.main_thread_paths = frozenset(path for probe in self._parts.instant for path in probe.paths)
        self.answers_refusals = True
        self.refusal_fields = _refusal_fields(settings)
        self.body_limits = _body_limits(self._parts)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._outermost(environ, start_response)

    def answers_at_once(self, environ: WSGIEnvironment) -> bool:
        """Return whether the answer to a request touches no network, no disk and no lock that a login holds.

        ``velro_auth.server.worker`` asks for the requests whose path does not say it: ``verify`` of a known token.
        """
        verify = self._parts.verify
        if not is_below(environ["PATH_INFO"], verify.paths):
            return False
        return verify.answers_at_once(FastRequest(environ))

    def start(self) -> None:
        """Start the threads; call it after a fork, because no thread survives one."""
        for threads in self._threads:
            threads.start()

    def stop(self) -> None:
        """Stop the threads. A failure of one does not keep the others running."""
        for threads in self._threads:
            try:
                threads.stop()
            except Exception:
                logger.exception("a part could not be stopped")

    def reload(self) -> Outcome:
        """Read the settings anew and have all processes take them over; call it where they were forked."""
        return self._reloads.reload()

    def tell_of_reloads(self, on_followed: OnFollowed) -> None:
        """Call *on_followed* now, and whenever this process has followed new settings; call it after the fork."""
        self._reloads.on_followed = on_followed
        on_followed(self._reloads.number, is_taken=True)

    @property
    def _threads(self) -> Iterable[Threads]:
        return (*self._parts.state.threads, self._reloads)

    def _rebuild(self) -> None:
        """Serve with the present settings and another number of processes that share the limits."""
        with self._taking:
            self._serve_with(self._parts.state.current.settings)

    def _take(self, settings: Settings) -> None:
        """Serve with other settings. Requests on their way end as they began."""
        with self._taking:
            self._serve_with(settings)

    def _serve_with(self, settings: Settings) -> None:
        parts = self._extend(settings, build(settings, self._parts.state))
        edge = _edge(settings, parts, fast_lane=self._fast_lane)
        set_level(settings.log_level)
        self._parts, self._edge, self._outermost = parts, edge, parts.state.tracing.wrap(edge)
        self.body_limits = _body_limits(parts)
        self.refusal_fields = _refusal_fields(settings)


def create_app(settings: Settings, *, fast_lane: bool = True, extend: Extend = _unchanged) -> Service:
    """Build the application that *settings* ask for. Connects to nothing, starts nothing, never fails on settings.

    Args:
        settings: What the environment says.
        fast_lane: False sends everything through Flask. Answers differ in their headers and in two fields
            that tell the lane; tests rely on nothing else differing.
        extend: Adds endpoints that production does not have.
    """
    for error in settings.errors:
        logger.error("wrong setting", extra={"variable": error.variable, "advice": error.advice})
    for advice in settings.advice:
        logger.warning("setting to look at", extra={"variable": advice.variable, "advice": advice.advice})
    return Service(settings, fast_lane=fast_lane, extend=extend)


def from_environment() -> Service:
    """Build the application that the environment asks for: gunicorn calls this."""
    return create_app(Settings.from_environment())


def _body_limits(parts: Parts) -> dict[tuple[str, str], int]:
    """Return the limit of each endpoint that reads a body: those have a ``max_body_bytes``."""
    return {
        route: max_body_bytes
        for endpoint in parts.endpoints
        if (max_body_bytes := getattr(endpoint, "max_body_bytes", 0))
        for route in getattr(endpoint, "body_routes", itertools.product(_body_methods(endpoint), endpoint.paths))
    }


def _body_methods(endpoint: Endpoint) -> Sequence[str]:
    """Return the methods with a body: those that the endpoint describes with one, or all that it has."""
    described: Mapping[str, Operation] = getattr(endpoint, "operations", {})
    if not described:
        return endpoint.methods
    return [method for method, operation in described.items() if operation.body]


def _edge(settings: Settings, parts: Parts, *, fast_lane: bool) -> Middleware:
    app: WSGIApplication = _flask_app(parts)
    if fast_lane:
        app = FastLane(app, parts.fast, prefixed=parts.fast_prefixed)
    return Middleware(
        app,
        cors=Cors(settings.cors_origins, settings.cors_origin_regex, settings.cors_allow_headers),
        addresses=parts.addresses,
        watch=parts.watch,
        watched_paths=LoginEndpoint.paths,
        quiet_paths=[path for probe in parts.probes for path in probe.paths],
        own_options=parts.verify.paths,
        refuse=_refuse_in_two_formats if settings.auth_supabase_api else problems.respond,
        on_response=parts.state.telemetry.on_response,
        log_quiet_every=settings.log_probes_every,
    )


def _refusal_fields(settings: Settings) -> tuple[str, ...]:
    return (settings.auth_client_ip_header.lower(), "x-supabase-api-version")


def _refuse_in_two_formats(error: Exception, environ: WSGIEnvironment) -> WSGIApplication:
    if is_below(environ["PATH_INFO"], (PREFIX,)):
        # The query is not known, and a refresh must never get a 429.
        return refuse(error, environ, never_429=True)
    return problems.respond(error, environ)


def _flask_app(parts: Parts) -> flask.Flask:
    app = flask.Flask("velro_auth", static_folder=None)
    # Paths are matched exactly: // is not /, and Flask sends no redirect.
    app.url_map.merge_slashes = False
    app.url_map.converters["any_path"] = AnyPath
    app.register_blueprint(auth(parts.auth, prefixed=parts.prefixed))
    app.register_blueprint(blueprint("operations", parts.operations))
    app.register_blueprint(blueprint("pages", parts.pages))
    app.before_request(functools.partial(_refuse_further_slashes, but_below=_prefixes(parts)))
    app.register_error_handler(Exception, _respond)
    return app


def _prefixes(parts: Parts) -> tuple[str, ...]:
    return tuple(path for endpoint in parts.prefixed for path in endpoint.paths)


def _refuse_further_slashes(but_below: Iterable[str]) -> None:
    """Refuse ``//`` at the beginning, which Werkzeug takes for ``/``, and ``%2F``, which servers decode before routing.

    Below verify a path may have an escaped slash; below ``/auth/v1`` the endpoint itself refuses it.
    """
    path = flask.request.environ["PATH_INFO"]
    if path.startswith("//"):
        raise NotFound("two slashes at the beginning")
    escaped = "%2f" in flask.request.environ.get("RAW_URI", "").partition("?")[0].lower()
    if escaped and not is_below(path, but_below):
        raise NotFound("an escaped slash")


def _respond(error: Exception) -> Response:
    # Flask keeps what its router raised, also where the request was refused for another reason.
    for one in (error, flask.request.routing_exception):
        if isinstance(one, HTTPException):
            problems.forget_frames(one)
    return problems.respond(_ours(error), flask.request.environ)


def _ours(error: Exception) -> Exception:
    """Turn errors of Flask and Werkzeug into our own; a defect is returned unchanged."""
    if isinstance(error, WerkzeugMethodNotAllowed):
        return MethodNotAllowed(sorted({*(error.valid_methods or ()), "OPTIONS"}))
    if not isinstance(error, HTTPException):
        return error
    return NotFound() if error.code == 404 else RequestError(error.name)  # noqa: PLR2004
