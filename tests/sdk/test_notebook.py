"""Steps that were written in a notebook or at a prompt."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import cast

import pytest

from penstock.contracts.errors import GraphError
from penstock.sdk.identity.closure import Closure, closure_of
from penstock.sdk.identity.snapshot import declared_files_of, snapshot_of
from tests.sdk.written_project import prepend_to_path


class Notebook:
    """Cells that run one after another, as a kernel runs them."""

    def __init__(self) -> None:
        self.history: list[str] = [""]
        self.names: dict[str, object] = {"__name__": "__main__", "_ih": self.history}

    def run(self, *cells: str) -> "Notebook":
        for cell in map(dedent, cells):
            self.history.append(cell)
            exec(compile(cell, f"<ipython-input-{len(self.history)}>", "exec"), self.names)  # noqa: S102 – that is what a kernel does
        return self

    def closure(self, name: str) -> Closure:
        found = getattr(self.names[name], "fn", self.names[name])
        return closure_of(cast("Callable[..., object]", found))

    def digest(self, name: str) -> str:
        return self.closure(name).identity.digest


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    monkeypatch.chdir(tmp_path)
    return Notebook()


def imported(closure: Closure) -> ModuleType:
    """The module that a guest would import."""
    spec = importlib.util.spec_from_file_location("guest_of_notebook", closure.modules[closure.module])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CELLS = (
    "import math\nfrom statistics import mean as average\nimport json",
    "RATE = 3\n\ndef helper(x):\n    # Helps.\n    return math.floor(x) * RATE",
    "def train(rows):\n    return helper(average(rows))\n\nclass Kept:\n    pass",
    "rows = [1, 2, 3.5]\nprint_me = train(rows)",
    "def plot(rows=1):\n    return json.dumps(print_me)",
)


def test_a_step_of_a_notebook_can_be_imported_by_a_guest(notebook: Notebook) -> None:
    closure = notebook.run(*CELLS).closure("train")

    guest = imported(closure)

    assert closure.function == "train"
    assert guest.train([1, 2, 3.5]) == 6
    assert set(snapshot_of([closure])) == {"notebook_cells.py"}


def test_all_steps_of_a_notebook_share_one_module(notebook: Notebook) -> None:
    notebook.run(*CELLS)

    assert notebook.closure("train").modules == notebook.closure("helper").modules


def test_running_a_cell_again_or_an_unrelated_one_changes_nothing(notebook: Notebook) -> None:
    before = notebook.run(*CELLS).digest("train")

    notebook.run(CELLS[1], "unrelated = math.pi", "def unused():\n    return 1")

    assert notebook.digest("train") == before


def test_editing_a_used_cell_changes_the_step(notebook: Notebook) -> None:
    before = notebook.run(*CELLS).digest("train")

    notebook.run(CELLS[1].replace("floor", "ceil"))

    assert notebook.digest("train") != before


def test_a_value_that_a_cell_computed_must_be_a_parameter(notebook: Notebook) -> None:
    notebook.run(*CELLS)

    with pytest.raises(GraphError, match=r"the step plot uses print_me, a value .* pass it to the step as a parameter"):
        notebook.closure("plot")


def test_a_computed_value_in_a_helper_names_the_helper(notebook: Notebook) -> None:
    notebook.run("now = len([])", "def helper():\n    return now", "def train():\n    return helper()")

    with pytest.raises(GraphError, match=r"the step train uses now \(in helper\)"):
        notebook.closure("train")


def test_magics_and_cells_that_are_no_python_do_no_harm(notebook: Notebook) -> None:
    notebook.history.append("%matplotlib inline")
    notebook.run("def train():\n    return 1")

    assert imported(notebook.closure("train")).train() == 1


def test_steps_and_pipelines_of_the_sdk_work_in_cells(notebook: Notebook) -> None:
    notebook.run(
        "from penstock.sdk import pipeline, step\nPOOL = str('cpu')",
        """
        @step(pool=POOL)
        def train(x: int) -> int:
            return x + 1
        """,
        """
        @pipeline
        def everything(x: int) -> int:
            return train(x)
        """,
    )

    guest = imported(notebook.run("big = train.options(pool='gpu')\nshown = everything.options(name='x')").closure("train"))

    assert guest.train(1) == 2
    assert not hasattr(guest, "everything")
    assert not hasattr(guest, "shown")


def test_modules_beside_the_notebook_are_followed(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("beside.py").write_text("def used():\n    return 1\n")
    prepend_to_path(monkeypatch, Path.cwd())

    closure = notebook.run("import beside\n\ndef train():\n    return beside.used()").closure("train")

    assert "beside.py::used" in closure.identity.components
    assert set(closure.modules) == {"beside", "notebook_cells"}


def test_files_that_a_step_declares_lie_beside_the_notebook(notebook: Notebook) -> None:
    Path("words.txt").write_text("a")
    closure = notebook.run("def train():\n    return 1").closure("train")

    declared = declared_files_of(closure.modules[closure.module], ["*.txt"], module=closure.module)

    assert declared == {"words.txt": Path.cwd() / "words.txt"}


def test_a_function_without_source_says_to_write_a_file() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    exec("def train():\n    return 1", names)  # noqa: S102 – a function without source is what is tested

    with pytest.raises(GraphError, match="write it in a file"):
        closure_of(cast("Callable[..., object]", names["train"]))


def test_ipython_itself_is_understood(tmp_path: Path) -> None:
    program = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        cells = ["import math", "%time 1", "def helper(x):\\n    return math.floor(x)", "def train(x):\\n    return helper(x)"]
        for cell in [*cells, "from penstock.sdk.identity.closure import closure_of\\nfound = closure_of(train)"]:
            shell.run_cell(cell, store_history=True).raise_error()
        print(sorted(shell.user_ns["found"].identity.components))
    """
    (tmp_path / "kernel.py").write_text(dedent(program))

    variables = {"IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run([sys.executable, "kernel.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "'notebook_cells.py::helper', 'notebook_cells.py::train'" in done.stdout
