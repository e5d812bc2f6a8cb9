"""Commands in containers that have nothing of Penstock inside: what they get, what they give, how they end."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryEntry, DirectoryManifest, ListValue, manifest_bytes
from penstock.contracts.errors import InfrastructureError
from penstock.contracts.names import PYTHON
from penstock.contracts.spec import OutputSpec, ResourcesSpec, SecretRef
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.docker.owner import Owner
from penstock.runners.launchers.chosen import LauncherByIsolation, LauncherOnDemand
from penstock.runners.launchers.docker import DockerLauncher
from penstock.runners.launchers.memory import MemoryLauncher
from penstock.runners.log_file import log_path
from tests.runners.docker_bench import DockerBench, docker_bench, read_from, written_to
from tests.runners.workbench import Workbench, a_step, an_order, unheard, until
from tests.servers.docker import IMAGE, DockerEngine


async def test_a_command_reads_files_and_values_and_gives_what_it_wrote(containers: DockerBench) -> None:
    outputs = (OutputSpec(name="upper", kind="file", path="upper.txt"), OutputSpec(name="count"), OutputSpec(name="all", kind="directory"))
    code = """
import os, shutil, sys
table, times, upper, count, folder = sys.argv[1:]
assert os.path.basename(table) == "table.csv"
open(upper, "w").write(open(table).read().upper() * int(times))
open(count, "w").write('{"rows": 1}')
shutil.copy(table, folder)
"""
    places = [written_to(output.name) for output in outputs]
    step = containers.command("python3", "-c", code, read_from("table"), read_from("times"), *places, outputs=outputs)

    completed = await containers.execute(step, inputs={"table": await containers.bench.file("text", ".csv"), "times": 2})

    assert completed.outcome == AttemptState.SUCCEEDED, completed.failure
    assert await containers.bench.text(completed.outputs["upper"]) == "TEXTTEXT"
    assert containers.bench.value(completed, "count") == {"rows": 1}
    manifest = DirectoryManifest.model_validate_json(await containers.bench.text(completed.outputs["all"]))
    assert [entry.path for entry in manifest.files] == ["table.csv"]
    assert not any(containers.artifacts.staging.rglob("*.txt")), "nothing of the attempt is left"


async def test_folders_and_lists_of_files_are_inputs(containers: DockerBench) -> None:
    files = [await containers.bench.file(text, ".txt") for text in ("one ", "two ")]
    entries = tuple(DirectoryEntry(path=f"deep/{i}.txt", digest=ref.digest, size=ref.size) for i, ref in enumerate(files))
    manifest = manifest_bytes(DirectoryManifest(files=entries))
    digest = await containers.artifacts.write(manifest)
    folder = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(manifest), kind="directory", media_type=DIRECTORY)
    step = containers.command("sh", "-c", "cat $0/deep/* $@", read_from("folder"), read_from("files"))
    order = an_order(step, inputs={"folder": folder}).model_copy(
        update={"inputs": {"folder": folder, "files": ListValue(list=tuple(files))}}
    )

    completed = await containers.launcher.execute(order, step, unheard)

    assert await containers.said(completed) == "one two one two "


async def test_a_program_of_the_project_runs_in_a_copy_of_its_folder(containers: DockerBench) -> None:
    snapshot = await containers.bench.snapshot(
        "", **{"scripts/fit/fit.py": "import part\nprint(part.NAME)", "scripts/fit/part.py": "NAME = 'part'"}
    )
    step = containers.command(PYTHON, "fit.py", workdir="scripts/fit")

    assert await containers.said(await containers.execute(step, snapshot)) == "part\n"


async def test_the_entry_point_of_an_image_does_not_change_the_command(docker: DockerEngine, containers: DockerBench) -> None:
    container = docker.docker("create", IMAGE, "sh").stdout.strip()
    docker.docker("commit", "--change", 'ENTRYPOINT ["sleep"]', "--change", "ENV FROM_IMAGE=yes", container, "penstock-test:entry")
    docker.docker("rm", container)

    completed = await containers.execute(containers.command("sh", "-c", "echo $FROM_IMAGE", image="penstock-test:entry"))

    assert (await containers.said(completed)).endswith("yes\n")


async def test_an_exit_status_is_an_error_with_the_end_of_the_log(containers: DockerBench) -> None:
    completed = await containers.shell("echo no such column >&2; exit 3")

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ERROR
    assert completed.failure.message == "sh ended with exit status 3"
    assert "no such column" in completed.failure.traceback


async def test_a_signal_is_told_by_its_name(containers: DockerBench) -> None:
    completed = await containers.shell("kill -SEGV $$")

    assert completed.failure is not None
    assert (completed.failure.kind, completed.failure.message) == (FailureKind.SIGNAL, "killed by SIGSEGV")


async def test_an_output_that_was_not_written_fails_the_step(containers: DockerBench) -> None:
    outputs = (OutputSpec(name="out", kind="file"),)

    completed = await containers.execute(containers.command("sh", "-c", "true", written_to("out"), outputs=outputs))

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.OUTPUT
    assert "was not written" in completed.failure.message


async def test_a_step_is_stopped_at_its_timeout_and_its_log_is_kept(containers: DockerBench) -> None:
    completed = await containers.shell("trap 'echo asked; exit 0' TERM; echo begun; sleep 600 & wait", timeout_seconds=0.5)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.TIMEOUT
    assert "begun\nasked\n" in await containers.bench.log(completed)


async def test_a_step_that_does_not_listen_is_killed(containers: DockerBench) -> None:
    async with asyncio.timeout(30):
        completed = await containers.shell("trap '' TERM; while true; do sleep 1; done", timeout_seconds=0.2)

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.TIMEOUT


async def test_a_cancelled_step_leaves_no_container(containers: DockerBench) -> None:
    step = containers.command("sh", "-c", "echo begun; sleep 600")
    order = an_order(step)
    log = log_path(containers.bench.folder / "state", order.run_id, step.name, order.index, order.attempt.attempt_no)
    executing = asyncio.create_task(containers.launcher.execute(order, step, unheard))
    await until(lambda: log.exists() and "begun" in log.read_text())

    executing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await executing
    assert containers.containers() == []


async def test_long_output_keeps_its_beginning_and_end(docker: DockerEngine, tmp_path: Path) -> None:
    async with docker_bench(docker, tmp_path, log_limit_bytes=2000) as bench:
        completed = await bench.execute(bench.command("python3", "-c", "print('first'); print('x' * 100_000); print('last')"))

        log = await bench.bench.log(completed)
    assert "first" in log
    assert "bytes dropped" in log
    assert log.endswith("last\n")


async def test_secrets_are_given_and_masked(containers: DockerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "hunter-22")
    variables = {"TOKEN": SecretRef(secret="token"), "REGION": "eu"}

    completed = await containers.shell("echo $REGION $TOKEN; test $TOKEN = hunter-22", env_vars=variables)

    assert await containers.said(completed) == "eu ***\n"


async def test_a_secret_that_is_not_known_fails_the_step(containers: DockerBench) -> None:
    completed = await containers.shell("true", env_vars={"TOKEN": SecretRef(secret="token")})

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT


async def test_which_image_a_tag_was_is_in_the_log(containers: DockerBench) -> None:
    digest = containers.engine.docker("inspect", "--format", "{{.Id}}", IMAGE).stdout.strip()

    assert await containers.bench.log(await containers.shell("true")) == f"image {IMAGE} is {digest}\n"


async def test_an_image_may_be_named_by_its_digest(containers: DockerBench) -> None:
    digest = containers.engine.docker("inspect", "--format", "{{.Id}}", IMAGE).stdout.strip()

    assert (await containers.shell("true", image=digest)).outcome == AttemptState.SUCCEEDED


async def test_a_missing_image_says_what_to_do(containers: DockerBench) -> None:
    completed = await containers.shell("true", image="127.0.0.1:1/nowhere/nothing:1")

    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT
    assert "'127.0.0.1:1/nowhere/nothing:1' is not there, and can't be pulled" in completed.failure.message
    assert "docker pull 127.0.0.1:1/nowhere/nothing:1" in completed.failure.hint
    assert "pulling the image" in await containers.bench.log(completed)


async def test_a_step_without_an_image_says_so(containers: DockerBench) -> None:
    completed = await containers.execute(containers.command("true").model_copy(update={"software": None}))

    assert completed.failure is not None
    assert "needs an image" in completed.failure.message
    assert "from_image" in completed.failure.hint


async def test_a_program_that_the_image_does_not_have_says_so(containers: DockerBench) -> None:
    completed = await containers.execute(containers.command("gfortran"))

    assert completed.failure is not None
    assert (completed.failure.kind, completed.failure.message) == (FailureKind.ENVIRONMENT, "'gfortran' is not in the image")


async def test_a_lost_input_ends_the_attempt_as_that(containers: DockerBench) -> None:
    table = await containers.bench.file("text", ".csv")
    await containers.artifacts.delete(table.digest)

    completed = await containers.execute(containers.command("cat", read_from("table")), inputs={"table": table})

    assert (completed.outcome, completed.lost_digest) == (AttemptState.INPUT_LOST, table.digest)


async def test_an_input_that_only_python_can_read_is_no_argument(containers: DockerBench) -> None:
    pickled = (await containers.bench.file("not even a pickle", "")).model_copy(update={"media_type": "application/vnd.penstock.pickle"})
    step = containers.command("echo", read_from("values"))
    order = an_order(step).model_copy(update={"inputs": {"values": ListValue(list=(pickled,))}})

    completed = await containers.launcher.execute(order, step, unheard)

    assert completed.failure is not None
    assert "is no argument" in completed.failure.message


async def test_cores_that_the_machine_does_not_have_are_no_error(containers: DockerBench) -> None:
    assert (await containers.shell("true", resources=ResourcesSpec(cpu=512))).outcome == AttemptState.SUCCEEDED


async def test_an_engine_that_is_away_is_no_fault_of_the_step(containers: DockerBench) -> None:
    launcher = DockerLauncher(
        containers.artifacts, containers.bench.folder, Owner(runner="r", incarnation="i"), url="unix:///nonexistent/docker.sock"
    )
    step = containers.command("true")

    with pytest.raises(InfrastructureError, match=r"can't be reached.*is it running"):
        await launcher.execute(an_order(step), step, unheard)
    await launcher.close()


async def test_an_engine_that_dies_under_a_step_gives_the_attempt_back(docker: DockerEngine, containers: DockerBench) -> None:
    step = containers.command("sh", "-c", "echo begun; sleep 600")
    order = an_order(step)
    log = log_path(containers.bench.folder / "state", order.run_id, step.name, order.index, order.attempt.attempt_no)
    executing = asyncio.create_task(containers.launcher.execute(order, step, unheard))
    await until(lambda: log.exists() and "begun" in log.read_text())

    await asyncio.to_thread(docker.kill)

    with pytest.raises(InfrastructureError):
        await asyncio.wait_for(executing, 60)
    await asyncio.to_thread(docker.start)
    docker.docker("rm", "--force", *containers.containers())


_RUNNER = """
import asyncio, sys
from pathlib import Path
from penstock.contracts.messages import Order
from penstock.contracts.spec import StepSpec
from penstock.runners.docker.owner import Owner
from penstock.runners.launchers.docker import DockerLauncher
from penstock.transport.artifact_stores.folder import FolderArtifactStore

async def main(url: str, folder: Path) -> None:
    launcher = DockerLauncher(FolderArtifactStore(folder / "store"), folder / "state", Owner(runner="runner", incarnation="first"), url=url)
    order = Order.model_validate_json((folder / "order.json").read_bytes())
    await launcher.execute(order, StepSpec.model_validate_json(order.step), lambda done, total, text: None)

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


async def test_a_restarted_runner_removes_what_its_predecessor_left(docker: DockerEngine, tmp_path: Path) -> None:
    async with docker_bench(docker, tmp_path, runner="runner", incarnation="second") as bench:
        order = an_order(bench.command("sh", "-c", "echo begun; sleep 600"))
        (tmp_path / "order.json").write_text(order.model_dump_json())
        predecessor = await asyncio.create_subprocess_exec(sys.executable, "-c", _RUNNER, docker.url, str(tmp_path))
        log = log_path(tmp_path / "state", order.run_id, "command", order.index, order.attempt.attempt_no)
        await until(lambda: log.exists() and "begun" in log.read_text())
        predecessor.send_signal(signal.SIGKILL)
        await predecessor.wait()
        others = docker.docker("create", "--label", "penstock.runner=other", IMAGE, "true").stdout.strip()
        (left,) = set(docker.docker("ps", "--quiet", "--no-trunc").stdout.split())
        labels = docker.docker("inspect", "--format", '{{index .Config.Labels "penstock.attempt"}}', left).stdout.strip()
        assert labels == "run-1/command/attempt-1"

        assert await bench.launcher.clear_leftovers() == 1

        assert docker.docker("ps", "--all", "--quiet", "--no-trunc").stdout.split() == [others]
        assert list(bench.artifacts.staging.rglob("box")) == []
        docker.docker("rm", others)


async def test_steps_go_to_the_launcher_of_their_isolation(workbench: Workbench) -> None:
    processes, in_containers = MemoryLauncher({"main": lambda _: {}}), MemoryLauncher({"main": lambda _: {}})
    launcher = LauncherByIsolation(processes, in_containers)
    forked, contained = a_step(output=None), a_step(output=None, isolation="docker")

    for step in (forked, contained):
        await launcher.execute(an_order(step), step, unheard)
    await launcher.close()

    assert [len(other.executed) for other in (processes, in_containers)] == [1, 1]
    without = await LauncherByIsolation(processes, None).execute(an_order(contained), contained, unheard)
    assert without.failure is not None
    assert without.failure.message == "this runner has no Docker engine, and the step runs in an image"


async def test_a_launcher_on_demand_is_made_by_its_first_order() -> None:
    made: list[MemoryLauncher] = []

    async def make() -> MemoryLauncher:
        made.append(MemoryLauncher({"main": lambda _: {}}))
        return made[-1]

    launcher, step = LauncherOnDemand(make), a_step(output=None)
    assert made == []

    for _ in range(2):
        await launcher.execute(an_order(step), step, unheard)
    await launcher.close()

    assert [len(other.executed) for other in made] == [2]
