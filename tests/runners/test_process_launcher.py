"""Steps in real processes: what they get, what they give, what they print."""

from penstock.contracts.states import AttemptState, FailureKind
from tests.runners.workbench import Workbench


async def test_a_function_gets_its_inputs_and_gives_its_output(workbench: Workbench) -> None:
    completed = await workbench.run("def main(a: int, b: int = 2) -> int:\n    return a + b", inputs={"a": 3})

    assert workbench.value(completed) == 5


async def test_an_async_function_is_awaited(workbench: Workbench) -> None:
    code = """
        import asyncio
        async def main() -> str:
            await asyncio.sleep(0)
            return "awaited"
        """

    assert workbench.value(await workbench.run(code)) == "awaited"


async def test_what_a_step_prints_is_its_log(workbench: Workbench) -> None:
    completed = await workbench.run(
        "import sys\ndef main() -> None:\n    print('out')\n    print('err', file=sys.stderr)", output=None
    )

    assert await workbench.log(completed) == "out\nerr\n"


async def test_the_users_frames_are_the_traceback(workbench: Workbench) -> None:
    completed = await workbench.run("def main() -> None:\n    raise ValueError('wrong depth')", output=None)

    assert completed.outcome == AttemptState.FAILED
    assert completed.failure is not None
    assert completed.failure.kind == FailureKind.ERROR
    assert completed.failure.message == "ValueError: wrong depth"
    assert 'File "flow.py", line 2, in main' in completed.failure.traceback
    assert "penstock" not in completed.failure.traceback
