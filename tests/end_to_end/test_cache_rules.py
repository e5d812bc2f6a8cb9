"""What is cached and for how long, and that chance is no chance where the code and its inputs are the same."""

import sqlite3
from pathlib import Path

import pytest

from penstock.contracts.states import RunState
from penstock.sdk import Directory, File
from tests.end_to_end.user_project import UserProject, executed

PIPELINE = """
import os
import random
import time
from collections.abc import Sequence

import numpy as np

from penstock.sdk import Directory, File, Secret, collect, current_run, each, pipeline, step

@step
def train(seed: int) -> list[float]:
    return [random.random(), float(np.random.rand()), hash("text") % 1000]

@pipeline
def unseeded(seeds: Sequence[int] = (1, 2, 3)) -> list[list[float]]:
    return collect(train(each(seeds)))

@pipeline
def drawn_alike() -> list[list[float]]:
    return collect(train_again(each([1, 1])))

@step
def train_again(x: int) -> list[float]:
    return [random.random()]

@step(cache="1d")
def fetch() -> int:
    return 5

@pipeline
def daily() -> int:
    return fetch()

@step
def tell(x: int) -> None:
    print(x)

@pipeline
def telling() -> None:
    tell(1)
    tell.options(name="once", cache=True)(2)

@step(env_vars={"REGION": "eu", "TOKEN": Secret("token")})
def located() -> str:
    return os.environ["REGION"]

@pipeline
def placed() -> str:
    return located()

@step
def measure(data: File, folder: Directory) -> int:
    return len(data.path.read_text()) + sum(len(file.path.read_text()) for file in folder.files())

@pipeline
def measured(data: File, folder: Directory) -> int:
    return measure(data, folder)

@step
def who() -> str:
    return current_run().run_id

@step
def which(x: int) -> int:
    return current_run().index[0]

@pipeline
def nosy() -> tuple[str, list[int]]:
    return who(), collect(which(each([7, 8])))

@step(cache=False)
def uncached() -> int:
    return 1

@step
def after_uncached(x: int) -> int:
    return x

@pipeline
def cutoff() -> int:
    return after_uncached(uncached())

@step
def noisy(x: int) -> float:
    return time.time()

@pipeline
def clock() -> float:
    return noisy(1)
"""


@pytest.fixture
def rules(project: UserProject) -> UserProject:
    project.write("pipeline.py", PIPELINE)
    return project


def test_unseeded_training_gives_the_same_bytes_twice(rules: UserProject) -> None:
    first = rules.run("unseeded")
    second = rules.run("unseeded", options={"rerun": "all"})

    assert executed(second) == ["train/0", "train/1", "train/2"]
    assert second.result() == first.result()
    assert not any(step_run.view.is_nondeterministic for step_run in second["train"])


def test_the_items_of_a_fan_out_draw_different_numbers(rules: UserProject) -> None:
    first, second, third = rules.run("unseeded").result()

    assert all(len({first[n], second[n], third[n]}) == 3 for n in range(2))


def test_a_result_older_than_it_may_be_is_computed_again(rules: UserProject) -> None:
    rules.run("daily")
    assert executed(rules.run("daily")) == []

    age_cache(rules, hours=23)
    assert executed(rules.run("daily")) == []
    age_cache(rules, hours=2)
    run = rules.run("daily")

    assert executed(run) == ["fetch"]
    assert "older than it may be" in run.why("fetch").verdict


def test_a_hit_knows_its_age_and_its_run(rules: UserProject) -> None:
    first = rules.run("daily")
    age_cache(rules, hours=5)

    hit = rules.run("daily")["fetch"][0].view

    assert hit.hit_run == first.name
    assert hit.hit_age_seconds == pytest.approx(5 * 3600, abs=300)


def test_a_step_that_returns_nothing_is_executed_each_time(rules: UserProject) -> None:
    rules.run("telling")
    run = rules.run("telling")

    assert executed(run) == ["tell"]
    assert "not cached" in run.why("tell").verdict


def test_a_step_that_returns_nothing_is_cached_where_it_says_so(rules: UserProject) -> None:
    rules.run("telling")

    assert rules.run("telling")["once"].is_hit


def test_a_declared_variable_reruns_its_step_and_a_secret_counts_by_name(rules: UserProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "first")
    rules.run("placed")

    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", "second")
    assert executed(rules.run("placed")) == []
    rules.replace("pipeline.py", '"REGION": "eu"', '"REGION": "us"')
    run = rules.run("placed")

    assert executed(run) == ["located"]
    assert "variable REGION" in run.why("located").verdict


def test_inputs_count_by_their_bytes_and_not_by_their_places(rules: UserProject, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "data.csv").write_text("same")
        (tmp_path / name / "folder" / "part.csv").write_text("part")
    rules.run("measured", data=File(tmp_path / "here/data.csv"), folder=Directory(tmp_path / "here/folder"))

    moved = rules.run("measured", data=File(tmp_path / "there/data.csv"), folder=Directory(tmp_path / "there/folder"))
    (tmp_path / "there/folder/part.csv").write_text("party")
    changed = rules.run("measured", data=File(tmp_path / "there/data.csv"), folder=Directory(tmp_path / "there/folder"))

    assert executed(moved) == []
    assert executed(changed) == ["measure"]
    assert "input folder (parameter folder)" in changed.why("measure").verdict


def test_a_step_that_reads_the_run_id_or_its_index_is_executed_each_time(rules: UserProject) -> None:
    first = rules.run("nosy")
    second = rules.run("nosy")

    assert executed(second) == ["who", "which/0", "which/1"]
    assert second.result()[0] == second.run_id != first.run_id
    assert second.result()[1] == [0, 1]


def test_what_follows_a_rerun_with_the_same_bytes_is_a_hit(rules: UserProject) -> None:
    rules.run("cutoff")

    assert executed(rules.run("cutoff")) == ["uncached"]


def test_a_rerun_of_a_named_step_executes_that_step_only(rules: UserProject) -> None:
    rules.run("cutoff")

    run = rules.run("cutoff", options={"rerun": "after_uncached"})

    assert executed(run) == ["uncached", "after_uncached"]
    assert "the run asked for it" in run.why("after_uncached").verdict


def test_outputs_that_differ_for_the_same_key_are_named(rules: UserProject) -> None:
    rules.run("clock")
    run = rules.run("clock", options={"rerun": "all"})

    assert run.state is RunState.SUCCEEDED
    assert run["noisy"][0].view.is_nondeterministic
    assert [count.nondeterministic for count in run.view.steps] == [1]
    assert any("nondeterministic output" in note for note in run.why("noisy").notes)


def test_equal_items_of_a_fan_out_are_computed_once(rules: UserProject) -> None:
    run = rules.run("drawn_alike")

    assert len(executed(run)) == 1
    assert run.result()[0] == run.result()[1]


def age_cache(project: UserProject, *, hours: int) -> None:
    """Makes what is cached as old as if so many hours had passed."""
    with sqlite3.connect(project.client.home / "penstock.sqlite") as connection:
        connection.execute("UPDATE cache_entry SET made_at = made_at - ?", [hours * 3_600_000_000])
    connection.close()
