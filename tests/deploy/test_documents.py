"""Pipelines as YAML documents on the command line: written by `graph`, run as the file they came from."""

from pathlib import Path

import pytest

from tests.deploy.processes import penstock
from tests.deploy.test_on_engine import PIPELINE, last_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a pipeline that was run once, and its document."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "p.py").write_text(PIPELINE.format(imports=str(folder / "imports")))
    written = penstock(folder, "graph", "p.py", "--format", "yaml")
    assert written.returncode == 0, written.stderr
    (folder / "penstock.yaml").write_text(written.stdout)
    assert penstock(folder, "run", "p.py").returncode == 0
    return folder


def test_a_document_of_a_pipeline_runs_from_its_cache(folder: Path) -> None:
    run = penstock(folder, "run", "penstock.yaml", "--json")

    assert run.returncode == 0, run.stderr
    assert last_json(run.stdout)["outputs"] == {"result": 6}
    assert all(step["hit"] for step in last_json(run.stdout)["steps"])


def test_a_document_takes_parameters_and_runs_inline(folder: Path) -> None:
    run = penstock(folder, "run", "penstock.yaml", "--inline", "-p", "xs=[5]", "--json")

    assert run.returncode == 0, run.stderr
    assert last_json(run.stdout)["outputs"] == {"result": 10}


def test_a_document_is_checked(folder: Path) -> None:
    assert penstock(folder, "check", "penstock.yaml").stdout.endswith("ok\n")


def test_a_document_with_an_unknown_key_says_where(folder: Path) -> None:
    broken = folder / "broken.yml"
    broken.write_text((folder / "penstock.yaml").read_text().replace("nodes:", "steps:"))

    checked = penstock(folder, "check", "broken.yml")

    assert checked.returncode == 2
    assert "broken.yml" in checked.stderr
    assert "steps" in checked.stderr


def test_a_document_is_written_as_it_is(folder: Path) -> None:
    assert penstock(folder, "graph", "penstock.yaml", "--format", "yaml").stdout == (folder / "penstock.yaml").read_text()
