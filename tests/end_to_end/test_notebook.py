"""Notebooks on a real engine: cells that IPython runs, in a process of their own as a kernel is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "sdk/surface/pipelines/p08_notebook.py"

KERNEL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
seen = {}

def cell(text):
    result = shell.run_cell(text, store_history=True)
    result.raise_error()
    return result.result

def hits(run):
    return {name: [step_run.is_hit for step_run in step_runs] for name, step_runs in run.steps.items()}

def html(value):
    return shell.display_formatter.format(value)[0].get("text/html", "")
"""

ACCEPTANCE = """
for text in open(sys.argv[1]).read().split("# %%")[1:]:
    cell("#" + text)
seen["first"] = hits(shell.user_ns["run"]), cell("run.result()")
seen["again"] = hits(cell("explore.run(data=df)"))
cell('''
@step
def fit(data: pd.DataFrame, *, target: str = "y") -> float:
    return float(data[target].mean()) + 1
''')
cell('''
@pipeline
def explore(data: pd.DataFrame, target: str = "y") -> float:
    return fit(clean(data), target=target)
''')
cell("run = explore.run(data=df)")
seen["edited"] = hits(shell.user_ns["run"]), cell("run.result()")
seen["run_html"] = html(shell.user_ns["run"])
seen["pipeline_html"] = html(shell.user_ns["explore"])
seen["awaited"] = str(cell("(await explore.arun(data=df)).state"))
"""

CLASSES = """
cell('''
from penstock.sdk import pipeline, step
offset = 3
def shifted(x):
    return x + offset
class Model:
    def __init__(self, value):
        self.value = value
    def predict(self):
        return shifted(self.value)
@step
def train(x: int) -> Model:
    return Model(shifted(x))
@step
def score(model: Model) -> int:
    return model.predict()
@pipeline
def models(x: int = 1) -> Model:
    model = train(x)
    score(model)
    return model
@pipeline
def scored(model: Model) -> int:
    return score(model)
''')
cell("run = models.run()")
seen["score"] = cell("run[score][0].result()")
seen["returned"] = cell("run.result().predict()"), cell("type(run.result()) is Model")
seen["given"] = cell("scored.run(model=Model(10)).result()")
cell("offset = 5")
seen["constant"] = cell("models.run()[score][0].result()")
cell("table = sorted([2, 1])\\n@step\\ndef total() -> int:\\n    return sum(table)\\n@pipeline\\ndef totals() -> int:\\n    return total()")
try:
    cell("totals.run()")
except Exception as error:
    seen["computed"] = str(error)
"""


def session(folder: Path, cells: str) -> dict[str, Any]:
    """What was seen while a kernel ran these cells."""
    program = KERNEL + cells + '\nprint("\\n" + json.dumps(seen))\n'
    variables = {**os.environ, "PENSTOCK_HOME": str(folder / "state"), "IPYTHONDIR": str(folder / "ipython")}
    command = [sys.executable, "-c", program, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@pytest.fixture(scope="module")
def acceptance(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return session(tmp_path_factory.mktemp("notebook"), ACCEPTANCE)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return session(tmp_path_factory.mktemp("notebook"), CLASSES)


def test_cells_run_on_the_engine_and_again_from_the_cache(acceptance: dict[str, Any]) -> None:
    assert acceptance["first"] == [{"clean": [False], "fit": [False]}, pytest.approx(1 / 3)]
    assert acceptance["again"] == {"clean": [True], "fit": [True]}


def test_editing_the_function_of_one_cell_reruns_that_step_only(acceptance: dict[str, Any]) -> None:
    assert acceptance["edited"] == [{"clean": [True], "fit": [False]}, pytest.approx(4 / 3)]


def test_a_run_is_shown_as_a_table(acceptance: dict[str, Any]) -> None:
    assert "explore-3</b> succeeded" in acceptance["run_html"]
    assert "<td>clean</td><td>1</td><td>hit</td>" in acceptance["run_html"]


def test_a_pipeline_is_shown_as_its_graph(acceptance: dict[str, Any]) -> None:
    assert "<b>explore</b>" in acceptance["pipeline_html"]
    assert "fit" in acceptance["pipeline_html"]
    assert "DataFrame" in acceptance["pipeline_html"]


def test_a_run_can_be_awaited_in_a_cell(acceptance: dict[str, Any]) -> None:
    assert acceptance["awaited"] == "succeeded"


def test_objects_of_classes_from_cells_travel_between_steps(classes: dict[str, Any]) -> None:
    assert classes["score"] == 1 + 3 + 3


def test_objects_of_classes_from_cells_come_back_as_their_own_class(classes: dict[str, Any]) -> None:
    assert classes["returned"] == [7, True]


def test_an_object_of_a_class_from_a_cell_can_be_a_parameter(classes: dict[str, Any]) -> None:
    assert classes["given"] == 13


def test_a_constant_of_another_cell_counts(classes: dict[str, Any]) -> None:
    assert classes["constant"] == 1 + 5 + 5


def test_a_step_that_uses_what_a_cell_computed_says_to_pass_it(classes: dict[str, Any]) -> None:
    assert "uses table" in classes["computed"]
    assert "pass it to the step as a parameter" in classes["computed"]
