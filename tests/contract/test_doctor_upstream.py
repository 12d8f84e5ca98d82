"""The doctor's checks of Supabase: each seen failing against the stand-in with that very fault, and well without."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.certificate import Trust, issue
from supabase_standin import Standin
from velro_auth.config.settings import Settings
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import Result, run
from velro_auth.ops.doctor.context import DiagnosticContext


def settings_of(standin: Standin, **changes: str) -> Settings:
    environment = {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "UPSTREAM_DEADLINE_S": "2",
    }
    return Settings.from_environment(environment | changes)


def look(name: str, settings: Settings, **options: Any) -> Result:
    """Return what one check found, and that nothing it needs stood in its way."""
    with contextlib.closing(DiagnosticContext(settings=settings, **options)) as context:
        results = {result.check.name: result for result in run(CHECKS, context, only=[name])}
    return results[name]


def is_well(name: str, standin: Standin, **options: Any) -> bool:
    return look(name, settings_of(standin), **options).status == "pass"


def test_a_project_that_works_passes_every_check(standin: Standin) -> None:
    chosen = [check.name for check in CHECKS if check.group == "upstream"]

    results = run(CHECKS, DiagnosticContext(settings=settings_of(standin)), only=chosen)

    found = {result.check.name: result.status for result in results}
    # A busy machine may take its time.
    assert found.pop("upstream.latency") in {"pass", "warn"}
    assert found.pop("upstream.tls") == "skip"
    assert set(found.values()) == {"pass"}
    assert len(found) == len(chosen) - 2


def test_a_host_that_does_not_exist() -> None:
    """Reserved for this (RFC 6761); the suite's own guard lets no name out."""
    result = look("upstream.dns", settings_of_url("https://nobody.invalid"))

    assert result.status == "fail"
    assert "nobody.invalid" in result.found
    assert look("upstream.dns", settings_of_url("https://127.0.0.1")).status == "pass"


def test_name_servers_that_do_not_answer() -> None:
    def silent(*_: object) -> None:
        raise TimeoutError

    assert "do not answer" in look("upstream.dns", settings_of_url("https://nobody.invalid"), resolve=silent).found


def settings_of_url(url: str) -> Settings:
    return Settings.from_environment({"SUPABASE_URL": url, "SUPABASE_SECRET_KEY": "sb_secret_" + "k" * 20})


@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "reset"}, {"kind": "html", "status": 522}])
def test_a_supabase_that_does_not_answer(standin: Standin, fault: dict[str, Any]) -> None:
    standin.faults.on(**fault)

    result = look("upstream.reachable", settings_of(standin, UPSTREAM_DEADLINE_S="0.3"))

    assert result.status == "fail"
    standin.faults.clear()
    assert is_well("upstream.reachable", standin)


def test_what_needs_an_answer_is_skipped_without_one(standin: Standin) -> None:
    """So that a Supabase that hangs costs one deadline, not one for each check."""
    standin.faults.on("hang")
    chosen = [check.name for check in CHECKS if check.group in {"upstream", "account"}]
    settings = settings_of(standin, UPSTREAM_DEADLINE_S="0.3")

    results = {one.check.name: one.status for one in run(CHECKS, DiagnosticContext(settings=settings), only=chosen)}

    assert [name for name, status in results.items() if status == "fail"] == ["upstream.reachable"]
    assert results["upstream.login"] == results["account.login"] == "skip"


def test_a_supabase_that_is_far_away(standin: Standin) -> None:
    standin.faults.on("latency", seconds=0.2)

    result = look("upstream.latency", settings_of(standin))

    assert result.status == "warn"
    assert "region nearest" in result.fix
    standin.faults.clear()
    assert look("upstream.latency", settings_of(standin)).status == "pass"


@pytest.mark.parametrize("slot", ["SUPABASE_SECRET_KEY", "SUPABASE_PUBLISHABLE_KEY"])
def test_a_key_that_is_not_accepted_is_named_by_its_slot(standin: Standin, slot: str) -> None:
    prefix = "sb_secret_" if "SECRET" in slot else "sb_publishable_"

    result = look("upstream.key", settings_of(standin, **{slot: prefix + "canary-revoked-key"}))

    assert (result.status, result.found) == ("fail", f"not accepted: {slot} (401)")
    assert is_well("upstream.key", standin)


def test_a_login_path_that_is_broken_while_health_is_green(standin: Standin) -> None:
    standin.faults.on("failure", path="/auth/v1/token")

    result = look("upstream.login", settings_of(standin))

    assert result.status == "fail"
    assert "500" in result.found
    standin.faults.clear()
    assert is_well("upstream.login", standin)


def test_a_rate_limit_that_is_reached_is_a_warning(standin: Standin) -> None:
    standin.faults.on("throttled", path="/auth/v1/token")

    assert look("upstream.login", settings_of(standin)).status == "warn"


def test_a_project_whose_mail_logins_are_off(standin_with: Callable[..., Standin]) -> None:
    """Case 28: its login path refuses an empty login as a healthy one does, and every real login is 503."""
    result = look("upstream.login", settings_of(standin_with(email_logins=False)))

    assert result.status == "fail"
    assert "e-mail logins are switched off" in result.found
    assert "Authentication, Sign In / Providers, Email" in result.fix


@pytest.mark.parametrize(("off_s", "status"), [(-40, "fail"), (40, "fail"), (15, "warn")])
def test_a_clock_that_is_wrong(standin: Standin, off_s: float, status: str) -> None:
    result = look("upstream.clock", settings_of(standin), now=lambda: time.time() + off_s)

    assert result.status == status
    assert ("ahead" if off_s > 0 else "behind") in result.found
    assert is_well("upstream.clock", standin)


def test_a_project_that_signs_with_a_shared_secret_only(standin: Standin) -> None:
    standin.faults.on("wrong_json", path="/auth/v1/.well-known", value={"keys": []})

    result = look("upstream.signing", settings_of(standin))
    with_secret = look(
        "upstream.signing", settings_of(standin, SUPABASE_JWT_SECRET="canary-jwt-secret-of-32-characters")
    )

    assert (result.status, with_secret.status) == ("warn", "pass")
    assert "SUPABASE_JWT_SECRET" in result.fix
    standin.faults.clear()
    assert is_well("upstream.signing", standin)


def test_something_else_in_the_place_of_the_keys(standin: Standin) -> None:
    standin.faults.on("html", path="/auth/v1/.well-known", status=200)

    assert look("upstream.signing", settings_of(standin)).status == "fail"


# TLS


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """A certificate for 127.0.0.1, good for a day."""
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_url(trust: Trust) -> Iterator[str]:
    """A server that shakes hands and says no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trust.certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def days_before_its_end(days: float) -> Callable[[], float]:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=1 - days)).timestamp


@pytest.mark.parametrize(("days", "status"), [(40.5, "pass"), (10.5, "warn"), (2.5, "fail")])
def test_a_certificate_that_ends_soon(trust: Trust, tls_url: str, days: float, status: str) -> None:
    context = ssl.create_default_context(cafile=trust.authorities)

    result = look("upstream.tls", settings_of_url(tls_url), tls=context, now=days_before_its_end(days))

    assert result.status == status
    assert f"{int(days)} more days" in result.found


def test_a_certificate_that_nobody_vouches_for(tls_url: str) -> None:
    result = look("upstream.tls", settings_of_url(tls_url))

    assert result.status == "fail"
    assert "unable to get local issuer" in result.found


def test_a_server_that_speaks_no_tls(standin: Standin) -> None:
    assert look("upstream.tls", settings_of_url(standin.url.replace("http:", "https:"))).status == "fail"
