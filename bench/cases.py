"""The cases, each run in a fresh process by `python -m bench.cases CASE MODULE ITEMS`; prints its measurements as JSON.

A case goes through the SDK as a user does. The first run, which starts the zygote, is measured by itself as `start`.
"""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol, cast

from bench.measure import Notebook
from penstock.contracts.states import RunState
from penstock.sdk import Pipeline
from penstock.sdk.runs.state_home import close_engines

RUNS_AT_ONCE = 100


class Pipelines(Protocol):
    """What both modules of pipelines have."""

    single: Pipeline[[int], int]
    chain_of_5: Pipeline[[int], int]
    chain_of_100: Pipeline[[int], int]
    fan: Pipeline[[Sequence[int]], int]


def chain(pipelines: Pipelines, items: int, notebook: Notebook) -> None:
    del items
    pipelines.chain_of_100.run(1_000_000)
    with notebook.measured("chain", 100):
        expect(pipelines.chain_of_100.run(0).result(), 100)


def fan(pipelines: Pipelines, items: int, notebook: Notebook) -> None:
    pipelines.fan.run([-1, -2, -3])
    numbers = list(range(items))
    with notebook.measured("fan", items + 1):
        expect(pipelines.fan.run(numbers).result(), items)
    with notebook.measured("hits", items + 1):
        run = pipelines.fan.run(numbers)
        expect(run.result(), items)
    expect(run["plus_one"][0].is_hit, True)


def many(pipelines: Pipelines, items: int, notebook: Notebook) -> None:
    pipelines.chain_of_5.run(1_000_000)
    with notebook.measured("many", 5 * items):
        runs = [pipelines.chain_of_5.submit(10 * number) for number in range(items)]
        for number, run in enumerate(runs):
            expect(run.wait().state, RunState.SUCCEEDED)
            expect(run.result(), 10 * number + 5)


CASES: dict[str, Callable[[Pipelines, int, Notebook], None]] = {"chain": chain, "fan": fan, "many": many}


def expect(found: object, expected: object) -> None:
    """What is fast and wrong is not measured."""
    if found != expected:
        raise RuntimeError(f"the result is {found!r}, and should be {expected!r}")


def main() -> None:
    case, module, items = sys.argv[1:4]
    notebook = Notebook()
    pipelines = cast(Pipelines, importlib.import_module(module))
    with notebook.measured("start", 1):
        pipelines.single.run(-1_000_000)
    CASES[case](pipelines, int(items), notebook)
    close_engines()
    print(json.dumps([asdict(measurement) for measurement in notebook.measurements]))


if __name__ == "__main__":
    main()
