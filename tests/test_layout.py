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
EXAMPLE = "penstock/deploy/example_retrain/"
EXAMPLE_PARTS = ["README.md", "drops", "penstock.toml", "pipeline.py"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_holds_only_itself(part: str) -> None:
    namespace = ROOT / part / "penstock"

    assert {path.name for path in namespace.iterdir() if path.name != "__pycache__"} == {part}, "an __init__.py here hides every other part"
    assert (namespace / part / "py.typed").is_file()
    assert (ROOT / part / "README.md").is_file()


def test_there_is_no_part_that_nobody_ships() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("*/penstock")) == PARTS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_exactly_the_parts_and_the_example(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    modules = {path.relative_to(ROOT / part) for part in PARTS for path in (ROOT / part / "penstock").rglob("*.py")}
    assert {Path(name) for name in names if name.endswith(".py") and not name.startswith(EXAMPLE)} == modules
    assert {Path(name).parts[1] for name in names if ".dist-info" not in name} == set(PARTS)
    assert {f"penstock/{part}/py.typed" for part in PARTS} <= set(names)
    assert {name.removeprefix(EXAMPLE).partition("/")[0] for name in names if name.startswith(EXAMPLE)} == set(EXAMPLE_PARTS)


def test_an_installed_penstock_writes_the_example(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)

    # Without the site module's paths of this checkout: penstock can come from nowhere but the wheel.
    packages = [path for path in sys.path if path.endswith("site-packages")]
    code = f"import sys; sys.path[:0] = [{str(installed)!r}]; sys.path += {packages!r}; from penstock.deploy.main import main; main()"
    command = [sys.executable, "-S", "-P", "-c", code, "init", "project"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for path in (path for part in EXAMPLE_PARTS for path in [ROOT / "examples/retrain" / part] if path.is_file()):
        assert (tmp_path / "project" / path.name).read_bytes() == path.read_bytes()
    assert any((tmp_path / "project" / "drops").iterdir())


@pytest.mark.parametrize("group", ["console_scripts", "penstock.engines", "pytest11"])
def test_every_entry_point_leads_somewhere(group: str) -> None:
    for point in entry_points(group=group):
        if point.value.startswith("penstock."):
            point.load()


def test_the_namespace_has_no_module_of_its_own() -> None:
    assert importlib.import_module("penstock").__file__ is None


@pytest.mark.parametrize(
    "code",
    ["import penstock.contracts.spec", "from penstock.sdk import pipeline, step", "import penstock.runners.zygote"],
)
def test_what_guests_import_is_light(code: str) -> None:
    heavy = {
        "sqlalchemy", "alembic", "structlog", "rich", "typer", "pandas", "numpy", "asyncio", "ssl", "yaml", "packaging",
        "penstock.sdk.drawing.tracing", "penstock.sdk.runs.starting", "penstock.sdk.inline.run", "penstock.contracts.messages",
    }  # fmt: skip
    program = f"{code}; import sys; print(' '.join(sorted(set(sys.modules) & {heavy!r})))"

    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert loaded == []
