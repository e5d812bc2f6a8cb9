"""Which steps `penstock runner serve` is pointed at, and what is said where there are none."""

from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError, InvalidInput
from penstock.deploy.services.served_steps import served_steps, split
from tests.deploy.processes import penstock

FLOWS = """
from penstock.sdk import pipeline, step

@step
def prepare(x: int) -> int:
    return x

@step
def train(x: int) -> int:
    return x + 1

@pipeline
def retrain(x: int) -> int:
    return train(prepare(x))

@pipeline
def Again(x: int) -> int:
    return train(x)
"""


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").touch()
    file = tmp_path / "flows.py"
    file.write_text(FLOWS)
    return file


def test_all_steps_of_all_pipelines_are_found_under_the_names_that_runs_have(flows: Path) -> None:
    found = served_steps(str(flows), None, "default", any_version=False)

    assert {(service.pipeline, service.step) for service in found} == {("retrain", "prepare"), ("retrain", "train"), ("again", "train")}
    [code] = {service.code for service in found if service.step == "train"}
    assert code.startswith("sha256:")


def test_a_step_a_pipeline_and_any_version_can_be_chosen_of_a_module(flows: Path) -> None:
    [service] = served_steps("flows:train", "retrain", "team", any_version=True)

    assert (service.workspace, service.pipeline, service.step, service.code) == ("team", "retrain", "train", "")


def test_a_step_that_does_not_exist_is_named_with_the_nearest_one(flows: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no step 'trian'.*train"):
        served_steps(f"{flows}:trian", None, "default", any_version=False)


def test_a_module_that_can_not_be_imported_shows_why(flows: Path) -> None:
    flows.write_text("1 / 0\n")

    with pytest.raises(GraphError, match="ZeroDivisionError"):
        served_steps("flows.py", None, "default", any_version=False)


def test_targets_are_files_modules_and_steps_of_them(flows: Path) -> None:
    assert split("flows.py") == (flows, None)
    assert split("./flows.py:north/train") == (flows, "north/train")
    assert split("shop.flows:train") == ("shop.flows", "train")
    with pytest.raises(InvalidInput, match=r"no file absent\.py"):
        split("absent.py:train")


def test_what_would_be_served_is_listed(flows: Path) -> None:
    shown = penstock(flows.parent, "runner", "serve", "flows.py:prepare", "--list")

    assert shown.returncode == 0
    assert shown.stdout.startswith("retrain/prepare  sha256:")
