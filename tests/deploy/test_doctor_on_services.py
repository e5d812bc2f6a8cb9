"""`penstock doctor` looks at what settings and datastores name: reached or not, and what to do."""

from pathlib import Path

import pytest

from tests.deploy.conftest import Invoke
from tests.servers.oidc import CLIENT, oidc_provider
from tests.servers.rabbitmq import VirtualHost
from tests.servers.s3 import S3Bucket

DATASTORES = """
[datastores.lake]
url = "s3://{bucket}/daily"

[datastores.lost]
url = "s3://there-is-none"

[datastores.drops]
url = "file://{folder}"

[datastores.unmounted]
url = "file:///nowhere/drops"

[datastores.closed]
url = "s3://{bucket}"
secret = "unknown-key"
"""


def grades(output: str, subject: str) -> list[str]:
    """What is said of a subject, each line with its grade before it."""
    return [" ".join(line.split()) for line in output.splitlines() if f" {subject} " in " ".join(line.split())]


@pytest.fixture(autouse=True)
def no_file_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_datastores_that_can_be_read_are_told_from_those_that_can_not(
    penstock: Invoke, project: Path, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    (project / "penstock.toml").write_text(DATASTORES.format(bucket=bucket.name, folder=project))

    result = penstock("doctor")

    assert result.exit_code == 1
    assert [line[:2] for line in grades(result.output, "datastore lake")] == ["ok"]
    assert [line[:2] for line in grades(result.output, "datastore drops")] == ["ok"]
    for name, why in (("lost", "no such bucket"), ("unmounted", "is its disk mounted?"), ("closed", "unknown-key")):
        [line] = grades(result.output, f"datastore {name}")
        assert line.startswith("problem")
        assert why in line


def test_a_datastore_that_is_declared_wrongly_is_a_problem(penstock: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATASTORES", "{'lake'}")

    result = penstock("doctor")

    assert result.exit_code == 1
    assert "PENSTOCK_DATASTORES is no JSON" in result.output


def test_the_queue_of_events_is_missed_until_the_topology_is_applied(
    penstock: Invoke, vhost: VirtualHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", vhost.url)
    monkeypatch.setenv("PENSTOCK_BROKER_MANAGEMENT_URL", vhost.management_url)

    before = penstock("doctor")
    checked = penstock("topology", "check")
    penstock("topology", "apply")
    after = penstock("doctor")

    assert before.exit_code == checked.exit_code == 1
    assert "queue penstock.ingest: it does not exist; penstock topology apply" in before.output
    assert "missing: queue penstock.ingest: it does not exist" in checked.output
    assert after.exit_code == 0, after.output
    assert [line[:2] for line in grades(after.output, "broker")] == ["ok"]


def test_a_database_is_ready_once_it_is_upgraded(penstock: Invoke, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", empty_database)

    before = penstock("doctor")
    penstock("db", "upgrade")
    after = penstock("doctor")

    assert before.exit_code == 1
    assert "penstock db upgrade" in before.output
    assert after.exit_code == 0, after.output


def test_an_identity_provider_answers_as_the_issuer_or_is_a_problem(penstock: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with oidc_provider() as provider:
        monkeypatch.setenv("PENSTOCK_OIDC_ISSUER", provider.url)
        without_client = penstock("doctor")
        monkeypatch.setenv("PENSTOCK_OIDC_CLIENT_ID", CLIENT)
        good = penstock("doctor")
        monkeypatch.setenv("PENSTOCK_OIDC_ISSUER", f"{provider.url}/other")
        other = penstock("doctor")
    monkeypatch.setenv("PENSTOCK_OIDC_ISSUER", "http://127.0.0.1:1")
    away = penstock("doctor")

    assert "PENSTOCK_OIDC_CLIENT_ID: it is not set" in without_client.output
    assert good.exit_code == 0, good.output
    assert "is PENSTOCK_OIDC_ISSUER right" in other.output
    assert "can't be reached" in away.output
    assert [result.exit_code for result in (without_client, other, away)] == [1, 1, 1]


def test_a_setting_that_can_not_be_used_is_a_problem(penstock: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_WEBHOOK_ALLOW", "not a host")

    result = penstock("doctor")

    assert result.exit_code == 1
    assert "PENSTOCK_WEBHOOK_ALLOW" in result.output
