"""Which edits change a step's code identity, and which don't."""

import pytest

from tests.sdk.written_project import WrittenProject

STEPS = ["load", "clean", "split", "train", "evaluate"]

FIVE_STEPS = '''
"""A pipeline."""
import random
import helpers
from helpers import scale as scaled
from penstock.sdk import pipeline, step

random.seed(3)
DEPTH = 4
OPTIONS = {}


def unused(x):
    return x


@step(pool="cpu")
def load(path):
    """Loads."""
    return open(path).read()


@step
def clean(text):
    return helpers.strip(text)


@step
def split(text):
    return scaled(text), text


@step(pool="gpu", retries=2)
def train(rows):
    # Trains.
    return [row * DEPTH for row in rows]


@step
def evaluate(model):
    return sum(model)


@pipeline
def everything(path: str):
    return evaluate(train(split(clean(load(path)))))


if __name__ == "__main__":
    everything.run(path="a")
'''

HELPERS = """
FACTOR = 2


def strip(text):
    return inner(text).strip()


def inner(text):
    return text


def scale(text):
    return text * FACTOR


def lonely(text):
    return text
"""


@pytest.fixture
def five(project: WrittenProject) -> WrittenProject:
    project.write("pipeline.py", FIVE_STEPS)
    project.write("helpers.py", HELPERS)
    return project


def digests(project: WrittenProject) -> dict[str, str]:
    return {name: project.digest(name) for name in STEPS}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("step", STEPS)
def test_editing_one_of_five_steps_changes_only_that_step(five: WrittenProject, step: str) -> None:
    before = digests(five)

    source = (five.root / "pipeline.py").read_text()
    head, body = source.split(f"def {step}(")
    five.write("pipeline.py", f"{head}def {step}(" + body.replace("    return ", "    edited = 1\n    return ", 1))

    assert changed(before, digests(five)) == {step}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("pipeline.py", "# Trains.", "# Trains with love."),
        ("pipeline.py", '"""Loads."""', '"""Loads a file."""'),
        ("pipeline.py", '"""A pipeline."""', ""),
        ("pipeline.py", "return [row * DEPTH for row in rows]", "return [\n        row*DEPTH\n        for row in rows]"),
        ("pipeline.py", "def unused(x):\n    return x", "def unused(y):\n    return y + 1"),
        ("pipeline.py", "def unused(x):\n    return x", ""),
        ("pipeline.py", '@step(pool="gpu", retries=2)', '@step(pool="cpu", timeout="1h")'),
        ("pipeline.py", "return evaluate(train(", "return evaluate(train.options(pool='cpu')("),
        ("pipeline.py", 'everything.run(path="a")', 'everything.run(path="b")'),
        ("helpers.py", "def lonely(text):\n    return text", "def lonely(text):\n    return text + text"),
        ("helpers.py", "def strip", "# What it does.\ndef strip"),
    ],
)
def test_what_no_step_can_observe_changes_nothing(five: WrittenProject, path: str, old: str, new: str) -> None:
    before = digests(five)

    five.replace(path, old, new)

    assert changed(before, digests(five)) == set()


@pytest.mark.parametrize(
    ("path", "old", "new", "steps"),
    [
        ("helpers.py", "return inner(text).strip()", "return inner(text).lstrip()", {"clean"}),
        ("helpers.py", "def inner(text):\n    return text", "def inner(text):\n    return text + text", {"clean"}),
        ("helpers.py", "return text * FACTOR", "return text + FACTOR", {"split"}),
        ("pipeline.py", "from helpers import scale as scaled", "from helpers import lonely as scaled", {"split"}),
        ("pipeline.py", "random.seed(3)", "random.seed(4)", set(STEPS)),
        ("pipeline.py", "DEPTH = 4", "DEPTH = 5", set(STEPS)),
        ("pipeline.py", "OPTIONS = {}", "OPTIONS = {'a': 1}", set(STEPS)),
        ("pipeline.py", "    return x\n", "    return x\n\nOPTIONS['a'] = unused\n", set(STEPS)),
        # The steps that touch the module of the helpers see its constants; the others, which only import it, see none.
        ("helpers.py", "FACTOR = 2", "FACTOR = 3", {"clean", "split"}),
        ("helpers.py", "FACTOR = 2", "FACTOR = 2\nprint('imported')", set(STEPS)),
        ("helpers.py", "def scale", "import json\n\njson.extra = strip\n\ndef scale", set(STEPS)),
    ],
)
def test_what_steps_can_observe_changes_those_steps(five: WrittenProject, path: str, old: str, new: str, steps: set[str]) -> None:
    before = digests(five)

    five.replace(path, old, new)

    assert changed(before, digests(five)) == steps


def test_another_name_for_a_step_changes_nothing(five: WrittenProject) -> None:
    before = five.digest("train")

    five.replace("pipeline.py", "train", "fit")

    assert five.digest("fit") == before


def test_another_name_for_a_step_that_calls_itself_changes_nothing(project: WrittenProject) -> None:
    project.write("pipeline.py", "def count(n):\n    return n and count(n - 1)\n")
    before = project.digest("count")

    project.replace("pipeline.py", "count", "tally")

    assert project.digest("tally") == before


def test_a_variable_named_as_the_step_is_not_taken_for_the_step(project: WrittenProject) -> None:
    project.write("pipeline.py", "def one(x):\n    return one\n\n\ndef x(x):\n    return x\n")

    assert project.digest("one") != project.digest("x")


def test_components_name_files_and_definitions(five: WrittenProject) -> None:
    components = five.closure("clean").identity.components

    assert set(components) == {
        "pipeline.py::clean",
        "pipeline.py (top level)",
        "pipeline.py (imports)",
        "helpers.py::strip",
        "helpers.py::inner",
        "helpers.py (top level)",
    }


def test_one_component_differs_where_one_definition_was_edited(five: WrittenProject) -> None:
    before = five.closure("clean").identity.components

    five.replace("helpers.py", "def inner(text):\n    return text", "def inner(text):\n    return text + text")

    after = five.closure("clean").identity.components
    assert {name for name in before if before[name] != after[name]} == {"helpers.py::inner"}


def test_the_folder_of_a_project_is_no_part_of_an_identity(five: WrittenProject, monkeypatch: pytest.MonkeyPatch) -> None:
    before = five.closure("train").identity

    elsewhere = WrittenProject(five.root.parent / "elsewhere", monkeypatch)
    for name in ("pipeline.py", "helpers.py"):
        elsewhere.write(name, (five.root / name).read_text())

    five.forget()
    assert elsewhere.closure("train").identity == before
    assert str(five.root) not in repr(before)
    elsewhere.forget()


def test_modules_are_what_a_guest_must_be_able_to_import(five: WrittenProject) -> None:
    closure = five.closure("load")

    assert (closure.module, closure.function) == ("pipeline", "load")
    assert closure.modules == {"pipeline": five.root / "pipeline.py", "helpers": five.root / "helpers.py"}


def test_imports_are_those_that_the_closure_uses(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        import json
        import msgpack as packer
        import rich as shown
        from packaging.version import Version
        from penstock.sdk import File

        def train(path: File) -> "shown.Console":
            return packer.packb(3)

        def evaluate(model: Version):
            import yaml
            return json.dumps(model)
        """,
    )

    assert project.closure("train").imports == {"msgpack", "rich"}
    assert project.closure("evaluate").imports == {"packaging", "yaml"}


def test_an_import_that_nothing_uses_counts_because_it_may_act(project: WrittenProject) -> None:
    project.write("pipeline.py", "import msgpack\nimport rich\n\ndef train():\n    return 1\n\ndef other():\n    return rich\n")

    assert project.closure("train").imports == {"msgpack"}


def test_variables_of_the_surroundings_are_told_with_their_place(project: WrittenProject) -> None:
    project.write("helpers.py", "from os import environ, getenv\n\ndef region():\n    return environ['REGION'] + getenv('ZONE', '')\n")
    project.write(
        "pipeline.py",
        """
        import os
        import helpers

        def train(options):
            options.get("NOT_A_VARIABLE")
            os.environ["WRITTEN"] = "1"
            return os.environ.get("TOKEN"), "FLAG" in os.environ, helpers.region()

        def other():
            return os.environ["UNREACHED"]
        """,
    )

    found = project.closure("train").environ

    assert found == {"TOKEN": "pipeline.py:8", "FLAG": "pipeline.py:8", "REGION": "helpers.py:4", "ZONE": "helpers.py:4"}
