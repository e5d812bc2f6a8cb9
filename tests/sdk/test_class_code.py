"""The code of classes whose objects travel from step to step."""

import importlib
from pathlib import Path

from penstock.sdk.class_code import class_digest
from penstock.sdk.closure import Closure
from tests.sdk.written_project import WrittenProject


def digest(project: WrittenProject, name: str = "Model") -> str | None:
    project.forget()
    kind: object = getattr(importlib.import_module("models"), name)
    assert isinstance(kind, type)
    return class_digest(kind)


def test_a_class_has_another_digest_when_what_it_runs_was_edited(project: WrittenProject) -> None:
    project.write(
        "models.py", "from helpers import work\n\nclass Model:\n    def predict(self):\n        return work()\n\nclass Other:\n    pass\n"
    )
    project.write("helpers.py", "def work():\n    return 1\n")
    before, other = digest(project), digest(project, "Other")

    project.replace("helpers.py", "return 1", "return 2")

    assert digest(project) != before
    assert digest(project, "Other") == other


def test_classes_that_are_not_the_projects_have_none() -> None:
    assert [class_digest(kind) for kind in (int, Path, Closure)] == [None, None, None]
