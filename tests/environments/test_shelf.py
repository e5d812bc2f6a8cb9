"""Environments on a runner: built once, shared, repaired, removed."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.runners.environments.builds import EnvironmentBroken, Recipe
from penstock.runners.environments.shelf import Environments, Installed
from tests.environments.package_index import PackageIndex
from tests.runners.workbench import until
from tests.sdk.interpreters import SUPPORTED, interpreter

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# It tells that it has begun, then waits for leave to end.
SLOW = """
import os, pathlib, shutil, time, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    gate = pathlib.Path(os.environ["UV_TEST_GATE"])
    gate.with_suffix(".begun").touch()
    limit = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    name = "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        archive.writestr("slow.py", "")
        archive.writestr("slow-1.0.dist-info/METADATA", "Metadata-Version: 2.2\\nName: slow\\nVersion: 1.0\\n")
        archive.writestr("slow-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("slow-1.0.dist-info/RECORD", "slow.py,,\\nslow-1.0.dist-info/METADATA,,\\nslow-1.0.dist-info/WHEEL,,\\n")
    return name
"""
BUILDER = """
import asyncio, pathlib, sys
from penstock.runners.environments.builds import Recipe
from penstock.runners.environments.shelf import Environments

async def main():
    recipe = Recipe(name="slow", python=sys.argv[3], lock=pathlib.Path(sys.argv[2]))
    async with Environments(pathlib.Path(sys.argv[1])).lease(recipe, lambda data: None):
        pass

asyncio.run(main())
"""


def unheard(data: bytes) -> None:
    """For tests that don't look at what builds print."""


def recipe(index: PackageIndex, folder: Path, pinned: str = "pebble==1.0", *, name: str = "", python: str = PYTHON) -> Recipe:
    folder.mkdir(exist_ok=True)
    return Recipe(name=name or pinned.replace("==", "-"), python=python, lock=index.locked(folder / f"{pinned}.txt", pinned))


def version_in(installed: Installed) -> str:
    return said_by([installed.python, "-c", "import pebble; print(pebble.VERSION)"], installed.variables)


def said_by(words: list[str], variables: dict[str, str]) -> str:
    return subprocess.run(words, env=variables, capture_output=True, text=True, check=True).stdout.strip()


async def test_several_that_wait_for_one_environment_build_it_once_and_all_hear_of_it(index: PackageIndex, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf")
    wanted = recipe(index, tmp_path / "locks")
    heard: list[list[bytes]] = [[] for _ in range(4)]

    async def use(said: list[bytes]) -> str:
        async with shelf.lease(wanted, said.append) as installed:
            return await asyncio.to_thread(version_in, installed)

    assert await asyncio.gather(*map(use, heard)) == ["1.0"] * 4
    assert heard[0] == heard[1] == heard[2] == heard[3]
    assert b"".join(heard[0]).count(b"building the environment") == 1
    later: list[bytes] = []
    await use(later)
    assert later == []


async def test_what_is_installed_beside_penstock_can_t_be_imported(index: PackageIndex, tmp_path: Path) -> None:
    async with Environments(tmp_path / "shelf").lease(recipe(index, tmp_path / "locks"), unheard) as installed:
        asked = "import penstock.contracts.names, importlib.util as u; print([u.find_spec(n) is not None for n in ('pebble', 'structlog')])"
        told = await asyncio.to_thread(said_by, [installed.python, "-c", asked], installed.variables)

    assert told == "[True, False]"


async def test_a_failed_build_is_explained_and_leaves_nothing_in_the_way(index: PackageIndex, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf")
    broken = recipe(index, tmp_path / "locks")
    whole = broken.lock.read_text()
    broken.lock.write_text("pebble==1.0 --hash=sha256:" + "0" * 64)

    said: list[bytes] = []
    with pytest.raises(EnvironmentBroken, match=r"can't be installed: .*pebble"):
        async with shelf.lease(broken, said.append):
            pass
    assert b"pebble" in b"".join(said)
    assert not any((tmp_path / "shelf").glob(".building-*"))

    broken.lock.write_text(whole)
    async with shelf.lease(broken, unheard) as installed:
        assert await asyncio.to_thread(version_in, installed) == "1.0"


async def test_credentials_are_not_in_what_a_build_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lock = tmp_path / "lock.txt"
    lock.write_text("pebble @ http://me:hush@127.0.0.1:9/pebble-1.0-py3-none-any.whl --hash=sha256:" + "0" * 64)
    said: list[bytes] = []

    with pytest.raises(EnvironmentBroken) as caught:
        async with Environments(tmp_path / "shelf").lease(Recipe(name="private", python=PYTHON, lock=lock), said.append):
            pass

    assert "hush" not in str(caught.value) + b"".join(said).decode()
    assert b"127.0.0.1" in b"".join(said)


async def test_an_interpreter_that_is_not_there_is_named(index: PackageIndex, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBroken, match=r"Python 3\.99") as caught:
        async with Environments(tmp_path / "shelf").lease(recipe(index, tmp_path / "locks", python="3.99"), unheard):
            pass

    assert "UV_PYTHON_DOWNLOADS=automatic" in caught.value.hint


async def test_another_python_is_found_on_the_search_path(index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {version: found for version in SUPPORTED if version != PYTHON and (found := interpreter(version)) is not None}
    if not others:
        pytest.skip("no other Python is installed here")
    version, python = next(iter(others.items()))
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")

    async with Environments(tmp_path / "shelf").lease(recipe(index, tmp_path / "locks", python=version), unheard) as installed:
        told = await asyncio.to_thread(said_by, [installed.python, "-c", "import sys, pebble; print(sys.version)"], installed.variables)

    assert told.startswith(f"{version}.")


async def test_an_environment_whose_interpreter_is_gone_is_built_again(index: PackageIndex, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf")
    wanted = recipe(index, tmp_path / "locks")
    async with shelf.lease(wanted, unheard) as installed:
        pass
    point_nowhere(Path(installed.python))

    async with shelf.lease(wanted, unheard) as installed:
        assert await asyncio.to_thread(version_in, installed) == "1.0"


def point_nowhere(python: Path) -> None:
    python.unlink()
    python.symlink_to("/removed/python")


async def test_the_least_recently_used_environments_go_and_one_in_use_never(index: PackageIndex, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf", kept=1)
    wanted = [recipe(index, tmp_path / "locks", name=f"number-{number}") for number in range(3)]

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shelf.lease(wanted[0], unheard))
        for other in wanted[1:]:
            async with shelf.lease(other, unheard):
                pass
        assert names_in(tmp_path / "shelf") == {"number-0", "number-2"}
    async with shelf.lease(wanted[1], unheard):
        pass
    assert names_in(tmp_path / "shelf") == {"number-1"}


async def test_an_environment_that_nobody_used_for_long_goes(index: PackageIndex, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf", kept_seconds=3600)
    for name in ("old", "new"):
        async with shelf.lease(recipe(index, tmp_path / "locks", name=name), unheard):
            pass
        os.utime(tmp_path / "shelf" / "old.lock", (0, 0))
    async with shelf.lease(recipe(index, tmp_path / "locks", name="third"), unheard):
        pass

    assert names_in(tmp_path / "shelf") == {"new", "third"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if (path / "bin").is_dir()}


@pytest.fixture
def slow(index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A package whose build waits until the file `gate` is there. With a cache of its own, for uv keeps what it has built."""
    index.add_source("slow", "1.0", SLOW)
    monkeypatch.setenv("UV_TEST_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    # uv leaves the locks of such builds among temporary files.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return recipe(index, tmp_path / "locks", "slow==1.0", name="slow")


def builder(slow: Recipe, tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path / "shelf"), str(slow.lock), PYTHON], start_new_session=True)


async def test_a_runner_killed_while_it_builds_leaves_nothing_in_the_way(slow: Recipe, tmp_path: Path) -> None:
    with builder(slow, tmp_path) as process:
        await until((tmp_path / "gate.begun").exists)
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "shelf").glob(".building-*"))

    (tmp_path / "gate").touch()
    async with Environments(tmp_path / "shelf").lease(slow, unheard) as installed:
        assert installed.python.startswith(str(tmp_path / "shelf" / "slow"))
    assert not list((tmp_path / "shelf").glob(".building-*"))


async def test_another_process_s_build_is_waited_for(slow: Recipe, tmp_path: Path) -> None:
    said: list[bytes] = []
    with builder(slow, tmp_path):
        await until((tmp_path / "gate.begun").exists)
        shelf = Environments(tmp_path / "shelf")

        async def use() -> None:
            async with shelf.lease(slow, said.append):
                pass

        waiting = asyncio.create_task(use())
        await until(lambda: bool(said))
        (tmp_path / "gate").touch()
        await waiting

    assert said == [b"penstock: another process builds the environment slow\n"]


async def test_what_builds_a_package_sees_no_secrets_of_the_runner(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SIGNING_KEY", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    index.add_source("nosy", "1.0", "import os\n\ndef build_wheel(*_):\n    raise SystemExit(f'I see {sorted(os.environ.items())}')\n")
    said: list[bytes] = []

    with pytest.raises(EnvironmentBroken, match="nosy"):
        async with Environments(tmp_path / "shelf").lease(recipe(index, tmp_path / "locks", "nosy==1.0"), said.append):
            pass

    assert b"I see" in b"".join(said)
    assert b"hush" not in b"".join(said)


async def test_closing_ends_a_build_with_all_its_processes(slow: Recipe, tmp_path: Path) -> None:
    shelf = Environments(tmp_path / "shelf")

    async def use() -> None:
        async with shelf.lease(slow, unheard):
            pass

    waiting = asyncio.create_task(use())
    await until((tmp_path / "gate.begun").exists)
    await shelf.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not list((tmp_path / "shelf").glob(".building-*"))
