"""A user's project: a test writes it, runs it on a real embedded engine, edits it and runs it again."""

import importlib
import linecache
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk.options import RunOptions
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run, StepRun
from penstock.sdk.runs.state_home import using_engine
from tests.sdk.written_project import WrittenProject


class UserProject(WrittenProject):
    """Its pipelines run on `client`, in this process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, client: EmbeddedClient) -> None:
        super().__init__(root, monkeypatch)
        self.client = client

    def pipeline(self, name: str = "flow", module: str = "pipeline") -> Pipeline[..., Any]:
        """A pipeline of the module as it is written now."""
        self.forget()
        linecache.checkcache()
        found: Pipeline[..., Any] = getattr(importlib.import_module(module), name)
        return found

    def run(self, name: str = "flow", module: str = "pipeline", *, options: RunOptions | None = None, **parameters: Any) -> Run[Any]:
        """A run that has ended, however."""
        return ended(self.client, self.pipeline(name, module), options, **parameters)

    def begin(self, name: str = "flow", **parameters: Any) -> Run[Any]:
        """A run that has just been started."""
        return begun(self.client, self.pipeline(name), **parameters)


def begun(client: EmbeddedClient, pipeline: Pipeline[..., Any], options: RunOptions | None = None, **parameters: Any) -> Run[Any]:
    """A run of `pipeline` on `client` that has just been started."""
    with using_engine(client):
        return pipeline.options(**(options or {})).submit(**parameters)


def ended(client: EmbeddedClient, pipeline: Pipeline[..., Any], options: RunOptions | None = None, **parameters: Any) -> Run[Any]:
    """A run of `pipeline` on `client` that has ended, however."""
    return begun(client, pipeline, options, **parameters).wait()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns when `condition` holds.

    :raises TimeoutError: it did not in that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s, {condition} does not hold")
        time.sleep(0.01)


def step_runs(run: Run[Any]) -> Iterable[StepRun[Any]]:
    """All step runs of a run."""
    return [step_run for several in run.steps.values() for step_run in several]


def executed(run: Run[Any]) -> list[str]:
    """The step runs whose code was executed, as `train/3`."""
    return [address(step_run) for step_run in step_runs(run) if step_run.attempts and not step_run.is_hit]


def address(step_run: StepRun[Any]) -> str:
    """`train/3`."""
    return "/".join([step_run.step, *map(str, step_run.index)])


def failure_of(run: Run[Any], step: str) -> str:
    """All that the failure of a step says to people: message, hint and traceback."""
    failure = run[step][0].view.failure
    return "" if failure is None else "\n".join([failure.traceback, f"{failure.kind}: {failure.message}", failure.hint])
