"""How gunicorn runs this service: a configuration file, which gunicorn reads and nothing else imports.

A global named like a setting *is* a setting; other names start with _.
"""

import gc as _gc
import signal as _signal
import socket as _socket
from typing import Any as _Any

from velro_auth.config.settings import Settings as _Settings
from velro_auth.server.connection_share import ConnectionShare as _ConnectionShare
from velro_auth.server.process_records import ProcessRecords as _ProcessRecords
from velro_auth.server.process_records import folder_of as _folder_of
from velro_auth.server.process_records import ports_of as _ports_of
from velro_auth.server.process_tuning import Affinity as _Affinity
from velro_auth.server.process_tuning import core_of as _core_of
from velro_auth.server.process_tuning import pin as _pin
from velro_auth.server.process_tuning import use_one_heap as _use_one_heap
from velro_auth.telemetry.logs import configuration as _configuration

# Set before any thread starts; the workers inherit it.
_use_one_heap()

_settings = _Settings.from_environment()

# [::] takes IPv4 as well; binding 0.0.0.0 beside it would fail.
bind = f"[::]:{_settings.port}" if _socket.has_dualstack_ipv6() else f"0.0.0.0:{_settings.port}"
# "gthread" is gunicorn's own worker, with our answers to requests that it cannot read.
worker_class = _settings.gunicorn_worker_class.replace("gthread", "velro_auth.server.compatibility.PlainWorker")
workers = _settings.web_concurrency
threads = _settings.gunicorn_threads
preload_app = True
backlog = 1024

# Longer than the 60 s after which edges close idle connections, so that they never reuse one just closed.
keepalive = 75
# The heartbeat of the worker's main loop; upstream calls have deadlines of their own.
timeout = 30
# Below the 30 s that docs/how-to tell Railway to wait between SIGTERM and SIGKILL.
graceful_timeout = 25
# Recycling would throw away warm connections and counters, and nothing here grows.
max_requests = 0

# The middleware writes one JSON line a request; gunicorn's own log costs 45 µs a request more.
accesslog = None
logconfig_dict = _configuration(_settings.log_level, _settings.log_format)
# Otherwise a thread in the master and a socket in $HOME.
control_socket_disable = True
# Sets nothing but the scheme; the middleware finds the caller's address (velro_auth/web/client_address.py).
forwarded_allow_ips = "*"
# Otherwise a peer's SCRIPT_NAME header would rewrite the path.
forwarder_headers = ""
# The longest request line. Envoy appends the address that its client asked for.
limit_request_line = 8190
limit_request_fields = 64
# For gthread. Our worker takes 16 KiB of Authorization or Cookie, and 8 KiB of any other field.
limit_request_field_size = 16 * 1024 + 64

_records = _ProcessRecords(_folder_of(_settings.auth_run_dir))
_connection_share = _ConnectionShare(workers)
_affinity = _Affinity(workers=workers) if _settings.worker_cpu_affinity else None


def when_ready(server: _Any) -> None:
    """Answer SIGHUP with new settings in the running workers. New workers would lose their counters."""
    if reload := getattr(server.app.wsgi(), "reload", None):
        ports = _ports_of(server.LISTENERS)
        server.handle_hup = _records.around(reload, ports)
        _records.record_master(ports)
    # Loaded code stays for good. Collecting garbage among it takes 40 ms, in which no thread runs.
    _gc.collect()
    _gc.freeze()
    # Requests leave no cycles behind. With Python's 700 objects, looking for some takes 6 % of a ``verify`` (measured).
    _gc.set_threshold(2500, 5, 5)


def pre_fork(server: _Any, worker: _Any) -> None:
    """Give the worker what the master knows of all workers: their connections, and their cores."""
    worker.connection_share = _connection_share
    if _affinity:
        worker.core = _affinity.choose(_core_of(sibling) for sibling in server.WORKERS.values())


def post_fork(_server: _Any, worker: _Any) -> None:
    """Pin the worker to the core that ``pre_fork`` chose, before any thread is started."""
    _records.has_forked()
    # The fork copied the master's handlers. They would swallow a SIGTERM until the worker has its own handlers, and
    # the master would have to kill the worker.
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_DFL)
    _pin(_core_of(worker))


def post_worker_init(worker: _Any) -> None:
    """Let the application start its threads. A fork would have ended them."""
    # The master tells the workers about new settings. The signal itself would kill them.
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    if tell := getattr(worker.wsgi, "tell_of_reloads", None):
        tell(_records.record_worker)
    if start := getattr(worker.wsgi, "start", None):
        start()


def worker_exit(_server: _Any, worker: _Any) -> None:
    """Let the application stop its threads."""
    _records.remove()
    if stop := getattr(getattr(worker, "wsgi", None), "stop", None):
        stop()


def on_exit(_server: _Any) -> None:
    """Delete the master's file."""
    _records.remove()
