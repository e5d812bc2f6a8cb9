"""What an edit reruns, and what it doesn't."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.end_to_end.user_project import UserProject, executed, failure_of

PIPELINE = '''
from pathlib import Path

import helpers
from penstock.sdk import pipeline, step

REGISTRY = {"even": 2}

@step
def load(n: int) -> list[int]:
    return list(range(n))

@step
def clean(rows: list[int]) -> list[int]:
    return [row for row in rows if row % REGISTRY["even"] == 0]

@step
def train(rows: list[int]) -> int:
    """Trains."""
    return helpers.scaled(sum(rows))

@step
def evaluate(model: int) -> float:
    return model / 10

@step
def report(score: float) -> str:
    return f"score {score}"

@pipeline
def flow(n: int = 10) -> str:
    return report(evaluate(train(clean(load(n)))))
'''
HELPERS = """
def scaled(x):
    return 2 * x

def unused(x):
    return x
"""
STEPS = ["load", "clean", "train", "evaluate", "report"]


@pytest.fixture
def five(project: UserProject) -> UserProject:
    """A file of five steps that has run once."""
    project.write("pipeline.py", PIPELINE)
    project.write("helpers.py", HELPERS)
    run = project.run()
    assert run.result() == "score 4.0"
    assert executed(run) == STEPS
    return project


def test_the_same_code_and_inputs_rerun_nothing(five: UserProject) -> None:
    run = five.run()

    assert executed(run) == []
    assert run.result() == "score 4.0"


def test_editing_one_step_reruns_only_that_step_where_its_bytes_stay(five: UserProject) -> None:
    five.replace("pipeline.py", "return model / 10", "return model * 0.1")

    run = five.run()

    assert executed(run) == ["evaluate"]
    assert run.why("evaluate").verdict.startswith("executed: code pipeline.py::evaluate changed")


def test_editing_one_step_reruns_what_its_new_bytes_change(five: UserProject) -> None:
    five.replace("pipeline.py", "return model / 10", "return model / 5")

    run = five.run()

    assert executed(run) == ["evaluate", "report"]
    assert run.result() == "score 8.0"
    assert "input score (from evaluate) changed from 4.0 to 8.0" in run.why("report").verdict


def test_comments_docstrings_blank_lines_and_unused_helpers_rerun_nothing(five: UserProject) -> None:
    five.replace("pipeline.py", '"""Trains."""', '"""Trains a model."""\n\n    # with care\n')
    five.replace("helpers.py", "return x\n", "return x + 1\n")
    five.write("another.py", "x = 1\n")

    assert executed(five.run()) == []


def test_editing_a_helper_in_another_module_reruns_its_users(five: UserProject) -> None:
    five.replace("helpers.py", "return 2 * x", "return x + x")

    run = five.run()

    assert executed(run) == ["train"]
    assert "helpers.py::scaled" in run.why("train").verdict


def test_a_registry_entry_at_the_top_of_a_module_reruns_its_steps(five: UserProject) -> None:
    five.replace("pipeline.py", '{"even": 2}', '{"even": 2, "odd": 3}')

    assert "clean" in executed(five.run())


def test_a_seed_at_the_top_of_a_module_reruns_its_steps(five: UserProject) -> None:
    five.replace("pipeline.py", "REGISTRY =", "import random\nrandom.seed(7)\nREGISTRY =")

    assert executed(five.run()) == STEPS


def test_names_and_options_that_leave_the_result_as_it_is_rerun_nothing(five: UserProject) -> None:
    five.replace("pipeline.py", "@step\ndef train", '@step(pool="gpu", retries=2, timeout="1h")\ndef train')
    five.replace("pipeline.py", "def flow(", "def renamed(")

    assert executed(five.run("renamed")) == []


def test_a_changed_version_of_a_step_reruns_it(five: UserProject) -> None:
    five.replace("pipeline.py", "@step\ndef train", '@step(version="2")\ndef train')

    run = five.run()

    assert executed(run) == ["train"]
    assert "version" in run.why("train").verdict


def test_a_declared_file_reruns_its_step(five: UserProject) -> None:
    five.write("sql/query.sql", "select 1")
    five.replace("pipeline.py", "@step\ndef train", '@step(files=["sql/*.sql"])\ndef train')
    five.replace("pipeline.py", "helpers.scaled(", 'len((Path(__file__).parent / "sql/query.sql").read_text()) + helpers.scaled(')
    assert five.run().result() == "score 4.8"

    five.write("sql/query.sql", "select 12")
    run = five.run()

    assert executed(run) == ["train", "evaluate", "report"]
    assert run.result() == "score 4.9"
    assert "file sql/query.sql changed" in run.why("train").verdict


def test_reading_an_undeclared_file_fails_with_the_hint_to_declare_it(five: UserProject) -> None:
    five.write("sql/query.sql", "select 1")
    five.replace("pipeline.py", "helpers.scaled(", 'len((Path(__file__).parent / "sql/query.sql").read_text()) + helpers.scaled(')

    run = five.run()

    assert run.state == "failed"
    assert 'declare the file that it reads: @step(files=["sql/query.sql"])' in failure_of(run, "train")


def test_an_unrelated_install_reruns_nothing(site_packages: Path, five: UserProject) -> None:
    install(site_packages, "unrelated", "1.0")

    assert executed(five.run()) == []


def test_another_version_of_an_imported_distribution_reruns_its_users(site_packages: Path, five: UserProject) -> None:
    install(site_packages, "numbertools", "1.0")
    five.replace("pipeline.py", "return model / 10", "import numbertools\n    return model / numbertools.TEN")
    assert five.run().result() == "score 4.0"

    shutil.rmtree(site_packages)
    install(site_packages, "numbertools", "1.1")
    run = five.run()

    assert executed(run) == ["evaluate"]
    assert "environment distribution numbertools changed from 1.0 to 1.1" in run.why("evaluate").verdict


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions that this process and its guests see."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


def install(folder: Path, name: str, version: str) -> None:
    """A distribution of one module, as an installer leaves it."""
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}.py").write_text("TEN = 10\n")
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    (information / "RECORD").write_text(f"{name}.py,,\n")
