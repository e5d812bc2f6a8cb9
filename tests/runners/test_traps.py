"""Things that break when a process that has imported user code forks: each is noticed, and the step gives the right answer."""

import asyncio

import pytest
from structlog.testing import capture_logs

from penstock.contracts.states import AttemptState, FailureKind
from tests.runners.workbench import Workbench, an_order, unheard

OPENMP = """
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    def fitted() -> float:
        x = np.arange(400.0).reshape(200, 2)
        y = (x[:, 0] > 200).astype(int)
        return float(HistGradientBoostingClassifier(max_iter=2).fit(x, y).score(x, y))

    AT_IMPORT = fitted()

    def main() -> float:
        return fitted()
    """


async def test_openmp_used_at_import_does_not_hang_the_fit(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    # A team of threads is what hangs; one thread alone is none.
    workbench.settings["threads"] = 2
    with capture_logs() as logs:
        completed = await asyncio.wait_for(workbench.run(OPENMP, timeout_seconds=60), 60)

    assert workbench.value(completed) > 0.9
    assert [entry["reason"] for entry in logs if entry["event"] == "zygote.cannot_fork"] == [
        "flow: a team of OpenMP threads is alive after it is imported (begun below flow.py:3)"
    ]


async def test_importing_numpy_is_harmless(workbench: Workbench) -> None:
    workbench.settings["threads"] = 2
    with capture_logs() as logs:
        completed = await workbench.run(
            "import numpy as np\ndef main() -> float:\n    return float(np.ones((50, 50)).dot(np.ones((50, 50))).sum())"
        )

    assert workbench.value(completed) == 125_000.0
    assert [entry for entry in logs if entry["event"] == "zygote.cannot_fork"] == []


async def test_a_thread_started_at_import_is_there_in_the_step(workbench: Workbench) -> None:
    code = """
        import threading
        stop = threading.Event()
        def wait() -> None:
            stop.wait()
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()

        def main() -> bool:
            return thread.is_alive()
        """
    with capture_logs() as logs:
        completed = await workbench.run(code)

    assert workbench.value(completed) is True
    assert "flow.py:4" in next(entry["reason"] for entry in logs if entry["event"] == "zygote.cannot_fork")


async def test_a_socket_opened_at_import_is_not_shared(workbench: Workbench) -> None:
    code = """
        import os, socket
        server = socket.create_server(("127.0.0.1", 0))
        opened_by = os.getpid()

        def main() -> bool:
            return opened_by == os.getpid()
        """

    assert workbench.value(await workbench.run(code)) is True


async def test_a_run_at_import_is_refused_with_the_guard(workbench: Workbench) -> None:
    code = """
        from penstock.sdk import pipeline, step

        @step
        def main() -> int:
            return 1

        @pipeline
        def flow() -> int:
            return main()

        flow.run()
        """

    completed = await workbench.run(code)

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ENVIRONMENT
    assert 'if __name__ == "__main__":' in completed.failure.traceback


@pytest.mark.parametrize("draw", ["random.random()", "float(np.random.random())", "float(np.random.default_rng().random())"])
async def test_items_draw_different_numbers_and_the_same_ones_again(workbench: Workbench, draw: str) -> None:
    code = f"""
        import random
        import numpy as np

        def main() -> float:
            return {draw}
        """
    step, snapshot = workbench.step(), await workbench.snapshot(code)

    async def drawn(seed: str) -> float:
        number: float = workbench.value(await workbench.execute(step, snapshot, seed=seed))
        return number

    assert len({await drawn("a"), await drawn("b"), await drawn("c")}) == 3
    assert await drawn("a") == await drawn("a")


async def test_numpy_imported_in_the_step_is_seeded_too(workbench: Workbench) -> None:
    code = "def main() -> float:\n    import numpy as np\n    return float(np.random.random())"

    numbers = [workbench.value(await workbench.run(code, order={"seed": seed})) for seed in "aab"]

    assert numbers[0] == numbers[1] != numbers[2]


async def test_sets_of_text_have_one_order(workbench: Workbench) -> None:
    code = "def main() -> str:\n    return ''.join({'a', 'b', 'c', 'd', 'e', 'f'})"
    workbench.settings["slots"] = 1

    assert len({workbench.value(await workbench.run(code, isolation=isolation)) for isolation in ("fork", "spawn", "fork")}) == 1


@pytest.mark.parametrize("isolation", ["fork", "spawn", "reuse"])
async def test_a_function_runs_under_every_isolation(workbench: Workbench, isolation: str) -> None:
    code = "def main(a: int) -> int:\n    return a + 1"

    assert workbench.value(await workbench.run(code, inputs={"a": 1}, isolation=isolation)) == 2


async def test_reuse_keeps_what_an_attempt_left_in_the_process(workbench: Workbench) -> None:
    code = "import os\nmodels = []\ndef main() -> int:\n    models.append(1)\n    return len(models)"
    snapshot = await workbench.snapshot(code)

    async def count(isolation: str) -> int:
        number: int = workbench.value(await workbench.execute(workbench.step(isolation=isolation), snapshot))
        return number

    assert [await count("reuse"), await count("reuse"), await count("fork"), await count("spawn")] == [1, 2, 1, 1]


async def test_a_fork_that_hangs_without_using_the_cpu_is_tried_once_more_by_spawn(workbench: Workbench) -> None:
    code = """
        import os, time
        import sklearn.ensemble  # an OpenMP runtime
        imported_by = os.getpid()

        def main() -> str:
            if imported_by != os.getpid():
                time.sleep(1000)
            return "spawned"
        """

    assert workbench.value(await workbench.run(code, timeout_seconds=1)) == "spawned"


async def test_the_order_of_two_attempts_does_not_matter(workbench: Workbench) -> None:
    code = "seen = []\ndef main(a: int) -> list[int]:\n    seen.append(a)\n    return seen"
    step, snapshot = workbench.step(), await workbench.snapshot(code)

    results = await asyncio.gather(
        *(workbench.launcher.execute(an_order(step, snapshot, inputs={"a": a}), step, unheard) for a in range(4))
    )

    assert [workbench.value(completed) for completed in results] == [[0], [1], [2], [3]]
