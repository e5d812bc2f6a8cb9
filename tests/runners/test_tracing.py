"""Traces of pipelines: made elsewhere, with errors that help their authors."""

from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError
from penstock.runners.tracing import trace
from penstock.sdk.drawing.traced import Traced

ONE = """
from penstock.sdk import pipeline, step

@step
def double(number: int) -> int:
    return 2 * number

@pipeline
def doubled(number: int = 1) -> int:
    return double(number)
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "flow.py"
    path.write_text(text)
    return path


async def test_a_file_with_one_pipeline_is_traced(tmp_path: Path) -> None:
    found = Traced.from_bytes(await trace(written(tmp_path, ONE)))

    assert found.spec.name == "doubled"
    assert [step.name for step in found.spec.steps] == ["double"]


async def test_what_the_module_prints_is_not_the_answer(tmp_path: Path) -> None:
    found = Traced.from_bytes(await trace(written(tmp_path, "print('hello')\n" + ONE)))

    assert found.spec.name == "doubled"


async def test_a_file_without_a_pipeline_says_so(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="holds no pipeline"):
        await trace(written(tmp_path, "x = 1\n"))


async def test_several_pipelines_are_listed(tmp_path: Path) -> None:
    path = written(tmp_path, ONE + "\n@pipeline\ndef again(number: int) -> int:\n    return double(number)\n")

    with pytest.raises(GraphError, match=r"flow\.py:doubled, flow\.py:again"):
        await trace(path)

    assert Traced.from_bytes(await trace(path, "again")).spec.name == "again"


async def test_a_module_that_raises_shows_the_users_traceback_first(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"(?s)^Traceback.*flow\.py.*line 1.*ZeroDivisionError") as caught:
        await trace(written(tmp_path, "1 / 0\n"))

    assert "importlib" not in str(caught.value)


async def test_a_run_at_import_is_refused_with_the_guard(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match='if __name__ == "__main__":'):
        await trace(written(tmp_path, ONE + "\ndoubled.run()\n"))


async def test_an_interpreter_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="exit status 3"):
        await trace(written(tmp_path, "import os\nos._exit(3)\n"))
