"""An audit trail on a full disk shows in the log, in readiness and in the metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import GOOD_LOGIN, LogLines, MakeClient
from tests.upstream_double import UpstreamDouble
from velro_auth.app import Service

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_what_a_full_disk_loses_is_counted_logged_and_shown_by_readiness(
    make_client: MakeClient, upstream: UpstreamDouble, logs: LogLines
) -> None:
    client = make_client(AUDIT_FILE=str(FULL))
    assert client.get("/health/ready").get_json()["checks"]["audit"][0]["status"] == "pass"

    statuses = {client.post("/api/v1/auth/login", json=GOOD_LOGIN).status_code for _ in range(300)}

    assert statuses == {200}
    (found,) = client.get("/health/ready").get_json()["checks"]["audit"]
    assert found["status"] == "warn"
    assert "300 audit records could not be written" in found["output"]
    assert "velro_auth_audit_records_lost_total 300.0" in client.get("/metrics").text
    service = client.application
    assert isinstance(service, Service)
    telemetry = service._parts.lasting.telemetry
    for _ in range(3):
        telemetry.jobs.run_once()
    telemetry.lost_records.log_now()
    # The thread of the periodic jobs may have logged a part of it before.
    logged = [vars(line)["lost"] for line in logs.records if line.getMessage() == "audit records were lost"]
    assert sum(logged) == 300
    assert len(logged) < 10


def test_without_a_trail_readiness_says_nothing_about_one(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    assert "audit" not in make_client().get("/health/ready").get_json()["checks"]
