"""The house: six parts under one namespace, and a wheel that holds exactly them."""

import importlib
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ["contracts", "deploy", "engine", "runners", "sdk", "transport"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_holds_only_itself(part: str) -> None:
    namespace = ROOT / part / "penstock"

    assert {path.name for path in namespace.iterdir() if path.name != "__pycache__"} == {part}, "an __init__.py here hides every other part"
    assert (namespace / part / "py.typed").is_file()
    assert (ROOT / part / "README.md").is_file()


def test_there_is_no_part_that_nobody_ships() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("*/penstock")) == PARTS


def test_the_wheel_holds_exactly_the_parts(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    modules = {path.relative_to(ROOT / part) for part in PARTS for path in (ROOT / part / "penstock").rglob("*.py")}
    assert {Path(name) for name in names if name.endswith(".py")} == modules
    assert {Path(name).parts[1] for name in names if ".dist-info" not in name} == set(PARTS)
    assert {f"penstock/{part}/py.typed" for part in PARTS} <= set(names)


@pytest.mark.parametrize("group", ["console_scripts", "penstock.engines", "pytest11"])
def test_every_entry_point_leads_somewhere(group: str) -> None:
    for point in entry_points(group=group):
        if point.value.startswith("penstock."):
            point.load()


def test_the_namespace_has_no_module_of_its_own() -> None:
    assert importlib.import_module("penstock").__file__ is None


@pytest.mark.parametrize("module", ["penstock.contracts.spec", "penstock.sdk"])
def test_what_guests_import_is_light(module: str) -> None:
    heavy = {"sqlalchemy", "alembic", "structlog", "rich", "typer", "pandas", "numpy"}
    code = f"import {module}, sys; print(' '.join(sorted(set(sys.modules) & {heavy!r})))"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert loaded == []
