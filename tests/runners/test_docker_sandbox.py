"""What a step in a container can and can't do, seen from inside, on a real engine."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.spec import OutputSpec, ResourcesSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.docker.places import WORK
from penstock.runners.docker.sandbox import Limits, Program, container_config
from tests.runners.docker_bench import DockerBench, docker_bench, read_from, written_to
from tests.servers.docker import DockerEngine
from tests.servers.docker_image import python_archive

_LOOK = """
import json, os, socket, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def tried(action):
    try:
        action()
        return "allowed"
    except OSError as error:
        return os.strerror(error.errno)
print(json.dumps({
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "connect": tried(lambda: socket.create_connection(("203.0.113.1", 80), timeout=1)),
    "root": tried(lambda: open("/written", "w")),
    "system": tried(lambda: open("/etc/written", "w")),
    "inputs": tried(lambda: open("/penstock/inputs/written", "w")),
    "temporary": tried(lambda: open("/tmp/written", "w")),
    "work": tried(lambda: open("written", "w")),
    "mount": tried(lambda: os.setxattr("/tmp", "trusted.x", b"")),
    "sockets": [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)],
    "penstock": sorted(os.listdir("/penstock")),
    "variables": sorted(os.environ),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "working_directory": os.getcwd(),
}))
"""


@pytest.fixture
async def seen(containers: DockerBench) -> dict[str, Any]:
    completed = await containers.execute(containers.command("python3", "-c", _LOOK))
    return json.loads(await containers.said(completed))  # type: ignore[no-any-return]  # plain data


async def test_a_step_in_a_container_has_no_privileges_and_no_network(seen: dict[str, Any]) -> None:
    assert seen["user"] == [65532, 65532, [65532]] if os.geteuid() == 0 else seen["user"][0] == os.geteuid()
    assert set(seen["capabilities"]) == {"0000000000000000"}
    assert seen["no_new_privileges"] == "1"
    assert seen["seccomp"] == "2", "a filter"
    assert seen["connect"] == "Network is unreachable"
    assert "eth0" not in seen["interfaces"]


async def test_it_can_write_into_its_own_folder_and_temporary_files_only(seen: dict[str, Any]) -> None:
    assert seen["root"] == seen["system"] == seen["inputs"] == "Read-only file system"
    assert seen["temporary"] == seen["work"] == "allowed"
    assert seen["mount"] == "Operation not permitted"


async def test_it_sees_nothing_of_the_host(seen: dict[str, Any]) -> None:
    assert seen["sockets"] == []
    assert seen["penstock"] == ["box", "inputs"]
    assert seen["processes"] <= 2, "the first process of the container and this one"
    assert seen["working_directory"] == "/penstock/box/work"
    assert not {"TMPDIR", "LOGNAME", "VIRTUAL_ENV"} & set(seen["variables"])


async def test_too_many_processes_are_refused(docker: DockerEngine, tmp_path: Path) -> None:
    code = """
import os, time
made = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except BlockingIOError:
    print(made, flush=True)
    os._exit(0)
"""
    async with docker_bench(docker, tmp_path, processes=16) as bench:
        completed = await bench.execute(bench.command("python3", "-c", code))

        assert int(await bench.said(completed)) < 16


async def test_a_step_that_uses_more_memory_than_it_stated_fails_for_that(containers: DockerBench) -> None:
    resources = ResourcesSpec(memory_bytes=48 * 2**20)

    completed = await containers.execute(containers.command("python3", "-c", "held = bytearray(200 << 20)", resources=resources))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.MEMORY
    assert completed.failure.message == "it used more than its 48 MiB of memory"


async def test_temporary_files_are_bounded(docker: DockerEngine, tmp_path: Path) -> None:
    async with docker_bench(docker, tmp_path, scratch_bytes=2**20) as bench:
        completed = await bench.shell("dd if=/dev/zero of=/tmp/large bs=65536 count=64")

        assert completed.outcome == AttemptState.FAILED
        assert "No space left on device" in await bench.bench.log(completed)


async def test_an_input_can_not_be_changed(containers: DockerBench) -> None:
    table = await containers.bench.file("as it was", ".csv")
    step = containers.command("sh", "-c", "cat $0; (echo other >> $0) 2>/dev/null || echo refused", read_from("table"))

    completed = await containers.execute(step, inputs={"table": table})

    assert await containers.said(completed) == "as it wasrefused\n"
    assert await containers.bench.text(table) == "as it was"


async def test_a_device_can_not_be_made(containers: DockerBench) -> None:
    code = "import os, stat\ntry:\n  os.mknod('device', stat.S_IFBLK, os.makedev(8, 0))\nexcept OSError as error:\n  print(error.strerror)"

    completed = await containers.execute(containers.command("python3", "-c", code))

    assert await containers.said(completed) == "Operation not permitted\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ln -s /etc/passwd $0", "is a link"),
        ("ln -s ../../.. $0", "is a link"),
        ("mkfifo $0", "not a plain file"),
        ("rm -r ../work; ln -s /etc ../work", "is a link"),
    ],
    ids=["a-link-to-a-file", "a-link-upwards", "a-pipe", "a-link-in-place-of-its-folder"],
)
@pytest.mark.parametrize("kind", ["file", "value"])
async def test_an_output_that_is_no_plain_file_is_refused(containers: DockerBench, script: str, reason: str, kind: Any) -> None:
    outputs = (OutputSpec(name="out", kind=kind, path="passwd"),)
    code = "import os, shutil, sys\nos.chdir('/')\nshutil.rmtree('/penstock/box/work')\nos.symlink('/etc', '/penstock/box/work')"
    command = ["python3", "-c", code] if script.startswith("rm") else ["sh", "-c", script]

    completed = await containers.execute(containers.command(*command, written_to("out"), outputs=outputs))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert reason in completed.failure.message
    assert completed.outputs == {}


async def test_a_link_in_a_directory_output_is_refused(containers: DockerBench) -> None:
    outputs = (OutputSpec(name="out", kind="directory", path="out"),)

    completed = await containers.execute(containers.command("sh", "-c", "ln -s /etc/passwd $0/users", written_to("out"), outputs=outputs))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert "is a link" in completed.failure.message


async def test_folders_without_end_fail_the_step_and_are_removed(containers: DockerBench) -> None:
    code = "import os\nfor _ in range(3000):\n    os.mkdir('e')\n    os.chdir('e')\nopen('end', 'w').close()"
    outputs = (OutputSpec(name="out", kind="directory", path="d"),)

    completed = await containers.execute(containers.command("python3", "-c", code, outputs=outputs))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert list(containers.artifacts.staging.rglob("box")) == []


@pytest.mark.parametrize("path", ["../../../../escaped", "/escaped", "a/../../escaped"])
async def test_an_output_path_that_leads_outside_is_refused(containers: DockerBench, path: str) -> None:
    outputs = (OutputSpec(name="out", kind="file", path=path),)

    completed = await containers.execute(containers.command("sh", "-c", "true", written_to("out"), outputs=outputs))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT
    assert "relative path" in completed.failure.hint


async def test_a_program_folder_that_leads_out_of_the_snapshot_is_refused(containers: DockerBench) -> None:
    step = containers.command("ls", workdir="../../..")

    completed = await containers.execute(step, await containers.bench.snapshot(""))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT


async def test_places_that_an_image_declares_as_volumes_are_bounded_too(docker: DockerEngine, tmp_path: Path) -> None:
    made = docker.docker("import", "--change", "VOLUME /data", str(python_archive()), "penstock-test:volumes")
    assert made.returncode == 0, made.stderr
    async with docker_bench(docker, tmp_path, scratch_bytes=2**20) as bench:
        completed = await bench.shell("dd if=/dev/zero of=/data/large bs=65536 count=64", image="penstock-test:volumes")

        assert "No space left on device" in await bench.bench.log(completed)
    assert docker.docker("volume", "ls", "--quiet").stdout == ""


def test_a_network_is_there_only_where_it_was_asked_for() -> None:
    program = Program(image="x", command=["x"], workdir=WORK, variables={}, mounts=[], labels={})

    closed, opened = (container_config(each, ResourcesSpec(), Limits(user="1:1")) for each in (program, replace(program, network="bridge")))

    assert (closed["NetworkDisabled"], closed["HostConfig"]["NetworkMode"]) == (True, "none")
    assert (opened["NetworkDisabled"], opened["HostConfig"]["NetworkMode"]) == (False, "bridge")


def test_gpus_are_those_that_were_given_else_as_many_as_were_asked_for() -> None:
    limits = Limits(user="1:1")
    program = Program(image="x", command=["x"], workdir=WORK, variables={}, mounts=[], labels={})
    given = replace(program, devices=("GPU-1", "GPU-3"))

    requests = [container_config(each, ResourcesSpec(gpu=2), limits)["HostConfig"]["DeviceRequests"][0] for each in (given, program)]

    assert requests[0]["DeviceIDs"] == ["GPU-1", "GPU-3"]
    assert requests[1]["Count"] == 2
    assert "DeviceRequests" not in container_config(program, ResourcesSpec(), limits)["HostConfig"]
