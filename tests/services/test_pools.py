"""A pool that is defined while services run: its queue, and steps of several slots on its runner."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from penstock.contracts.states import RunState
from penstock.sdk.pipelines import Pipeline
from tests.servers.cluster import Cluster

POOLS = "pools: {wide: {slot: {cpu: 1}, slots_per_runner: 3, limits: [{step: flow/large, at_once: 2}]}, cpu: {slots_per_runner: 1}}"
FLOW = """
    import time

    from penstock.sdk import Resources, collect, each, pipeline, step

    @step(pool="wide", resources=Resources(cpu=2), cache=False)
    def large(number: int) -> tuple[float, float]:
        began = time.monotonic()
        time.sleep(0.1)
        return began, time.monotonic()

    @step(pool="wide", resources=Resources(cpu=1), cache=False)
    def small(number: int) -> int:
        return number

    @step
    def gather(times: list[tuple[float, float]], numbers: list[int]) -> list[tuple[float, float]]:
        return times

    @pipeline
    def flow(numbers: list[int]) -> list[tuple[float, float]]:
        return gather(collect(large(each(numbers))), collect(small(each(numbers))))
"""


def test_steps_of_several_slots_share_the_runner_of_a_pool_that_was_just_defined(
    cluster: Cluster, written: Callable[[str], Pipeline[..., Any]], tmp_path: Path
) -> None:
    (tmp_path / "pools.yaml").write_text(POOLS)
    said = cluster.command("pools", "apply", str(tmp_path / "pools.yaml"))
    assert "topology apply" not in str(said)
    cluster.add_runner({"wide": 3})
    try:
        run = cluster.run(written(FLOW), numbers=[1, 2, 3, 4, 5])
    finally:
        for name in ("wide", "cpu"):
            cluster.command("pools", "rm", name)

    assert run.state is RunState.SUCCEEDED
    times = sorted(run.result())
    # Two of two slots don't fit into three.
    assert all(before[1] <= after[0] for before, after in pairwise(times))
