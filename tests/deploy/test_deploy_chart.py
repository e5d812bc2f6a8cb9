"""The Helm chart: what it renders fits the schemas of Kubernetes and KEDA, and says what it must of pods, pools and secrets."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from penstock.deploy.declared_datastores import declared_datastores
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.coordinator_metrics import CoordinatorMetrics
from penstock.deploy.services.event_service import EventMetrics
from penstock.deploy.services.health import Health
from penstock.deploy.services.metrics import Metrics
from penstock.runners.known_secrets import secret_of_runner
from tests.deploy.charts import render
from tests.deploy.charts.render import AGAIN, CASES, CHART, FOLDER, HELM, documents, is_current, manifests, rendered

KUBERNETES = ["1.27", "1.30", "1.37"]
"""The oldest, the one that the chart is rendered for, and the newest that is known."""
_BIN = Path(sys.executable).parent
_OWN_SCHEMAS = {"ScaledObject": "scaledobject.json", "PodMonitor": "podmonitor.json", "PrometheusRule": "prometheusrule.json"}
Manifest = dict[str, Any]
needs_helm = pytest.mark.skipif(HELM is None, reason="there is no helm on PATH; what it rendered is kept, and checked, beside the values")


def _of_kind(case: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests(case) if manifest["kind"] in kinds]


def _named(case: str, kind: str, name: str) -> Manifest:
    [found] = [manifest for manifest in _of_kind(case, kind) if manifest["metadata"]["name"] == name]
    return found


def _pods(case: str) -> Iterator[tuple[str, Manifest]]:
    for manifest in _of_kind(case, "Deployment", "Job"):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def _container(case: str, deployment: str) -> Manifest:
    [container] = _named(case, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]  # of YAML


@pytest.mark.parametrize("case", CASES)
def test_what_is_kept_was_made_of_the_chart_as_it_is(case: str) -> None:
    assert is_current(case), f"the chart or the values were changed; render them again: {AGAIN}"


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_helm_renders_what_is_kept(case: str) -> None:
    def by_name(found: list[Manifest]) -> dict[tuple[str, str], Manifest]:
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}

    assert by_name(documents(rendered(case))) == by_name(manifests(case))


@needs_helm
def test_helm_has_nothing_to_say_of_the_chart() -> None:
    linted = render.helm("lint", "--strict", str(CHART), "--values", str(FOLDER / "full.values.yaml"))

    assert linted.returncode == 0, linted.stdout
    assert "[WARNING]" not in linted.stdout


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_fit_the_schemas_of_kubernetes(version: str, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    every = [manifest for case in CASES for manifest in manifests(case)]
    file.write_text(yaml.safe_dump_all(manifest for manifest in every if manifest["kind"] not in _OWN_SCHEMAS))

    done = subprocess.run(
        [str(_BIN / "kubernetes-validate"), "--strict", "-k", version, str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistake_in_a_manifest_is_seen(tmp_path: Path) -> None:
    wrong = _named("default", "Deployment", "demo-api")
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump(wrong))

    done = subprocess.run([str(_BIN / "kubernetes-validate"), "--strict", "-k", "1.30", str(file)], capture_output=True, check=False)

    assert done.returncode != 0


@pytest.mark.parametrize("case", CASES)
def test_manifests_fit_the_schemas_of_operators(case: str) -> None:
    found = _of_kind(case, *_OWN_SCHEMAS)

    for manifest in found:
        schema = json.loads((FOLDER / "schemas" / _OWN_SCHEMAS[manifest["kind"]]).read_text(encoding="utf-8"))
        jsonschema.validate(manifest, schema)
    assert len(found) == {"default": 1, "full": 4, "bare": 0}[case]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_locked_up_and_told_from_others(case: str) -> None:
    for name, pod in _pods(case):
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        # Variables of services in the namespace would look like settings: PENSTOCK_API_PORT.
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name
        resources: Manifest = container["resources"] or {}
        assert "requests" in resources or "fixed" in name, name
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}, name


@pytest.mark.parametrize("case", CASES)
def test_selectors_choose_one_deployment_each(case: str) -> None:
    deployments = _of_kind(case, "Deployment")

    for deployment in deployments:
        selector = deployment["spec"]["selector"]["matchLabels"].items()
        chosen = [d["metadata"]["name"] for d in deployments if selector <= d["spec"]["template"]["metadata"]["labels"].items()]
        assert chosen == [deployment["metadata"]["name"]]
    accounts = {account["metadata"]["name"] for account in _of_kind(case, "ServiceAccount")}
    assert {d["spec"]["template"]["spec"]["serviceAccountName"] for d in deployments} <= accounts
    covered = {budget["metadata"]["name"] for budget in _of_kind(case, "PodDisruptionBudget")}
    assert covered == {deployment["metadata"]["name"] for deployment in deployments}


@pytest.mark.parametrize(
    ("deployment", "needed"),
    [
        ("demo-coordinator", {"broker_url", "database_url", "signing_key"}),
        ("demo-api", {"broker_url", "database_url", "api_token", "signing_key"}),
        ("demo-runner-gpu", {"broker_url"}),
    ],
)
def test_a_service_gets_the_secrets_that_it_needs_by_reference(deployment: str, needed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Manifest] = _container("full", deployment)["env"]
    by_reference = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in entries if "valueFrom" in entry}

    assert {name.removeprefix("PENSTOCK_").lower() for name in by_reference if name.startswith("PENSTOCK_")} == needed
    assert {reference["name"] for reference in by_reference.values()} == {"team-penstock", "team-s3"}

    for entry in entries:
        if "value" in entry and entry["name"].startswith("PENSTOCK_"):
            monkeypatch.setenv(entry["name"], entry["value"])
    settings = ServiceSettings.read()
    assert settings.workspace == "team"
    assert settings.needed("artifacts_url") == "s3://team/artifacts"
    assert settings.drain_seconds < _named("full", "Deployment", deployment)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("deployment", ["demo-coordinator", "demo-api"])
def test_datastores_webhooks_and_logins_reach_the_settings_of_services(
    deployment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    container = _container("full", deployment)
    variables = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    for name in set(variables) - {"PENSTOCK_SECRETS_FOLDER"}:
        monkeypatch.setenv(name, variables[name])
    monkeypatch.setenv("PENSTOCK_SECRETS_FOLDER", str(tmp_path))
    (tmp_path / "lake-key").write_text("key:secret\n")

    [lake, public] = declared_datastores(variables, tmp_path, secret_of_runner)
    settings = ServiceSettings.read()

    assert (lake.name, lake.url, lake.workspaces) == ("lake", "s3://lake/daily", frozenset({"team"}))
    assert lake.credentials is not None
    assert lake.credentials() == "key:secret"
    assert public.credentials is None
    assert settings.webhook_allow == "hooks.internal, 10.20.0.0/16"
    assert settings.events_kept_days == (90 if deployment == "demo-coordinator" else 30)
    asked = (settings.oidc_issuer, settings.oidc_client_id, settings.oidc_audience, settings.oidc_subject_claim)
    expected = ("https://login.example.org/realms/team", "penstock", "penstock-api", "email")
    assert asked == (expected if deployment == "demo-api" else (None, None, None, "sub"))
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "datastores"]
    assert (mount["mountPath"], mount["readOnly"]) == (variables["PENSTOCK_SECRETS_FOLDER"], True)


def test_services_take_their_own_users_of_the_broker() -> None:
    def keys(case: str) -> dict[str, str]:
        containers = {d["metadata"]["name"]: d["spec"]["template"]["spec"]["containers"][0] for d in _of_kind(case, "Deployment")}
        return {
            name: entry["valueFrom"]["secretKeyRef"]["key"]
            for name, container in containers.items()
            for entry in container["env"]
            if entry["name"] == "PENSTOCK_BROKER_URL"
        }

    assert keys("full") == {
        "demo-coordinator": "broker-url-coordinator",
        "demo-api": "broker-url-api",
        "demo-runner-cpu": "broker-url-runner",
        "demo-runner-fixed": "broker-url",
        "demo-runner-gpu": "broker-url",
    }
    assert set(keys("default").values()) == {"broker-url"}


def test_alerts_are_about_figures_that_coordinators_show_and_are_those_of_the_page() -> None:
    metrics = Metrics(Health())
    CoordinatorMetrics(metrics)
    EventMetrics(metrics)
    shown = set(re.findall(r"# TYPE (\S+)", metrics.text().decode())) | {"penstock_events_sent_total"}
    [group] = _named("full", "PrometheusRule", "demo")["spec"]["groups"]
    expressions = [rule["expr"] for rule in group["rules"]]

    assert {name for text in expressions for name in re.findall(r"penstock_\w+", text)} <= shown
    page = (CHART.parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [text.replace("1800", "900") for text in expressions] == re.findall(r"^(?:max|sum)[ (].* > \d+$", page, re.MULTILINE)
    outcome = 'penstock_event_decisions_total{outcome="refused"} 0.0'
    assert outcome in metrics.text().decode(), "the first one is an increase too"


def test_a_pool_with_gpus_asks_for_them() -> None:
    container = _container("full", "demo-runner-gpu")

    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert container["image"] == "penstock/gpu-runner:0.1.0"
    assert container["args"] == ["runner", "--pool", "gpu=4", "--slot-gpus", "gpu=0.5"]
    assert _container("full", "demo-runner-fixed")["image"] == "registry.example.org/team/steps:7"
    assert "@sha256:" in _container("full", "demo-coordinator")["image"]


def test_a_pool_has_replicas_or_is_scaled_but_not_both() -> None:
    scaled = {manifest["spec"]["scaleTargetRef"]["name"] for manifest in _of_kind("full", "ScaledObject")}

    replicas = {d["metadata"]["name"]: d["spec"].get("replicas") for d in _of_kind("full", "Deployment")}
    assert {name for name, count in replicas.items() if count is None} == scaled == {"demo-runner-cpu", "demo-runner-gpu"}
    assert replicas["demo-runner-fixed"] == 3
    assert _named("bare", "Deployment", "demo-runner-cpu")["spec"]["replicas"] == 0


def test_pools_are_scaled_by_a_figure_that_coordinators_show() -> None:
    metrics = Metrics(Health())
    coordinator = CoordinatorMetrics(metrics)
    shown = set(re.findall(r"# TYPE (\S+)", metrics.text().decode()))

    scaled = _named("full", "ScaledObject", "demo-runner-cpu")["spec"]
    [trigger] = scaled["triggers"]

    names = {name.removesuffix("_count") for name in re.findall(r"penstock_\w+", trigger["metadata"]["query"])}
    assert names == {"penstock_pool_demand", "penstock_batch_size"} <= shown
    assert 'workspace="team",pool="cpu"' in trigger["metadata"]["query"]
    assert coordinator.batch_size.collect()
    assert trigger["metadata"]["threshold"] == "4", "the slots of one runner"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["cooldownPeriod"]) == (1, 20, 600)


def test_the_jobs_come_before_everything_and_know_every_pool() -> None:
    migration, topology = (_named("full", "Job", f"demo-{name}") for name in ("migration", "topology"))

    for job in (migration, topology):
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert "serviceAccountName" not in job["spec"]["template"]["spec"], "it is made after hooks"
    args = topology["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == [
        "topology",
        "apply",
        "--workspace",
        "team",
        "--pool",
        "cpu",
        "--pool",
        "fixed",
        "--pool",
        "gpu",
        "--ingest-from",
        "orders:eu.#",
    ]


def test_network_policies_let_in_who_is_named() -> None:
    api = _named("full", "NetworkPolicy", "demo-api")["spec"]
    runner = _named("full", "NetworkPolicy", "demo-runner-gpu")["spec"]

    assert [[port["port"] for port in rule["ports"]] for rule in api["ingress"]] == [[9090], [8080]]
    assert api["ingress"][1]["from"] == [{"namespaceSelector": {"matchLabels": {"team": "yes"}}}]
    assert [port["port"] for rule in api["egress"] for port in rule["ports"]] == [53, 53, 5671, 5432, 443, 8443]
    assert _named("full", "NetworkPolicy", "demo-coordinator")["spec"]["egress"] == api["egress"], "webhooks and datastores"
    assert [[port["port"] for port in rule["ports"]] for rule in runner["ingress"]] == [[9090]]
    assert runner["egress"] == [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["existingSecret"], ""),
        (["artifacts", "url"], "https://s3.example.org/penstock"),
        (["pools", "cpu", "slots"], 0),
        (["pools", "cpu", "replicas"], 2),
        (["pools", "CPU"], {"slots": 1, "replicas": 1, "resources": {}}),
        (["images", "service", "digest"], "latest"),
        (["databasePassword"], "hidden"),
        (["datastores"], {"lake": {"url": "s3://key:secret@lake"}}),
        (["datastores"], {"lake": {"url": "s3://lake", "password": "hidden"}}),
        (["datastores"], {"drops": {"url": "file:///srv/drops"}}),
        (["webhooks", "allow"], ["a, b"]),
        (["oidc", "issuer"], "http://login.example.org"),
        (["oidc", "issuer"], "https://login.example.org"),
        (["jobs", "ingestFrom"], ["penstock.work:#"]),
    ],
)
def test_values_that_make_no_sense_are_refused(path: list[str], value: object) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(values, schema)

    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)
