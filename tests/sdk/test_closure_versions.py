"""The same project has the same code identity on every Python version, told by bare interpreters without any package."""

import json
import subprocess
from pathlib import Path

import pytest

from penstock.sdk.identity import reach
from penstock.sdk.identity.project import Project
from tests.sdk.interpreters import SUPPORTED, interpreter
from tests.sdk.written_project import WrittenProject

PROGRAM = """
import json, sys, types
from pathlib import Path
for name in ("penstock", "penstock.sdk"):
    # Without what the package's own __init__ imports, which needs what is installed.
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [sys.argv[1]] if name == "penstock.sdk" else [str(Path(sys.argv[1]).parent)]
from penstock.sdk.identity.project import Project
from penstock.sdk.identity.reach import Reach
file = Path(sys.argv[2])
found = Reach(Project.of(file))
found.add_name(found.module(file.stem), ("one",))
print(json.dumps([found.components(), sorted(found.imports), sorted(found.modules)]))
"""


@pytest.fixture
def entry(project: WrittenProject) -> Path:
    project.write(
        "helpers.py",
        "import math\nimport numpy as np\n\nSEED = 1\n\nclass Base:\n    def run(self):\n        return [np.sum(x) for x in y]\n",
    )
    project.write("pack/__init__.py", "from .inner import *\n")
    project.write("pack/inner.py", "def work(x):\n    return f'{x!r:>{SEED}}' if x else lambda y: y\n\nSEED = {1: 'a', 'b': (2.5, None)}\n")
    project.write(
        "pipeline.py", "from helpers import Base\nfrom pack import work\n\ndef one(x: 'Base') -> list[int]:\n    return work(x).run()\n"
    )
    return project.root / "pipeline.py"


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_python_version_reaches_the_same_code(entry: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"NOT CHECKED: there is no Python {version} on this machine")
    here = reach.Reach(Project.of(entry))
    home = here.module("pipeline")
    assert home is not None
    here.add_name(home, ("one",))

    command = [str(python), "-I", "-c", PROGRAM, str(Path(reach.__file__).parents[1]), str(entry)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [here.components(), sorted(here.imports), sorted(here.modules)]
    assert set(here.components()) >= {"pack/inner.py::work", "helpers.py::Base", "pack/inner.py (top level)"}
