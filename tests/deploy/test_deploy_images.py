"""The Dockerfiles: what the linter says of them, and an image that is truly built and started on a private engine, without a network."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.deploy.containers import COMPOSE, Containers
from tests.deploy.wheels import write_wheel
from tests.servers.docker import IMAGE, DockerEngine
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitServer, VirtualHost
from tests.servers.s3 import S3Bucket

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "gpu-runner.Dockerfile"]
_CONTEXT = ["LICENSE", "README.md", "pyproject.toml", "uv.lock", "contracts", "transport", "sdk", "engine", "runners", "deploy", "examples"]
PYTHON_IMAGE = "penstock-test:python-with-libraries"
UV_IMAGE = "penstock-test:uv"
SERVICE = "penstock-test:service"
USERS = ("coordinator", "api", "runner")
"""Of the broker; a job of the compose file says what they may do."""
_NOTHING = ("^$", "^$", "^$")
PIPELINE = """
import os

from penstock.sdk import pipeline, step


@step
def who() -> str:
    return f"executed by {os.getuid()}"


@pipeline
def main():
    return who()
"""
_BIN = Path(sys.executable).parent


# A build writes the files of all packages twice: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_the_linter_of_dockerfiles_has_nothing_to_say(file: Path) -> None:
    done = subprocess.run([str(_BIN / "hadolint"), str(file)], capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_every_base_can_be_pinned_and_every_image_runs_as_nobody(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    images = [part for part in re.split(r"^(?=FROM )", text, flags=re.MULTILINE) if "ENTRYPOINT" in part]

    assert all(base.startswith("${") or base in {name for _, name in stages} for base, _ in stages)
    assert images
    for image in images:
        assert re.findall(r"^USER (\S+)$", image, re.MULTILINE)[-1] == "65532:65532"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `docker build .` sees in a checkout, with a wheelhouse that was filled."""
    folder = tmp_path_factory.mktemp("context")
    for name in _CONTEXT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.whl"))
        else:
            shutil.copy(source, folder)
    shutil.copy(ROOT / ".dockerignore", folder)
    # What must not get into an image.
    (folder / "deploy" / "compose" / "secrets").mkdir(parents=True, exist_ok=True)
    (folder / "deploy" / "compose" / "secrets" / "signing-key").write_text("hidden")
    (folder / ".env").write_text("hidden")
    wheelhouse = folder / "deploy" / "docker" / "wheelhouse"
    for name in _needed():
        write_wheel(name, wheelhouse)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheelhouse)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


def _needed() -> list[str]:
    command = ["export", "--quiet", "--frozen", "--offline", "--no-dev", "--no-emit-project", "--no-hashes", "--extra", "services"]
    lines = subprocess.run([str(_BIN / "uv"), *command], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    pinned = [line.split(";") for line in lines if line and line[0].isalnum()]
    # A marker that excludes this machine is about Windows or macOS.
    return [line[0].partition("==")[0] for line in pinned if "win32" not in (line[1:] or [""])[0].replace("!= 'win32'", "")]


@pytest.fixture(scope="module")
def service(docker_of_worker: DockerEngine, context: Path) -> Iterator[DockerEngine]:
    """The engine, with the image of coordinators and the API."""
    _make_bases(docker_of_worker, context.parent / "bases")
    bases = ["--build-arg", f"PYTHON_IMAGE={PYTHON_IMAGE}", "--build-arg", f"UV_IMAGE={UV_IMAGE}"]
    _build(docker_of_worker, context, SERVICE, "--target", "service", *bases, "--file", "deploy/docker/Dockerfile")
    yield docker_of_worker
    # Its layers hold tens of thousands of files.
    docker_of_worker.docker("image", "rm", SERVICE, UV_IMAGE, PYTHON_IMAGE)
    docker_of_worker.docker("image", "prune", "--force")


def _make_bases(engine: DockerEngine, folder: Path) -> None:
    """Stand-ins for what a registry would give: an image with uv, and one with Python and the C++ library that Debian's has."""
    folder.mkdir()
    with tarfile.open(folder / "uv.tar", "w", dereference=True) as tar:
        tar.add(_BIN / "uv", "uv")
    assert engine.docker("import", str(folder / "uv.tar"), UV_IMAGE).returncode == 0
    [compiled] = Path(str(distribution("greenlet").locate_file("greenlet"))).glob("_greenlet*.so")
    listed = subprocess.run([str(shutil.which("ldd")), str(compiled)], check=True, capture_output=True, text=True).stdout
    [library] = re.findall(r"=> (\S+/libstdc\+\+\.so\.6)", listed)
    shutil.copy(library, folder)
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY libstdc++.so.6 {Path(library).parent}/\n")
    _build(engine, folder, PYTHON_IMAGE)


def _build(engine: DockerEngine, context: Path, tag: str, *options: str) -> None:
    command = [str(shutil.which("docker")), "-H", engine.url, "build", "--network", "none", "--tag", tag, *options, "."]
    # The builder that needs no other program.
    variables = {**os.environ, "DOCKER_BUILDKIT": "0"}
    built = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False, timeout=500, env=variables)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]


def _run(engine: DockerEngine, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A container as an orchestrator starts it: a read-only root, no capabilities, no way to get any."""
    locked = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]  # noqa: S108 - in a container
    return engine.docker("run", "--rm", *locked, *arguments)


def test_the_image_of_services_runs_locked_up(service: DockerEngine) -> None:
    greeted = _run(service, SERVICE)
    assert greeted.returncode == 0, greeted.stderr
    assert "Usage: penstock" in greeted.stdout

    helped = _run(service, SERVICE, "coordinator", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "PENSTOCK_SIGNING_KEY" in helped.stdout

    refused = _run(service, "--env", "PENSTOCK_BROKER_URL=amqp://u:p@nowhere/v", SERVICE, "coordinator")
    assert refused.returncode != 0
    assert "PENSTOCK_DATABASE_URL: it is not set" in refused.stderr


def test_the_image_of_services_holds_no_more_than_it_should(service: DockerEngine) -> None:
    program = (
        "import importlib.util as u, os, pathlib; print(os.getuid(), os.access('/var/lib/penstock/cache', os.W_OK), "
        "[name for name in ('pytest', 'hypothesis', 'moto') if u.find_spec(name)], "
        "[str(p) for p in pathlib.Path('/').glob('*/**/signing-key')], pathlib.Path('/build').exists())"
    )
    said = _run(service, "--entrypoint", "python3", SERVICE, "-c", program)

    assert said.stdout.split("\n")[0] == "65532 True [] [] False", said.stderr


def test_the_health_check_of_the_image_fails_where_no_service_answers(service: DockerEngine) -> None:
    asked = _run(service, "--entrypoint", "python3", SERVICE, "/opt/penstock/healthcheck.py", "/livez")

    assert asked.returncode == 1
    assert asked.stderr.startswith("/livez: ")


@pytest.fixture
def containers(
    service: DockerEngine, rabbitmq: RabbitServer, vhost: VirtualHost, empty_database: str, bucket: S3Bucket, tmp_path: Path
) -> Iterator[Containers]:
    """Services as the compose file has them, with the addresses of the tests' servers in their secrets."""
    secrets = tmp_path / "secrets"
    subprocess.run([str(COMPOSE / "make-secrets.sh"), str(secrets)], check=True, capture_output=True)
    written = {
        "broker-url": vhost.url,
        "broker-management-url": rabbitmq.management_url(),
        **{
            f"broker-url-{name}": rabbitmq.url(vhost.name, rabbitmq.add_user(name, vhost=vhost.name, permissions=_NOTHING))
            for name in USERS
        },
        "database-url": empty_database,
        "s3-credentials": "[default]\n"
        f"aws_access_key_id = {bucket.environment['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {bucket.environment['AWS_SECRET_ACCESS_KEY']}\n",
    }
    for name, text in written.items():
        (secrets / name).unlink()
        (secrets / name).write_text(text)
        (secrets / name).chmod(0o444)
    addresses = {"PENSTOCK_ARTIFACTS_URL": bucket.url, "AWS_ENDPOINT_URL_S3": bucket.environment["AWS_ENDPOINT_URL_S3"]}
    containers = Containers(service, SERVICE, secrets, addresses)
    yield containers
    containers.remove()
    for name in USERS:
        rabbitmq.api("DELETE", f"users/{name}")


def test_services_of_the_compose_file_execute_a_run_as_containers_and_end_in_order(containers: Containers, tmp_path: Path) -> None:
    port, health = free_port(), [f"127.0.0.1:{free_port()}" for _ in range(4)]
    containers.job("migration")
    containers.job("topology")
    containers.start("coordinator", "coordinator-1", PENSTOCK_HEALTH_ADDRESS=health[0])
    containers.start("coordinator", "coordinator-2", PENSTOCK_HEALTH_ADDRESS=health[1])
    containers.start("api", "api", "api", "--host", "127.0.0.1", "--port", str(port), PENSTOCK_HEALTH_ADDRESS=health[2])
    containers.start("runner-cpu", "runner", PENSTOCK_HEALTH_ADDRESS=health[3])
    containers.wait_healthy()

    (tmp_path / "penstock.toml").touch()
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    token = (tmp_path / "secrets" / "api-token").read_text().strip()
    own = {"PENSTOCK_API_URL": f"http://127.0.0.1:{port}", "PENSTOCK_API_TOKEN": token}
    submit = [str(_BIN / "penstock"), "submit", "pipeline.py", "--follow"]
    done = subprocess.run(submit, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr + containers.log("runner")
    assert "executed by 65532" in done.stdout
    assert {name: containers.stop(name) for name in ("runner", "api", "coordinator-1", "coordinator-2")} == {
        "runner": 0, "api": 0, "coordinator-1": 0, "coordinator-2": 0,
    }  # fmt: skip
