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

from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.coordinator_metrics import CoordinatorMetrics
from penstock.deploy.services.health import Health
from penstock.deploy.services.metrics import Metrics
from tests.deploy.charts import render
from tests.deploy.charts.render import AGAIN, CASES, CHART, FOLDER, HELM, documents, is_current, manifests, rendered

KUBERNETES = ["1.27", "1.30", "1.37"]
"""The oldest, the one that the chart is rendered for, and the newest that is known."""
_BIN = Path(sys.executable).parent
_OWN_SCHEMAS = {"ScaledObject": "scaledobject.json", "PodMonitor": "podmonitor.json"}
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
    assert len(found) == {"default": 1, "full": 3, "bare": 0}[case]


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
        ("demo-api", {"broker_url", "database_url", "api_token"}),
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
    assert args == ["topology", "apply", "--workspace", "team", "--pool", "cpu", "--pool", "fixed", "--pool", "gpu"]


def test_network_policies_let_in_who_is_named() -> None:
    api = _named("full", "NetworkPolicy", "demo-api")["spec"]
    runner = _named("full", "NetworkPolicy", "demo-runner-gpu")["spec"]

    assert [[port["port"] for port in rule["ports"]] for rule in api["ingress"]] == [[9090], [8080]]
    assert api["ingress"][1]["from"] == [{"namespaceSelector": {"matchLabels": {"team": "yes"}}}]
    assert [port["port"] for rule in api["egress"] for port in rule["ports"]] == [53, 53, 5671, 5432, 443]
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
