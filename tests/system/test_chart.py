"""The Helm chart: rendered, checked against the schemas of Kubernetes, and its container's command started."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.fixtures.charts import CHART, KUBERNETES, ROOT, helm, rendered, resources
from tests.fixtures.dockerfile import of, stages
from tests.fixtures.programs import await_health, free_port, program
from velro_auth.config.settings import Settings, specs

#: Everything that can be switched on.
ALL = (
    *("--set", "autoscaling.enabled=true", "--set", "serviceMonitor.enabled=true"),
    *("--set", "ingress.enabled=true", "--set", "ingress.hosts={auth.example.com}"),
)
#: How long gunicorn finishes requests, as its configuration says.
GRACEFUL_S = int(
    re.findall(r"^graceful_timeout = (\d+)$", (ROOT / "velro_auth/server/gunicorn_conf.py").read_text(), re.MULTILINE)[
        0
    ]
)


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    return found


def pod(*options: str) -> dict[str, Any]:
    found: dict[str, Any] = resources(*options)["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("options", [(), ALL], ids=["as it is", "with everything"])
def test_kubernetes_takes_every_manifest(options: tuple[str, ...], tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(rendered(*options), "utf-8")
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, str(manifests)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    passed = len(re.findall(r" passed for resource ", done.stdout + done.stderr))
    # Kubernetes has no schema for the monitor of the Prometheus operator; the test below looks at it.
    assert passed == len(resources(*options)) - ("ServiceMonitor" in resources(*options))


def test_helm_finds_nothing_to_complain_about() -> None:
    done = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_runs_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))

    assert f'__version__ = "{chart["appVersion"]}"\n' in (ROOT / "velro_auth/__init__.py").read_text("utf-8")


def test_the_pod_may_do_nothing_that_it_does_not_need() -> None:
    for one in (pod(), resources()["Test"]["spec"]):
        (container,) = one["containers"]
        allowed = container["securityContext"]
        assert allowed["readOnlyRootFilesystem"] is allowed["runAsNonRoot"] is True
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["automountServiceAccountToken"] is False
    _, final = stages()
    (user,) = of(final, "USER")
    assert user == f"{allowed['runAsUser']}:{allowed['runAsGroup']}"
    assert resources()["ServiceAccount"]["automountServiceAccountToken"] is False


def test_requests_in_flight_may_end_before_the_pod_is_killed() -> None:
    (container,) = pod()["containers"]
    waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert values()["gracefulSeconds"] == GRACEFUL_S
    assert waits_s > 0
    assert pod()["terminationGracePeriodSeconds"] >= waits_s + GRACEFUL_S + 5
    assert resources()["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_an_outage_of_supabase_takes_no_pod_away() -> None:
    """/health/ready fails while Supabase does not answer; verify still works then."""
    (container,) = pod()["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert set(paths.values()) == {"/health"}


def test_secrets_are_named_and_never_written() -> None:
    secret = {spec.metadata["variable"] for spec in specs() if spec.metadata["secret"]}
    (container,) = pod()["containers"]

    assert {"secretRef": {"name": values()["existingSecret"]}} in container["envFrom"]
    assert "Secret" not in resources(*ALL)
    assert not secret & resources()["ConfigMap"]["data"].keys()


@pytest.mark.parametrize(
    "wrong",
    [
        "settings.SUPABASE_SECRET_KEY=sb_secret_x",
        "settings.lower=x",
        "replicas=0",
        "probes.readinessPath=/nowhere",
        "unknown=1",
    ],
)
def test_a_wrong_value_is_refused(wrong: str) -> None:
    """Words in a values file end in git; a secret there would too."""
    done = helm("template", "login", str(CHART), "--kube-version", KUBERNETES, "--set", wrong)

    assert done.returncode != 0
    assert "schema" in done.stderr


def test_every_secret_of_the_service_is_refused_as_a_plain_setting() -> None:
    schema = (CHART / "values.schema.json").read_text("utf-8")
    secret = {spec.metadata["variable"] for spec in specs() if spec.metadata["secret"]}

    assert {name for name in secret if f'"{name}"' not in schema} == set(), "name it in values.schema.json"


def test_the_autoscaler_the_monitor_and_the_ingress_lead_to_the_service() -> None:
    found = resources(*ALL)

    assert "replicas" not in found["Deployment"]["spec"]
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for one in (found["Service"]["spec"]["selector"], found["ServiceMonitor"]["spec"]["selector"]["matchLabels"]):
        assert one.items() <= labels.items()
        assert not one.items() <= found["Test"]["metadata"]["labels"].items()
    (endpoint,) = found["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (found["Service"]["spec"]["ports"][0]["name"], "/metrics")
    assert endpoint["authorization"]["credentials"] == {"name": values()["existingSecret"], "key": "METRICS_TOKEN"}
    (rule,) = found["Ingress"]["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == found["Service"]["metadata"]["name"]


def test_only_one_pod_at_a_time_is_taken_by_a_drained_node() -> None:
    assert resources()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    keys = [one["topologyKey"] for one in pod()["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_the_network_policy_lets_in_what_asks_and_out_what_is_needed() -> None:
    policy = resources()["NetworkPolicy"]["spec"]
    narrow = resources("--set", "networkPolicy.from[0].podSelector.matchLabels.app=proxy")["NetworkPolicy"]["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for port in policy["ingress"][0]["ports"]] == ["http"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443}
    assert narrow["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "proxy"}}}]


def test_what_the_container_starts_answers_its_probes_and_ends(tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    given = {one["name"]: one["value"] for one in container["env"]} | resources()["ConfigMap"]["data"]
    (mount,) = container["volumeMounts"]
    assert given["TMPDIR"] == mount["mountPath"]
    assert (
        Settings.from_environment(
            given | {"SUPABASE_URL": "https://abcdefgh.supabase.co", "SUPABASE_SECRET_KEY": f"sb_secret_{'x' * 31}"}
        ).errors
        == ()
    )
    (tmp_path / "run").mkdir()
    port = free_port()
    # Another port, and a folder of this test in place of the mounted one.
    variables = given | {"PORT": str(port), "TMPDIR": str(tmp_path / "run")}

    with program(["-m", "velro_auth", *container["args"]], tmp_path / "serve.log", **variables) as running:
        running.url = f"http://127.0.0.1:{port}"
        running.wait_for("Listening at: ")
        await_health(running)
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert requests.get(running.url + container[name]["httpGet"]["path"], timeout=10).status_code == 200
        status = running.stop(signal.SIGTERM)

    assert status == 0
