"""Steps in images on a laptop: the embedded engine finds the Docker engine when the first of them comes."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.states import RunState
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.state_home import close_engines
from tests.sdk.written_project import WrittenProject
from tests.servers.docker import IMAGE, DockerEngine

FLOW = f"""
    import os
    from penstock.sdk import Environment, pipeline, step

    @step(environment=Environment.from_image("{IMAGE}"))
    def inside(number: int) -> list[int]:
        return [number * 2, int(os.path.exists("/penstock/box"))]

    @step
    def outside(seen: list[int]) -> list[int]:
        return [*seen, int(os.path.exists("/penstock/box"))]

    @pipeline
    def flow(number: int) -> list[int]:
        return outside(inside(number))
    """


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Pipeline[..., Any]]]:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("penstock.toml", "")
    project.write("contained.py", FLOW)
    monkeypatch.chdir(project.root)
    yield lambda: importlib.import_module("contained").flow
    close_engines()
    project.forget()


def test_a_step_in_an_image_runs_in_a_container_and_the_next_one_does_not(
    flow: Callable[[], Pipeline[..., Any]], docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.url)

    run = flow().run(number=21)

    assert run.result() == [42, 1, 0]
    assert docker.docker("ps", "--all", "--quiet").stdout == ""


def test_without_an_engine_the_step_fails_and_says_what_to_start(
    flow: Callable[[], Pipeline[..., Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")

    run = flow().submit(number=21).wait()

    [inside] = run["inside"]
    assert run.state is RunState.FAILED
    assert inside.attempts[-1].failure is not None
    assert "the Docker engine can't be reached" in inside.attempts[-1].failure.message
    assert "DOCKER_HOST" in inside.attempts[-1].failure.hint
