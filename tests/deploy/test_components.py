"""Components on a laptop: steps and pipelines that are published, and run elsewhere with the code that they were published with."""

import json
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock.deploy.cli.application import app

Penstock = Callable[..., Result]
PREP = """
    from collections.abc import Sequence
    from typing import NamedTuple

    from penstock.sdk import collect, each, pipeline, step

    FACTOR = 3

    class Both(NamedTuple):
        low: int
        high: int

    @step
    def scale(x: int, *, by: int = 2) -> int:
        return x * by * FACTOR

    @step
    def split(x: int) -> Both:
        return Both(x - 1, x + 1)

    @step
    def total(xs: list[int]) -> int:
        return sum(xs)

    @pipeline
    def scaled_sum(xs: Sequence[int], by: int = 1) -> int:
        return total(collect(scale(each(xs), by=by)))
"""
USE = """
    from penstock.sdk import collect, component, each, pipeline, step

    scale = component("scale@1.0")
    split = component("split")
    scaled_sum = component("scaled_sum@stable")

    @step
    def add(a: int, b: int) -> int:
        return a + b

    @pipeline
    def flow(x: int = 1) -> int:
        both = split(x)
        big = scale(both.high, by=10)
        return add(add(big, both.low), scaled_sum(xs=[1, 2, 3]))

    @pipeline
    def fanned(xs: list[int]) -> list[int]:
        return collect(scaled_sum(xs=[each(xs), 1]))

    @pipeline
    def wrong(x: int = 1) -> int:
        return scale(x, bye=2)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with components; the project that they came from is gone."""
    folder = tmp_path_factory.mktemp("components")
    (folder / "prep.py").write_text(textwrap.dedent(PREP))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PENSTOCK_HOME", str(folder / "home"))
        told(run("components", "publish", "prep.py:scale", "--version", "1.0"))
        told(run("components", "publish", "prep.py:split"))
        told(run("components", "publish", "prep.py:scaled_sum"))
        told(run("components", "alias", "scaled_sum", "stable", "1"))
    (folder / "prep.py").unlink()
    return folder / "home"


@pytest.fixture
def penstock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Path) -> Penstock:
    """The command line where these components are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    shutil.copytree(published, tmp_path / "home")
    (tmp_path / "use.py").write_text(textwrap.dedent(USE))
    return run


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def told(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def ran(penstock: Penstock, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(penstock("run", *arguments, "--json")).splitlines()[-1])
    return found


def test_components_run_with_the_code_that_they_were_published_with(penstock: Penstock) -> None:
    first = ran(penstock, "use.py:flow", "-p", "x=4")
    assert first["outputs"] == {"result": (4 + 1) * 10 * 3 + (4 - 1) + (1 + 2 + 3) * 3}
    steps = {step["name"] for step in first["steps"]}
    assert {"scale", "split", "scaled_sum/scale", "scaled_sum/total", "add"} <= steps
    again = ran(penstock, "use.py:flow", "-p", "x=5")
    assert {step["name"] for step in again["steps"] if step["hit"]} == {"scaled_sum/scale", "scaled_sum/total"}


def test_a_component_is_fanned_out_as_any_step(penstock: Penstock) -> None:
    assert ran(penstock, "use.py:fanned", "-p", "xs=[1, 2]")["outputs"] == {"result": [6, 9]}


def test_a_wrong_call_is_refused_with_its_place(penstock: Penstock) -> None:
    refused = told(penstock("check", "use.py:wrong"), 2)
    assert "component('scale@1.0') has no parameter 'bye'; did you mean 'by'" in refused


def test_a_deprecated_component_warns_and_a_disabled_one_is_refused_even_after_a_trace(penstock: Penstock) -> None:
    told(penstock("check", "use.py:flow"))
    told(penstock("components", "deprecate", "scale@1.0", "--note", "rounds"))
    assert "the component scale@1.0 is deprecated: rounds" in told(penstock("check", "use.py:flow"))
    told(penstock("components", "disable", "scale@1.0"))
    assert "scale@1.0 is disabled: rounds" in told(penstock("check", "use.py:flow"), 2)


def test_a_pipeline_with_components_is_published_with_their_code(penstock: Penstock) -> None:
    told(penstock("publish", "use.py:flow"))
    told(penstock("components", "disable", "scale@1.0"))
    found = json.loads(told(penstock("pipelines", "run", "flow", "-p", "x=4", "--json")).splitlines()[-1])
    assert found["outputs"] == {"result": 171}


def test_a_document_can_not_hold_components(penstock: Penstock) -> None:
    refused = told(penstock("graph", "use.py:flow", "--format", "yaml"), 2)
    assert "'split' is of the component split@1; a document can't hold published components" in refused


def test_what_is_no_step_or_pipeline_is_refused(penstock: Penstock) -> None:
    assert "name one step or pipeline, as use.py:NAME; it has: add, flow, fanned" in told(penstock("components", "publish", "use.py"), 2)
