"""The code of classes and functions that travel from step to step by name."""

import importlib
from pathlib import Path
from types import FunctionType

from penstock.sdk.identity.closure import Closure
from penstock.sdk.identity.named_code import code_digest
from tests.sdk.written_project import WrittenProject


def digest(project: WrittenProject, name: str = "Model") -> str | None:
    project.forget()
    named: object = getattr(importlib.import_module("models"), name)
    assert isinstance(named, type | FunctionType)
    return code_digest(named)


def test_a_class_has_another_digest_when_what_it_runs_was_edited(project: WrittenProject) -> None:
    project.write(
        "models.py", "from helpers import work\n\nclass Model:\n    def predict(self):\n        return work()\n\nclass Other:\n    pass\n"
    )
    project.write("helpers.py", "def work():\n    return 1\n")
    before, other = digest(project), digest(project, "Other")

    project.replace("helpers.py", "return 1", "return 2")

    assert digest(project) != before
    assert digest(project, "Other") == other


def test_a_function_has_another_digest_when_it_was_edited(project: WrittenProject) -> None:
    project.write("models.py", "def work():\n    return 1\n\ndef other():\n    return 1\n")
    before, other = digest(project, "work"), digest(project, "other")

    project.replace("models.py", "def work():\n    return 1", "def work():\n    return 2")

    assert digest(project, "work") != before
    assert digest(project, "other") == other


def test_classes_that_are_not_the_projects_have_none() -> None:
    assert [code_digest(kind) for kind in (int, Path, Closure)] == [None, None, None]
