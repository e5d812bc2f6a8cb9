"""`make up` and `make down`: a whole cluster from Debian's packages in one folder, and nothing of it afterwards but the folder."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.process import free_port, wait_until
from tools.up.place import Place, PlaceTaken

# It starts nine processes, twice: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(400)
ROOT = Path(__file__).parents[2]
_MAKE = shutil.which("make") or "make"
_PARENT = Path(tempfile.gettempdir())
"""Read before any test has a temporary folder of its own: PostgreSQL's user reaches it."""
FLOW = """
from penstock.sdk import OnEvent, pipeline, step


@step
def train(rows: int) -> int:
    return rows + 1


@pipeline(triggers=[OnEvent("day.closed", parameters={"rows": "event.data.rows"})])
def nightly(rows: int) -> int:
    return train(rows)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="penstock-up-", dir=_PARENT))
    path.chmod(0o711)
    yield path / "place"
    _down(path / "place")
    shutil.rmtree(path)


@pytest.fixture
def place(folder: Path) -> Place:
    return Place(folder)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tools.up", *arguments]


def _down(folder: Path, *arguments: str) -> str:
    done = subprocess.run(_command("down", "--folder", str(folder), *arguments), cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def _up(folder: Path) -> Generator[tuple["subprocess.Popen[bytes]", Path]]:
    """The process that serves the folder, once everything is up, and where it writes what it says."""
    said = folder.with_name("said")
    with said.open("wb") as output:
        command = _command("up", "--folder", str(folder), "--port", str(free_port()))
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: "Ctrl-C" in said.read_text() or process.poll() is not None, seconds=120, what="everything is up")
        assert process.poll() is None, said.read_text()
        yield process, said
    finally:
        process.kill()
        process.wait()


def _penstock(folder: Path, line: str) -> str:
    """What a command says in a shell that has read the folder's `environment`, as it is printed at the start."""
    shell = f". {folder}/environment; {line.replace('.venv/bin/', str(Path(sys.executable).parent) + '/')}"
    done = subprocess.run(["/bin/bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cluster_comes_up_works_heals_goes_down_and_keeps_its_data(folder: Path, place: Place) -> None:
    with _up(folder) as (process, said):
        [submit] = [line.strip() for line in said.read_text().splitlines() if "penstock submit" in line]
        assert "22 executed" in _penstock(folder, submit)
        (folder.parent / "flow.py").write_text(FLOW)
        assert "nightly@1 is published" in _penstock(folder, f".venv/bin/penstock publish {folder.parent}/flow.py --triggers on")
        assert "nightly-1" in _penstock(folder, ".venv/bin/penstock emit day.closed rows=1200 --id monday --wait")
        assert "result = 1201" in _penstock(folder, ".venv/bin/penstock runs follow nightly-1")

        [coordinator] = [number for number in place.processes() if _named(number, "coordinator-1")]
        os.kill(coordinator, signal.SIGKILL)
        wait_until(lambda: "coordinator-1 ended with -9 and is started again" in said.read_text(), seconds=30, what="the end is noticed")

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert place.processes() == []

    with _up(folder) as (process, said):
        assert "retrain-1" in _penstock(folder, ".venv/bin/penstock runs show retrain-1")

        with pytest.raises(PlaceTaken, match=f"served already by process {process.pid}"), place.taken():
            pass

        # What nobody serves any more is ended too.
        process.kill()
        process.wait()
        assert "is deleted" in _down(folder, "--delete")

    assert place.processes() == []
    assert not folder.exists()


def test_secrets_are_for_their_owner_alone_and_differ_between_folders(folder: Path) -> None:
    secrets_of = [Place(folder / name) for name in ("one", "other")]
    for place in secrets_of:
        place.folder.mkdir(parents=True)

    one, other = (place.addresses(8080) for place in secrets_of)

    assert not {one.api_token, one.signing_key, one.broker_password} & {other.api_token, other.signing_key, other.broker_password}
    assert (folder / "one" / "addresses.json").stat().st_mode & 0o777 == 0o600
    assert Place(folder / "one").addresses(9090).api_token == one.api_token


def test_down_where_nothing_was_started_says_so(folder: Path) -> None:
    assert "there is nothing in" in _down(folder)


def test_make_hands_its_arguments_on() -> None:
    said = subprocess.run([_MAKE, "-n", "up", "down", "ARGS=--folder elsewhere"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ".venv/bin/python -m tools.up up --folder elsewhere" in said.stdout
    assert ".venv/bin/python -m tools.up down --folder elsewhere" in said.stdout


def _named(process: int, name: str) -> bool:
    return f"PENSTOCK_NAME={name}".encode() in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
