"""Which modules are a project's, and by which name."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.sdk.identity.project import Project
from tests.sdk.written_project import WrittenProject, prepend_to_path

TELL = """
if __name__ == "__main__":
    from penstock.sdk.identity.closure import closure_of
    closure = closure_of(one)
    print(closure.module, closure.identity.digest, *sorted(closure.modules))
"""


def told(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_script_has_the_name_of_its_file_and_the_identity_of_the_module(project: WrittenProject) -> None:
    project.write("helpers.py", "def used():\n    return 1\n")
    project.write("pipeline.py", f"from helpers import used\n\ndef one():\n    return used()\n{TELL}")

    assert told(project.root, "pipeline.py") == ["pipeline", project.digest("one"), "helpers", "pipeline"]
    assert told(project.root.parent, str(project.root / "pipeline.py"))[0] == "pipeline"


def test_a_module_that_is_run_by_name_has_that_name(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/helpers.py", "def used():\n    return 1\n")
    project.write("pack/pipeline.py", f"from .helpers import used\n\ndef one():\n    return used()\n{TELL}")

    found = told(project.root, "-m", "pack.pipeline")

    assert found == ["pack.pipeline", project.digest("one", "pack.pipeline"), "pack", "pack.helpers", "pack.pipeline"]


def test_a_script_inside_a_package_sees_its_neighbours_by_their_bare_names(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/helpers.py", "def used():\n    return 1\n")
    project.write("pack/pipeline.py", f"from helpers import used\n\ndef one():\n    return used()\n{TELL}")

    found = told(project.root, "pack/pipeline.py")

    assert (found[0], found[2:]) == ("pack.pipeline", ["helpers", "pack", "pack.pipeline"])


def test_the_root_is_above_the_topmost_package(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/deep/__init__.py", "")
    project.write("pack/deep/module.py", "")
    file = project.root / "pack/deep/module.py"

    found = Project.of(file)

    assert found.root == project.root
    assert found.name_of(file) == "pack.deep.module"
    assert found.file_of("pack.deep.module") == file


def test_what_is_installed_is_not_the_project(project: WrittenProject) -> None:
    found = Project.of(project.root / "pipeline.py")

    assert [found.file_of(name) for name in ("json", "pydantic", "pytest", "penstock.sdk.identity.closure")] == [None] * 4


def test_penstock_is_never_the_project_even_if_it_lies_below(project: WrittenProject) -> None:
    project.write("penstock/__init__.py", "")

    assert Project.of(project.root / "pipeline.py").file_of("penstock") is None


def test_a_folder_of_data_that_is_named_as_a_library_is_not_that_library(project: WrittenProject) -> None:
    project.write("packaging/notes/tool.py", "")
    project.write("pipeline.py", "def one():\n    import packaging.version\n    return packaging.version.VERSION_PATTERN\n")

    assert project.closure("one").imports == {"packaging"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    prepend_to_path(monkeypatch, folder)
    return folder


def test_a_folder_on_the_path_is_the_project(project: WrittenProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/tools.py").write_text("")
    prepend_to_path(monkeypatch, tmp_path / "library")

    assert Project.of(project.root / "pipeline.py").file_of("tools") == tmp_path / "library/tools.py"


def test_an_editable_install_by_mapping_is_the_project(project: WrittenProject, site: Path, tmp_path: Path) -> None:
    (tmp_path / "source/tools").mkdir(parents=True)
    (tmp_path / "source/tools/__init__.py").write_text("")
    (tmp_path / "source/tools/hammer.py").write_text("")
    (tmp_path / "source/single.py").write_text("")
    mapping = {"tools": str(tmp_path / "source/tools"), "single": str(tmp_path / "source/single")}
    (site / "__editable___tools_0_1_finder.py").write_text(f"MAPPING: dict[str, str] = {mapping!r}\n")

    found = Project.of(project.root / "pipeline.py")

    assert found.file_of("tools") == tmp_path / "source/tools/__init__.py"
    assert found.file_of("tools.hammer") == tmp_path / "source/tools/hammer.py"
    assert found.file_of("single") == tmp_path / "source/single.py"
    assert found.name_of(tmp_path / "source/tools/hammer.py") == "tools.hammer"


@pytest.mark.parametrize(("origin", "is_project"), [('"dir_info": {}', True), ('"vcs_info": {}', False), ('"archive_info": {}', False)])
def test_an_install_from_a_folder_is_the_project(project: WrittenProject, site: Path, origin: str, is_project: bool) -> None:
    (site / "tools").mkdir()
    (site / "tools/__init__.py").write_text("")
    (site / "tools-1.dist-info").mkdir()
    (site / "tools-1.dist-info/direct_url.json").write_text('{"url": "file:///somewhere", ' + origin + "}")
    (site / "tools-1.dist-info/RECORD").write_text("tools/__init__.py,,\ntools-1.dist-info/RECORD,,\n../../bin/tool.py,,\n")

    found = Project.of(project.root / "pipeline.py").file_of("tools")

    assert (found == site / "tools/__init__.py") is is_project


def test_a_step_of_an_installed_library_has_that_library_as_its_project(
    project: WrittenProject, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = WrittenProject(site, monkeypatch)
    library.write("steplib/__init__.py", "")
    library.write("steplib/steps.py", "import neighbour\nfrom .parts import used\n\ndef one():\n    return used() + neighbour.x\n")
    library.write("steplib/parts.py", "def used():\n    return 1\n")
    library.write("neighbour.py", "x = 1\n")

    closure = library.closure("one", "steplib.steps")

    assert set(closure.modules) == {"steplib", "steplib.steps", "steplib.parts"}
    assert closure.imports == {"neighbour"}
