"""The compose file: valid, with secrets in files that a script makes, and services that are given what they need and nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pika
import pika.exceptions
import pytest
import yaml

from penstock.deploy.autoscaler.definitions import Definitions
from penstock.deploy.declared_datastores import declared_datastores
from penstock.deploy.service_settings import SECRETS, ServiceSettings
from tests.servers.process import accepts, free_port, wait_until
from tests.servers.rabbitmq import RabbitServer

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
FILE = COMPOSE / "compose.yaml"
_BIN = Path(sys.executable).parent
NEEDED = {
    "coordinator": {"broker_url", "database_url", "signing_key"},
    "api": {"broker_url", "database_url", "api_token", "signing_key"},
    "runner-cpu": {"broker_url"},
    "runner-gpu": {"broker_url"},
    "migration": {"database_url"},
    "topology": {"broker_url", "broker_management_url"},
    "autoscaler": {"api_token", "broker_url"},
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = FILE.read_text(encoding="utf-8")
    # Variables are replaced by their defaults, as where nobody sets them.
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))  # type: ignore[no-any-return]  # of YAML


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    _make_secrets(folder)
    return folder


def _make_secrets(folder: Path) -> str:
    done = subprocess.run([str(COMPOSE / "make-secrets.sh"), str(folder)], capture_output=True, text=True, check=True)
    return done.stdout


def _checked(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(_BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_file_fits_the_schema_of_compose_files() -> None:
    done = _checked(FILE)

    assert done.returncode == 0, done.stdout


def test_a_mistake_in_the_file_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text(encoding="utf-8").replace("    healthcheck:", "    helthcheck:", 1))

    assert _checked(wrong).returncode == 1


def test_secrets_are_made_once_for_their_owner_and_no_two_are_alike(secrets: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir() if path.is_file()}

    assert _make_secrets(secrets) == ""
    assert {path.name: path.read_text() for path in secrets.iterdir() if path.is_file()} == before
    assert secrets.stat().st_mode & 0o777 == 0o700

    _make_secrets(tmp_path / "others")
    assert [name for name, text in before.items() if (tmp_path / "others" / name).read_text() == text] == ["rabbitmq.conf"]


def test_every_secret_is_made_mounted_and_declared(compose: dict[str, Any], secrets: Path) -> None:
    declared = {name: Path(secret["file"]).name for name, secret in compose["secrets"].items()}
    mounted = {
        secret if isinstance(secret, str) else secret["source"]
        for each in compose["services"].values()
        for secret in each.get("secrets", ())
    }

    assert mounted == set(declared)
    made = {path.name for path in secrets.iterdir() if path.is_file()}
    parts = {name for name in made if name.startswith("broker-password")}
    assert made - parts == set(declared.values()), "those are only parts of others"


@pytest.mark.parametrize("service", sorted(NEEDED))
def test_a_service_is_given_the_secrets_that_it_needs_and_no_other(
    service: str, compose: dict[str, Any], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("PENSTOCK_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in compose["services"][service]["environment"].items():
        monkeypatch.setenv(name, str(value or "").replace("/run/secrets", str(secrets)))

    settings = ServiceSettings.read()

    assert {name for name in SECRETS if getattr(settings, name) is not None} == NEEDED[service]
    if settings.broker_url is not None:
        user = {"runner-cpu": "runner", "runner-gpu": "runner", "autoscaler": "runner", "topology": "penstock"}.get(service, service)
        assert urlsplit(settings.broker_url.get_secret_value()).username == user
    if "AWS_REGION" in os.environ:
        assert settings.needed("artifacts_url") == "s3://penstock/artifacts"
    if "AWS_SHARED_CREDENTIALS_FILE" in os.environ:
        credentials = botocore.session.Session().get_credentials()
        assert credentials is not None
        assert credentials.secret_key == (secrets / "s3-secret").read_text().strip()


@pytest.mark.parametrize("service", sorted(NEEDED))
def test_the_command_of_a_service_exists(service: str, compose: dict[str, Any]) -> None:
    commands: list[list[str]] = [compose["services"][service]["command"]]
    if "entrypoint" in compose["services"][service]:
        lines: list[str] = re.findall(r"^(?:exec )?penstock (.*)$", commands[0][0], re.MULTILINE)
        commands = [line.split() for line in lines]
    assert commands
    for command in commands:
        words = [word for word in command if not word.startswith("-") and re.fullmatch("[a-z]+", word)]
        options = {word for word in command if word.startswith("--")}
        names = words[:2] if words[0] in ("db", "topology") else words[:1]

        helped = subprocess.run([str(_BIN / "penstock"), *names, "--help"], capture_output=True, text=True, check=False)

        assert helped.returncode == 0, helped.stderr
        assert not [option for option in options if option not in helped.stdout]


def test_services_are_locked_up_limited_and_started_again(compose: dict[str, Any]) -> None:
    services: dict[str, Any] = compose["services"]

    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == ("on-failure:5" if name in ("migration", "topology") else "unless-stopped"), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert "privileged" not in service, name
    for name in (*NEEDED, "s3"):
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name
    assert services["coordinator"]["deploy"]["replicas"] == 2
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    assert services["api"]["ports"] == ["127.0.0.1:8080:8080"]


def test_what_is_waited_for_can_be_waited_for(compose: dict[str, Any]) -> None:
    services: dict[str, Any] = compose["services"]

    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            is_job = services[other]["restart"].startswith("on-failure")
            assert wait["condition"] == ("service_completed_successfully" if is_job else "service_healthy"), (name, other)
            # Penstock's own images have a health check.
            assert is_job or "build" in services[other] or "test" in services[other]["healthcheck"]


def test_no_password_stands_in_the_file() -> None:
    text = FILE.read_text(encoding="utf-8")

    assert not re.findall(r"(?im)^\s*\w*(?:password|secret_access_key|api_token|signing_key)\w*:\s*(?!/run/secrets/)\S+", text)


def test_the_pools_of_the_autoscaler_fit_the_services(compose: dict[str, Any]) -> None:
    pools = Definitions(COMPOSE / "pools.yaml").pools()

    built = {service["image"] for service in compose["services"].values() if "build" in service}
    assert {pool.image for pool in pools} <= built
    assert {pool.name for pool in pools} <= set(compose["services"]["topology"]["command"][0].split())
    assert all(pool.min_runners == 0 for pool in pools)
    [_, _, *words] = compose["services"]["autoscaler"]["command"][0].split("exec")[1].split()
    assert words[words.index("--network") + 1] == compose["networks"]["inside"]["name"]


def test_each_service_is_a_user_of_the_broker_who_may_do_its_work_and_no_more(compose: dict[str, Any], secrets: Path) -> None:
    with RabbitServer({"load_definitions": str(secrets / "broker-users.json")}) as broker:
        broker.start()

        def address(name: str) -> str:
            ports = {"rabbitmq:5672": f"127.0.0.1:{broker.port}", "rabbitmq:15672": f"127.0.0.1:{broker.management_port}"}
            text = (secrets / name).read_text().strip()
            for before, after in ports.items():
                text = text.replace(before, after)
            return text

        job = compose["services"]["topology"]
        variables = {name.removesuffix("_FILE"): address(Path(place).name) for name, place in job["environment"].items()}
        environment = {**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}", **variables}
        done = subprocess.run([*job["entrypoint"], *job["command"]], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

        refused = {}
        for user in ("coordinator", "api", "runner"):
            connection = pika.BlockingConnection(pika.URLParameters(address(f"broker-url-{user}")))
            refused[user] = [exchange for exchange in ("penstock.work", "penstock.reports") if not _may_publish(connection, exchange)]
            connection.close()
    assert refused == {"coordinator": [], "api": ["penstock.work"], "runner": ["penstock.work"]}


def _may_publish(connection: pika.BlockingConnection, exchange: str) -> bool:
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish(exchange, "report", b"")
    except pika.exceptions.ChannelClosedByBroker:
        return False
    channel.close()
    return True


def test_the_file_of_datastores_is_read_and_declares_none(compose: dict[str, Any], tmp_path: Path) -> None:
    for service in ("coordinator", "api"):
        variables = compose["services"][service]["environment"]
        places = dict(volume.removesuffix(":ro").split(":") for volume in compose["services"][service]["volumes"])
        folder = {inside: COMPOSE / outside for outside, inside in places.items()}
        environment = {"PENSTOCK_DATASTORES_FILE": str(folder[variables["PENSTOCK_DATASTORES_FILE"]])}
        assert declared_datastores(environment, tmp_path, dict[str, str]().get) == []
        assert folder[variables["PENSTOCK_SECRETS_FOLDER"]] == COMPOSE / "secrets" / "datastores"

    example = tmp_path / "datastores.toml"
    lines = (COMPOSE / "datastores.toml").read_text(encoding="utf-8").splitlines()
    example.write_text("\n".join(line.removeprefix("# ") for line in lines if re.match(r"# (\[|\w+ =)", line)))
    [lake] = declared_datastores({"PENSTOCK_DATASTORES_FILE": str(example)}, tmp_path, {"lake-key": "key:secret"}.get)
    assert (lake.name, lake.url) == ("lake", "s3://lake/daily")


@pytest.fixture
def s3_port(compose: dict[str, Any], secrets: Path, tmp_path: Path) -> Iterator[int]:
    """The port of an S3 server that was started as the file says, without a container around it."""
    port = free_port()
    [script] = compose["services"]["s3"]["command"]
    for inside, outside in (("$$", "$"), ("/run/secrets", str(secrets)), ("/data", str(tmp_path)), (":9000", f"127.0.0.1:{port}")):
        script = script.replace(inside, outside)
    environment = {"PATH": f"{_BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with subprocess.Popen(["/bin/sh", "-ec", script], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: accepts(port), seconds=20, what="rclone serves")
            yield port
        finally:
            process.terminate()


def test_the_s3_server_takes_the_key_of_the_services(s3_port: int, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets / "s3-credentials"))
    client: Any = botocore.session.Session().create_client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{s3_port}")

    client.put_object(Bucket="penstock", Key="artifacts/one", Body=b"1")

    assert client.get_object(Bucket="penstock", Key="artifacts/one")["Body"].read() == b"1"
