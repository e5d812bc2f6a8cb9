"""From a declared environment to a lock: what it reads, what it keeps, what it refuses."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.sdk import Environment
from penstock.sdk.environments.declared import Declared
from penstock.sdk.environments.resolution import GUEST_REQUIREMENTS, Lock, checked_lock, resolve
from penstock.sdk.environments.uv_program import complaint, find_uv, without_credentials
from tests.environments.package_index import PackageIndex


def lock_of(environment: Environment, tmp_path: Path, home: str = "home") -> Lock:
    return resolve(Declared.of(environment, tmp_path), tmp_path / home, lambda: None)


def hide_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on uv can't be started."""
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")


def test_packages_become_a_lock_with_hashes_and_with_what_penstock_needs(tmp_path: Path) -> None:
    lock = lock_of(Environment(packages=["boulder"]), tmp_path)

    assert lock.packages.keys() >= {"boulder", "pebble", "pydantic", "msgpack", "typing-extensions"}
    assert lock.packages["pebble"] == "1.0"
    text = lock.path.read_text()
    assert text.count("--hash=sha256:") >= len(lock.packages)


def test_a_second_resolution_of_the_same_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lock_of(Environment(packages=["pebble==1.0"]), tmp_path)
    hide_uv(monkeypatch)

    assert lock_of(Environment(packages=["pebble==1.0"]), tmp_path) == first
    with pytest.raises(InvalidInput, match="pip install uv"):
        lock_of(Environment(packages=["pebble==2.0"]), tmp_path)


def test_a_lock_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    environment = Environment(packages=["pebble==1.0"])

    assert lock_of(environment, tmp_path, "one").digest == lock_of(environment, tmp_path, "two").digest


def test_a_package_added_to_the_index_changes_no_lock_that_is_kept(tmp_path: Path, index: PackageIndex) -> None:
    index.add("gravel", "1.0")
    before = lock_of(Environment(packages=["gravel"]), tmp_path)
    index.add("gravel", "1.1")

    assert lock_of(Environment(packages=["gravel"]), tmp_path) == before
    assert lock_of(Environment(packages=["gravel"]), tmp_path, "elsewhere").packages["gravel"] == "1.1"


def test_a_requirements_file_is_read_with_what_it_includes(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r more.txt\n")
    (tmp_path / "more.txt").write_text("pebble==1.0\n")
    environment = Environment.from_requirements()

    assert lock_of(environment, tmp_path).packages["pebble"] == "1.0"
    (tmp_path / "more.txt").write_text("pebble==2.0\n")
    assert lock_of(environment, tmp_path).packages["pebble"] == "2.0"


def write_project(folder: Path) -> None:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["boulder"]\n'
        '[project.optional-dependencies]\nheavy = ["gneiss"]\n'
    )


def test_a_project_gives_what_its_lock_file_says(tmp_path: Path, index: PackageIndex) -> None:
    index.add("gneiss", "3.0")
    write_project(tmp_path / "mine")
    subprocess.run([find_uv(), "lock", "-q"], cwd=tmp_path / "mine", check=True)

    plain = lock_of(Environment.from_project("mine"), tmp_path)
    assert plain.packages["boulder"] == "1.0"
    assert not plain.packages.keys() & {"mine", "gneiss"}
    assert lock_of(Environment.from_project("mine", extras=["heavy"]), tmp_path).packages["gneiss"] == "3.0"


def test_what_a_project_takes_from_folders_is_left_to_the_snapshot(tmp_path: Path) -> None:
    write_project(tmp_path / "mine")
    settings = (
        (tmp_path / "mine" / "pyproject.toml").read_text().replace('["boulder"]', '["boulder", "beside"]').replace('["gneiss"]', "[]")
    )
    (tmp_path / "mine" / "pyproject.toml").write_text(f'{settings}[tool.uv.sources]\nbeside = {{ path = "../beside", editable = true }}\n')
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "pyproject.toml").write_text('[project]\nname = "beside"\nversion = "1"\ndependencies = ["pebble"]\n')
    subprocess.run([find_uv(), "lock", "-q"], cwd=tmp_path / "mine", check=True)

    packages = lock_of(Environment.from_project("mine"), tmp_path).packages

    assert packages.keys() >= {"boulder", "pebble"}
    assert "beside" not in packages


def test_a_project_without_a_lock_file_is_resolved(tmp_path: Path) -> None:
    write_project(tmp_path / "mine")

    assert lock_of(Environment.from_project("mine"), tmp_path).packages["boulder"] == "1.0"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (Environment(packages=["pebble==9"]), r"can't be resolved: .*pebble==9"),
        (Environment(packages=["boulder", "pebble==2.0"]), r"can't be resolved: .*boulder.*pebble"),
        (Environment(packages=["pebble =="]), "can't be resolved: "),
        (Environment(packages=["pebble", "pydantic<2"]), r"can't be resolved: .*pydantic"),
        (Environment(packages=["pebble @ https://me:hush@host.example/pebble.whl"]), "packages, line 1: .*credentials.*UV_INDEX"),
        (Environment.from_requirements("absent.txt"), "absent.txt can't be read: No such file"),
        (Environment.from_project("absent"), "pyproject.toml can't be read: No such file"),
    ],
)
def test_what_can_t_be_resolved_is_explained(environment: Environment, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        lock_of(environment, tmp_path)

    assert "hush" not in str(caught.value)


def test_a_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path / "mine")

    with pytest.raises(InvalidInput, match="lies on this machine only"):
        lock_of(Environment(packages=[f"mine @ file://{tmp_path}/mine"]), tmp_path)


def test_a_repository_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"can't hold x @ git\+https://host/x@1f3c, for what a repository gives has no hash"):
        checked_lock("x @ git+https://host/x@1f3c ; sys_platform == 'linux'\n")


def test_a_declaration_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"packages=\['pebble'\]"):
        Environment(packages="pebble")
    with pytest.raises(InvalidInput, match=r"such as '3\.12'"):
        Environment(packages=["pebble"], python="3.12.1")


def test_uv_s_complaints_become_one_line() -> None:
    said = (
        "  × No solution found when resolving dependencies:\n  ╰─▶ Because a was not found and\n      you need a, it fails.\n\n  hint: x\n"
    )

    assert complaint(said) == "Because a was not found and you need a, it fails."
    assert complaint("Using Python\nerror: Hash mismatch for `a`\n") == "Hash mismatch for `a`"
    assert complaint("Broken pipe\n\n") == "Broken pipe"
    assert complaint("") == "it said nothing"


def test_credentials_are_masked_in_addresses() -> None:
    assert without_credentials("from https://me:hush@host/simple and b@c") == "from https://***@host/simple and b@c"


def test_what_guests_need_is_what_penstock_declares() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert {line for line in GUEST_REQUIREMENTS if not line.startswith("typing-extensions")} <= set(project["dependencies"])
