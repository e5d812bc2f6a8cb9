"""Services that start where something is missing: they wait for what may come, and say at once what won't."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster
from tests.servers.process import free_port
from tests.servers.service import Service


@contextmanager
def launched(cluster: Cluster, kind: str, **settings: str) -> Generator[Service]:
    arguments = {"coordinator": ["coordinator"], "runner": ["runner", "--pool", "cpu=1"], "api": ["api", "--port", str(free_port())]}
    service = Service(f"odd-{kind}", arguments[kind], {**cluster.settings, **settings})
    try:
        service.launch()
        yield service
    finally:
        service.close()


def wrong_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":a-wrong-password@")


@pytest.mark.parametrize(
    ("kind", "variable", "dependency"),
    [("runner", "PENSTOCK_BROKER_URL", "broker"), ("coordinator", "PENSTOCK_DATABASE_URL", "database")],
)
def test_a_service_waits_for_what_cannot_be_reached(cluster: Cluster, kind: str, variable: str, dependency: str) -> None:
    parts = urlsplit(cluster.settings[variable])
    url = cluster.settings[variable].replace(f":{parts.port}/", f":{free_port()}/")

    with launched(cluster, kind, **{variable: url}) as service:
        until(lambda: service.page("/readyz")[0] == 503 and f"{dependency}: " in service.page("/readyz")[1])
        until(lambda: service.log_text().count("dependency.awaited") >= 2)
        assert service.page("/livez")[0] == 200
        assert "refused" in service.page("/readyz")[1].lower()

        service.signal(signal.SIGTERM)

        assert service.wait() == 0


@pytest.mark.parametrize(
    ("kind", "variable"), [("runner", "PENSTOCK_BROKER_URL"), ("coordinator", "PENSTOCK_DATABASE_URL"), ("api", "PENSTOCK_DATABASE_URL")]
)
def test_wrong_credentials_end_a_service_at_once(cluster: Cluster, kind: str, variable: str) -> None:
    with launched(cluster, kind, **{variable: wrong_password(cluster.settings[variable])}) as service:
        assert service.wait() == 3
        last = service.log_text().splitlines()[-1]

    assert "the user or the password is wrong" in last
    assert variable in last
    assert "a-wrong-password" not in service.log_text()


def test_a_bucket_that_denies_ends_a_service_at_once(cluster: Cluster) -> None:
    with launched(cluster, "runner", AWS_SECRET_ACCESS_KEY="0" * 32) as service:
        assert service.wait() == 3
        assert "error: " in service.log_text().splitlines()[-1]


def test_a_database_that_was_not_upgraded_is_waited_for(cluster: Cluster) -> None:
    url = cluster.create_database()

    with launched(cluster, "coordinator", PENSTOCK_DATABASE_URL=url) as service:
        until(lambda: "penstock db upgrade" in service.page("/readyz")[1])
        cluster.command("db", "upgrade", settings={"PENSTOCK_DATABASE_URL": url})
        service.wait_until_ready()


@pytest.mark.parametrize("missing", ["PENSTOCK_SIGNING_KEY", "PENSTOCK_BROKER_URL", "PENSTOCK_ARTIFACTS_URL"])
def test_what_is_missing_is_said_at_once(cluster: Cluster, missing: str) -> None:
    with launched(cluster, "coordinator", **{missing: ""}) as service:
        assert service.wait() == 2
        assert f"error: {missing}: it is not set" in service.log_text()


def test_an_api_without_a_token_listens_on_loopback_only(cluster: Cluster) -> None:
    service = Service("odd-api", ["api", "--host", "0.0.0.0"], {**cluster.settings, "PENSTOCK_API_TOKEN": ""})  # noqa: S104 - it is refused
    try:
        service.launch()
        assert service.wait() == 2
        assert "loopback" in service.log_text()
    finally:
        service.close()
