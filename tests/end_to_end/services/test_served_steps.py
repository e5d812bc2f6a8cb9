"""Steps that are services of their own: scaled, killed, hung, drained and edited while runs go on."""

import importlib
import linecache
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run
from tests.sdk.written_project import WrittenProject
from tests.servers.cluster import Cluster
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.service import Service

PATIENCE_SECONDS = 8.0
SOURCE = """
    import time
    from pathlib import Path

    from penstock.sdk import each, pipeline, step

    VERSION = 1

    def note(folder: str, text: str) -> None:
        with (Path(folder) / "journal").open("a") as journal:
            journal.write(text + "\\n")

    @step
    def work(number: int, folder: str) -> int:
        note(folder, f"begun {number}")
        while not (Path(folder) / "go").exists():
            time.sleep(0.02)
        note(folder, f"done {number}")
        return number * VERSION

    @step(pool="nowhere")
    def homeless(folder: str) -> int:
        note(folder, "done homeless")
        return 7

    @step(pool="nowhere", timeout=1, retries=1)
    def hanging(folder: str) -> int:
        note(folder, "hangs")
        while (Path(folder) / "journal").read_text().count("hangs") < 2:
            time.sleep(0.02)
        return 8

    @pipeline
    def flow(numbers: list[int], folder: str) -> int:
        work(each(numbers), folder)
        return 1

    @pipeline
    def lonely(folder: str) -> int:
        return homeless(folder)

    @pipeline
    def stuck(folder: str) -> int:
        return hanging(folder)
"""


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq_of_worker: RabbitServer, postgres_of_worker: PostgresServer
) -> Iterator[Cluster]:
    rabbitmq_of_worker.recover()
    settings = {"PENSTOCK_PATIENCE_SECONDS": str(PATIENCE_SECONDS)}
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        coordinators=2,
        runners=[{"cpu": 4}],
        broker=rabbitmq_of_worker,
        database=postgres_of_worker,
        settings=settings,
    ) as cluster:
        yield cluster


class Stage:
    """A cluster, a project with a journal, and the services that a test starts."""

    def __init__(self, cluster: Cluster, project: WrittenProject) -> None:
        self.cluster = cluster
        self.project = project
        self.started: list[Service] = []
        self._folders = 0

    def pipeline(self, name: str = "flow") -> Pipeline[..., Any]:
        self.project.forget()
        linecache.checkcache()
        found: Pipeline[..., Any] = getattr(importlib.import_module("flows"), name)
        return found

    def serve(self, step: str = "work", *options: str) -> Service:
        service = self.cluster.add_service(f"{self.project.root / 'flows.py'}:{step}", *options)
        self.started.append(service)
        service.wait_until_ready()
        return service

    def folder(self) -> Path:
        self._folders += 1
        made = self.project.root / f"folder-{self._folders}"
        made.mkdir()
        return made

    def begin(self, folder: Path, *numbers: int) -> Run[Any]:
        return self.cluster.submit(self.pipeline(), folder=str(folder), numbers=list(numbers))

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        self.cluster.until(lambda: bool(condition()), what, seconds)

    def executor(self) -> str:
        """Who executes the step at the moment."""
        folder = self.folder()
        (folder / "go").touch()
        run = self.begin(folder, 1)
        assert run.wait().state.value == "succeeded"
        return runners(run)[-1]

    def until_served_by(self, *names: str) -> None:
        self.until(lambda: self.executor() in names, f"{names} execute what comes")

    def close(self) -> None:
        for number in range(1, self._folders + 1):
            (self.project.root / f"folder-{number}" / "go").touch()
        for service in self.started:
            service.stop()
            service.close()
            self.cluster.services.pop(service.name)
        # What was served goes to the pool before the next test begins.
        self.until_served_by("runner-1")


@pytest.fixture
def stage(shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("penstock.toml", "")
    project.write("flows.py", SOURCE)
    monkeypatch.chdir(project.root)
    made = Stage(shared, project)
    yield made
    made.close()
    project.forget()


def journal(folder: Path) -> Counter[str]:
    file = folder / "journal"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def begun(folder: Path) -> int:
    return sum(count for text, count in journal(folder).items() if text.startswith("begun"))


def done(folder: Path) -> dict[int, int]:
    """How often each number was executed to its end."""
    return {int(text.split()[1]): count for text, count in journal(folder).items() if text.startswith("done")}


def runners(run: Run[Any], step: str = "work") -> list[str]:
    """Whose attempts succeeded."""
    return [attempt.runner for one in run[step] for attempt in one.view.attempts if attempt.state == "succeeded"]


def test_a_served_step_is_executed_by_its_service_and_scaled(stage: Stage) -> None:
    first = stage.serve("work", "--slots", "2")
    stage.until_served_by(first.name)
    second = stage.serve("work", "--slots", "2")

    folder = stage.folder()
    run = stage.begin(folder, 1, 2, 3, 4, 5, 6)
    stage.until(lambda: begun(folder) == 4, "four are executed at a time, by two services")
    (folder / "go").touch()

    assert run.wait().state.value == "succeeded"
    assert set(runners(run)) == {first.name, second.name}
    assert done(folder) == dict.fromkeys(range(1, 7), 1)


def test_work_of_killed_services_goes_to_the_others_and_then_to_the_pool(stage: Stage) -> None:
    first, second = stage.serve("work", "--slots", "2"), stage.serve("work", "--slots", "2")
    stage.until_served_by(first.name, second.name)
    folder = stage.folder()
    run = stage.begin(folder, *range(8))
    stage.until(lambda: begun(folder) == 4, "both services work")

    second.kill()
    (folder / "go").touch()
    assert run.wait().state.value == "succeeded"
    assert done(folder) == dict.fromkeys(range(8), 1)
    assert set(runners(run)) == {first.name}

    other = stage.folder()
    run = stage.begin(other, *range(8))
    stage.until(lambda: begun(other) == 2, "the service works")
    first.kill()
    stage.until(lambda: begun(other) == 6, "the pool has four slots")
    (other / "go").touch()
    assert run.wait().state.value == "succeeded"
    assert done(other) == dict.fromkeys(range(8), 1)
    assert set(runners(run)) == {"runner-1"}


def test_work_of_a_hung_service_goes_to_the_pool_and_it_serves_again_when_it_wakes(stage: Stage) -> None:
    service = stage.serve("work", "--slots", "2")
    stage.until_served_by(service.name)
    folder = stage.folder()
    run = stage.begin(folder, *range(5))
    stage.until(lambda: begun(folder) == 2, "the service works")
    held = {int(text.split()[1]) for text in journal(folder)}

    service.pause()
    stage.until(lambda: begun(folder) == 6, "the pool has four slots")
    (folder / "go").touch()
    assert run.wait().state.value == "succeeded"
    assert set(runners(run)) == {"runner-1"}

    service.resume()
    stage.until_served_by(service.name)
    # What it held was executed once more, to no effect; what it had not begun was not.
    assert {number: count for number, count in done(folder).items() if number not in held} == dict.fromkeys({*range(5)} - held, 1)
    assert [sum(attempt.state == "succeeded" for attempt in one.view.attempts) for one in run["work"]] == [1] * 5


def test_a_service_that_is_stopped_ends_what_it_began_and_the_rest_goes_to_the_pool_at_once(stage: Stage) -> None:
    service = stage.serve("work", "--slots", "2")
    stage.until_served_by(service.name)
    folder = stage.folder()
    run = stage.begin(folder, *range(4))
    stage.until(lambda: begun(folder) == 2, "the service works")

    service.signal(signal.SIGTERM)
    stage.until(lambda: begun(folder) == 4, "the pool begins the rest", PATIENCE_SECONDS / 2)
    (folder / "go").touch()

    assert run.wait().state.value == "succeeded"
    assert service.wait() == 0
    assert Counter(runners(run)) == {service.name: 2, "runner-1": 2}
    assert done(folder) == dict.fromkeys(range(4), 1)


def test_an_edited_step_goes_to_the_pool_unless_its_service_serves_any_version(stage: Stage) -> None:
    service = stage.serve()
    stage.until_served_by(service.name)
    stage.project.replace("flows.py", "VERSION = 1", "VERSION = 2")

    assert stage.executor() == "runner-1"

    any_version = stage.serve("work", "--any-version")
    stage.until_served_by(any_version.name, service.name)
    stage.project.replace("flows.py", "VERSION = 2", "VERSION = 3")
    assert stage.executor() in (any_version.name, service.name)


def test_work_that_waits_for_a_pool_without_runners_is_taken_by_a_service_that_comes(stage: Stage) -> None:
    folder = stage.folder()
    run = stage.cluster.submit(stage.pipeline("lonely"), folder=str(folder))
    stage.until(lambda: stage.cluster.client.rows("SELECT 1 FROM ready WHERE pool = 'nowhere'"), "it waits")

    service = stage.serve("homeless")

    assert run.wait().state.value == "succeeded"
    assert runners(run, "homeless") == [service.name]


def test_a_hanging_guest_of_a_service_is_stopped_after_the_timeout_of_its_step(stage: Stage) -> None:
    service = stage.serve("hanging")
    folder = stage.folder()
    run = stage.cluster.run(stage.pipeline("stuck"), folder=str(folder))

    assert run.state.value == "succeeded"
    [step_run] = run["hanging"]
    assert [attempt.state for attempt in step_run.view.attempts] == ["failed", "succeeded"]
    assert {attempt.runner for attempt in step_run.view.attempts} == {service.name}
