"""What an environment that nobody declared is, and what leaves it as it is."""

import importlib.metadata
from pathlib import Path

import pytest

from penstock.sdk.identity.environment import environment_of
from tests.sdk.counted_calls import calls_of
from tests.sdk.written_project import prepend_to_path


class Site:
    """A folder of installed distributions, first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, version: str = "1.0", *, files: tuple[str, ...] = (), requires: tuple[str, ...] = ()) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\nVersion: of the description\n")
        (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))

    def remove(self, name: str) -> None:
        for info in self.folder.glob(f"{name}-*.dist-info"):
            for file in info.iterdir():
                file.unlink()
            info.rmdir()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    prepend_to_path(monkeypatch, folder)
    site = Site(folder)
    site.install("alpha-tools", "1.2", files=("alpha/__init__.py",), requires=("beta>=1", "gamma; extra == 'more'"))
    site.install("beta", "2.0", files=("beta.py",), requires=('delta[fast]; python_version >= "3.0"', 'old; python_version < "3.0"'))
    site.install("delta", "3.0", files=("delta/__init__.py",), requires=("quick; extra == 'fast'",))
    site.install("quick", "4.0", files=("quick/__init__.py",))
    site.install("gamma", "5.0", files=("gamma/__init__.py",))
    return site


def distributions(*modules: str) -> dict[str, str]:
    components = environment_of(modules).components
    return {name.removeprefix("distribution "): version for name, version in components.items() if name.startswith("distribution ")}


def test_an_environment_is_what_the_imports_come_from_and_what_that_requires(site: Site) -> None:
    assert distributions("alpha") == {"alpha-tools": "1.2", "beta": "2.0", "delta": "3.0", "quick": "4.0"}


def test_python_platform_and_penstock_are_in_every_environment() -> None:
    assert set(environment_of([]).components) == {"python", "platform", "penstock"}


def test_an_unrelated_distribution_changes_nothing(site: Site) -> None:
    before = environment_of(["alpha"])

    site.install("unrelated", files=("unrelated/__init__.py",), requires=("alpha-tools",))

    assert environment_of(["alpha"]) == before


def test_an_extra_that_nobody_asked_for_changes_nothing(site: Site) -> None:
    before = environment_of(["alpha"])

    site.remove("gamma")

    assert environment_of(["alpha"]) == before


@pytest.mark.parametrize("name", ["alpha_tools", "quick"])
def test_another_version_of_a_distribution_changes_the_environment(site: Site, name: str) -> None:
    before = environment_of(["alpha"]).digest

    site.remove(name)
    site.install(name, "9.9", files=(f"{name.removesuffix('_tools')}/__init__.py",), requires=("beta", "delta[fast]"))

    assert environment_of(["alpha"]).digest != before


def test_a_requirement_that_is_missing_counts_as_missing(site: Site) -> None:
    site.remove("quick")

    assert distributions("alpha")["quick"] == "not installed"


def test_a_module_that_nothing_provides_counts_as_missing() -> None:
    assert environment_of(["nowhere_to_be_found"]).components["module nowhere_to_be_found"] == "not installed"


def test_a_module_that_no_distribution_provides_counts_by_its_file(site: Site) -> None:
    (site.folder / "loose_module.py").write_text("x = 1")
    before = environment_of(["loose_module"])

    (site.folder / "loose_module.py").write_text("x = 2")

    assert environment_of(["loose_module"]) != before


def test_all_parts_of_a_namespace_package_count(site: Site) -> None:
    site.install("space-one", "1", files=("space/one/__init__.py",))
    site.install("space-two", "2", files=("space/two/__init__.py",))

    assert distributions("space") == {"space-one": "1", "space-two": "2"}


def test_modules_of_compiled_code_are_found(site: Site) -> None:
    site.install("compiled-thing", "7", files=("_fast.cpython-311-x86_64-linux-gnu.so",))

    assert distributions("_fast") == {"compiled-thing": "7"}


def test_requirements_that_need_each_other_end(site: Site) -> None:
    site.install("hen", "1", files=("hen.py",), requires=("egg",))
    site.install("egg", "1", files=("egg.py",), requires=("hen",))

    assert distributions("hen") == {"hen": "1", "egg": "1"}


def test_the_standard_library_and_penstock_are_no_distributions() -> None:
    assert distributions("json", "os", "penstock") == {}


def test_the_order_of_imports_is_not_in_an_environment() -> None:
    assert environment_of(["pandas", "sklearn"]) == environment_of(["sklearn", "pandas"])


def test_pandas_and_scikit_learn_are_told_without_a_look_at_all_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another path, so that nothing is remembered.
    prepend_to_path(monkeypatch, tmp_path)

    work = calls_of(lambda: environment_of(["pandas", "sklearn"]))

    assert {"pandas", "scikit-learn", "numpy", "scipy"} <= set(distributions("pandas", "sklearn"))
    assert work < calls_of(importlib.metadata.packages_distributions) / 3
