"""The example on real services (two coordinators, three runners, a broker, a database, an S3 server) and on a laptop."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penstock.contracts.artifacts import content_digest
from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.deploy.embedded.shelf import NOT_SHARED, SharedArtifacts
from penstock.sdk.client import EngineClient
from penstock.sdk.runs.run import Run
from penstock.sdk.runs.state_home import using_engine
from penstock.sdk.types import File
from tests.servers.cluster import Cluster

Digests = dict[tuple[str, tuple[int, ...], str], str]

EXAMPLE = Path(__file__).parents[2] / "examples" / "retrain"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The pipeline file, imported from a copy of its project."""
    folder = tmp_path_factory.mktemp("project") / "retrain"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".penstock"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.chdir(folder)
        sys.modules.pop("pipeline", None)
        yield importlib.import_module("pipeline")
        sys.modules.pop("pipeline", None)


def test_a_model_is_retrained_by_three_runners(cluster: Cluster, example: ModuleType) -> None:
    run = cluster.run(example.retrain, raw=File("drops/week-1.csv"), trees=(5, 10), depths=(2,))

    assert run.state is RunState.SUCCEEDED
    runners = {row[0] for row in cluster.client.rows("SELECT DISTINCT runner FROM attempt WHERE state = 'succeeded'")}
    assert len(runners) > 1


def test_what_was_computed_is_a_hit_the_second_time(cluster: Cluster, example: ModuleType) -> None:
    cluster.run(example.retrain, raw=File("drops/week-1.csv"), trees=(5, 10), depths=(2,))

    again = cluster.run(example.retrain, raw=File("drops/week-1.csv"), trees=(5, 10), depths=(2,))

    assert again.state is RunState.SUCCEEDED
    assert all(step_run.is_hit for several in again.steps.values() for step_run in several)


def test_services_and_a_laptop_make_the_same_bytes(cluster: Cluster, example: ModuleType, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"raw": File("drops/week-1.csv"), "trees": (6, 12), "depths": (3,)}
    laptop = EmbeddedClient(tmp_path / "home", shared=NOT_SHARED)
    with using_engine(laptop):
        ours = digests(laptop, example.retrain.run(**parameters))
    laptop.close()

    theirs = digests(cluster.engine, cluster.run(example.retrain, **parameters))

    assert len(ours) > 10
    assert theirs == ours


def test_what_a_laptop_computed_in_the_shared_store_is_a_hit_for_the_services(
    cluster: Cluster, example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters: dict[str, Any] = {"raw": File("drops/week-2.csv"), "trees": (7, 14), "depths": (3,)}
    for name in [name for name in cluster.settings if name.startswith("AWS_")]:
        monkeypatch.setenv(name, cluster.settings[name])
    laptop = EmbeddedClient(tmp_path / "home", shared=SharedArtifacts(url=cluster.settings["PENSTOCK_ARTIFACTS_URL"], sharing="read-write"))
    with using_engine(laptop):
        first = example.retrain.run(**parameters)
        executed = [step_run for several in first.steps.values() for step_run in several if not step_run.is_hit]
    laptop.close()

    run = cluster.run(example.retrain, **parameters)

    assert len(executed) > 10
    assert run.state is RunState.SUCCEEDED
    assert [step_run for several in run.steps.values() for step_run in several if not step_run.is_hit] == []


def digests(engine: EngineClient, run: Run[Any]) -> Digests:
    """What a reader of each output of each step run can observe."""
    assert run.state is RunState.SUCCEEDED
    return {
        (view.step, view.index, name): content_digest(value)
        for view in engine.step_runs(run.run_id)
        for name, value in view.outputs.items()
    }
