"""Pools and runners on the command line: defined, shown, drained, scaled; what waits and why; and what a laptop makes of them."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.fleet_views import PoolView, RunnerView
from penstock.contracts.pools import PoolSpec
from penstock.contracts.states import StepState
from penstock.deploy.cli.fleet import advice_lines
from penstock.deploy.pool_documents import pools_text, read_pools
from penstock.deploy.remote.client import HttpClient, connect
from tests.deploy.served_engine import TOKEN, ServedEngine, served, until
from tests.deploy.test_remote_commands import penstock

POOLS = """
pools:
  cpu:
    slot: {cpu: 2, memory: 4GiB}
    slots_per_runner: 2
    limits:
      - {step: flow/train, at_once: 1}
  gpu:
    slot: {cpu: 8, memory: 32GiB, gpu: 1}
    max_runners: 3
    idle: 5m
"""
FLOW = """
    from penstock.sdk import Resources, pipeline, step

    @step(pool="gpu", resources=Resources(cpu=8, memory="8GiB", gpu=1))
    def train(x: int) -> int:
        return x

    @pipeline
    def flow(x: int = 1) -> int:
        return train(x)

    @step(pool="gpu", resources=Resources(gpu=9))
    def greedy(x: int) -> int:
        return x

    @pipeline
    def too_much(x: int = 1) -> int:
        return greedy(x)

    @step(pool="gpus")
    def lost(x: int) -> int:
        return x

    @pipeline
    def nowhere(x: int = 1) -> int:
        return lost(x)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with served(tmp_path_factory.mktemp("services") / "state", maps_pools=False) as engine:
        yield engine


@pytest.fixture
def client(engine: ServedEngine, private_home: Path) -> Iterator[HttpClient]:
    client = connect(private_home, engine.url, TOKEN)
    yield client
    for pool in client.pools():
        if pool.definition is not None:
            client.remove_pool(pool.name)
    client.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: ServedEngine, client: HttpClient) -> Path:
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    (tmp_path / "pools.yaml").write_text(POOLS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
    monkeypatch.setenv("PENSTOCK_API_TOKEN", TOKEN)
    monkeypatch.setenv("PENSTOCK_ENGINE", "http")
    return tmp_path


def shown(*arguments: str) -> str:
    result = penstock(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_pools_that_were_applied_are_exported_as_they_were_written(folder: Path) -> None:
    said = shown("pools", "apply", "pools.yaml")
    (folder / "again.yaml").write_text(shown("pools", "export"))

    assert "gpu: 4 slots a runner (32 CPUs, 128.0 GiB, 4 GPUs), 0 to 3 runners" in said
    assert "at most 1 at once of flow/train" in said
    assert read_pools(folder / "again.yaml") == read_pools(folder / "pools.yaml")


def test_a_list_says_how_many_runners_and_slots_there_are(folder: Path) -> None:
    shown("pools", "apply", "pools.yaml")

    # Its runner is heard of after a heartbeat.
    until(lambda: " 1 of 0-1" in shown("pools", "ls"))
    lines = shown("pools", "ls").splitlines()

    assert [line.split()[:4] for line in lines[1:]] == [["cpu", "1", "of", "0-1"], ["gpu", "0", "of", "0-3"]]
    assert json.loads(shown("pools", "ls", "--json").splitlines()[0])["slots"] == 2


def test_a_pool_is_shown_with_what_a_step_may_need(folder: Path) -> None:
    shown("pools", "apply", "pools.yaml")

    assert "# a step may need 4 CPUs, 8.0 GiB" in shown("pools", "show", "cpu")
    assert "there is no pool 'tpu' (there is cpu, gpu)" in penstock("pools", "show", "tpu").output


def test_what_waits_for_a_runner_says_so_everywhere(folder: Path, client: HttpClient) -> None:
    shown("pools", "apply", "pools.yaml")
    shown("submit", "flow.py:flow", "--name", "waits")
    until(lambda: any(count.states.get(StepState.READY) for count in client.run("waits").steps))

    reason = "no runner of the pool 'gpu' is there"
    assert reason in shown("runs", "show", "waits")
    assert reason in shown("status")
    assert "start a runner: penstock runner --pool gpu" in shown("status")
    assert reason in shown("why", "waits", "train")
    shown("runs", "cancel", "waits")


def test_status_tells_what_to_do_about_silence_and_work_that_nobody_takes() -> None:
    left, closed = PoolView(name="gpu", waiting=1), PoolView(name="old", waiting=1, definition=PoolSpec(name="old", is_draining=True))
    lane, busy = PoolView(name="flow/train", waiting=1), PoolView(name="cpu", waiting=1, runners=1)
    heard, silent = RunnerView(name="a", heard_seconds_ago=3), RunnerView(name="b", heard_seconds_ago=40)

    assert advice_lines([left, closed, lane, busy], [heard, silent]) == ["start a runner: penstock runner --pool gpu"]
    assert advice_lines([busy], [silent]) == ["no runner was heard lately: look at the broker, and at /readyz of the coordinators"]


def test_a_draining_pool_says_so(folder: Path, client: HttpClient) -> None:
    shown("pools", "apply", "pools.yaml")
    shown("pools", "drain", "gpu")

    assert "draining" in shown("pools", "ls")
    assert client.pool("gpu").definition is not None
    shown("pools", "drain", "gpu", "--undo")
    assert "draining" not in shown("pools", "ls")


def test_scaling_changes_the_bounds_alone(folder: Path) -> None:
    shown("pools", "apply", "pools.yaml")

    assert "1 to 5 runners" in shown("pools", "scale", "gpu", "--min", "1", "--max", "5")
    assert penstock("pools", "scale", "gpu").exit_code == 2
    assert "above max_runners" in penstock("pools", "scale", "gpu", "--min", "9").output


def test_a_step_that_can_never_be_executed_is_refused_when_it_is_submitted(folder: Path) -> None:
    shown("pools", "apply", "pools.yaml")

    too_much, nowhere = penstock("submit", "flow.py:too_much"), penstock("submit", "flow.py:nowhere")

    assert (too_much.exit_code, nowhere.exit_code) == (2, 2)
    assert "'greedy' needs 1 CPU, 9 GPUs; a runner of the pool 'gpu' has 32 CPUs" in too_much.output
    assert "the pool 'gpus', which is not defined; did you mean 'gpu'" in nowhere.output


def test_a_runner_with_other_slots_than_its_pool_is_defined_with_says_so(folder: Path) -> None:
    (folder / "pools.yaml").write_text("pools: {cpu: {slots_per_runner: 16}}")
    shown("pools", "apply", "pools.yaml")

    assert "cpu is defined with 16 slots" in shown("runners", "ls")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pools: {gpu: {slot: {memory: 32 GiBs}}}", "pools.gpu.slot.memory: '32 GiBs' has the unit 'GiBs'; there is B, kB"),
        ("pools: {gpu: {slot: {memory: much}}}", "pools.gpu.slot.memory: 'much': write it as 32GiB"),
        ("pools: {gpu: {idle: 5 weeks}}", "pools.gpu.idle: '5 weeks' has the unit 'weeks'"),
        ("pools: {gpu: {slot: {cpu: -1}}}", "pools.gpu.slot.cpu: Input should be greater than 0"),
        ("pools: {gpu: {slot_s: {}}}", "pools.gpu.slot_s: Extra inputs are not permitted"),
        ("pools: {GPU: {}}", "pools.GPU: pool 'GPU': a name starts with"),
        ("pools: {gpu: {limits: [{key: customer}]}}", "pools.gpu.limits.0: a limit needs at_once, per_second, or both"),
        ("pools: {gpu: {limits: [{step: train, at_once: 1}]}}", "write it as <pipeline>/<step>"),
        ("pools: {gpu: {min_runners: 3}}", "the pool 'gpu': min_runners \\(3\\) is above max_runners"),
        ("pools: {gpu: {on_memory: gpu}}", "on_memory names the pool itself"),
        ("pools: [gpu]", "pools: Input should be a valid dictionary"),
        ("gpu: {}", "pools: Field required"),
        ("", "Input should be a valid dictionary"),
        ("pools: {", "can't be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pools.yaml").write_text(text)

    with pytest.raises(InvalidInput, match=words):
        read_pools(tmp_path / "pools.yaml")


def test_every_field_of_a_pool_survives_being_written_and_read(tmp_path: Path) -> None:
    text = """
    pools:
      gpu: {slot: {cpu: 0.5, memory: 1500MB, gpu: 0.25}, slots_per_runner: 4, min_runners: 1, max_runners: 2, idle: 90s,
            image: "registry/runner:1", on_memory: large, limits: [{key: customer, at_once: 2, per_second: 0.5}]}
      large: {idle: 2h}
    """
    (tmp_path / "pools.yaml").write_text(textwrap.dedent(text))
    before = read_pools(tmp_path / "pools.yaml")

    (tmp_path / "pools.yaml").write_text(pools_text(before))

    assert read_pools(tmp_path / "pools.yaml") == before
    assert (before[0].slot.memory_bytes, before[0].idle_seconds, before[1].idle_seconds) == (1_500_000_000, 90, 7200)


# On a laptop


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
    (tmp_path / "penstock.toml").write_text('[pools.gpu]\nslot = {cpu = 8, memory = "32GiB", gpu = 1}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_HOME", raising=False)
    monkeypatch.delenv("PENSTOCK_API_URL", raising=False)
    return tmp_path


def test_a_project_that_declares_its_pools_knows_no_others(laptop: Path) -> None:
    assert "the pool 'gpus', which is not defined" in penstock("run", "flow.py:nowhere").output
    assert "'greedy' needs 1 CPU, 9 GPUs" in penstock("run", "flow.py:too_much").output
    assert penstock("run", "flow.py:flow").exit_code == 0


def test_check_goes_by_the_declared_pools(laptop: Path) -> None:
    assert "the pool 'gpus', which is not defined" in penstock("check", "flow.py:nowhere").output
    assert "not declared here" not in shown("check", "flow.py:flow")


def test_status_of_a_laptop_shows_its_slots_and_the_declared_pools(laptop: Path) -> None:
    shown("run", "flow.py:flow")

    said = shown("status")

    assert said.startswith("runs: none")
    assert [line.split()[0] for line in said.splitlines()[3:5]] == ["local", "gpu"]


def test_a_laptops_pools_are_changed_in_its_file(laptop: Path) -> None:
    result = penstock("pools", "scale", "gpu", "--max", "3")

    assert result.exit_code == 2
    assert "PENSTOCK_API_URL" in result.output
