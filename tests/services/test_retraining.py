"""The example on real services: two coordinators, three runners, a broker and a database."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from penstock.contracts.states import RunState
from penstock.sdk.types import File
from tests.servers.cluster import Cluster

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
    assert runners <= {"runner-1", "runner-2", "runner-3"}


def test_what_was_computed_is_a_hit_the_second_time(cluster: Cluster, example: ModuleType) -> None:
    cluster.run(example.retrain, raw=File("drops/week-1.csv"), trees=(5, 10), depths=(2,))

    again = cluster.run(example.retrain, raw=File("drops/week-1.csv"), trees=(5, 10), depths=(2,))

    assert again.state is RunState.SUCCEEDED
    assert all(step_run.is_hit for several in again.steps.values() for step_run in several)
