"""What holds for every test: no surroundings of the developer's own leak in, nothing is left behind, and property tests take the same path
each time."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers.fixtures"]

# Derandomized: a red run can be repeated. No deadline: two cores are shared with other tests.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def logging_as_it_comes() -> Iterator[None]:
    """Commands set the log up for their process; a test's is everybody's."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every process that a test starts inherits a folder for temporary files, by which it is known."""
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        yield
    _, alive = psutil.wait_procs([process for process in psutil.process_iter() if _holds(process, temporary)], timeout=30)
    assert not alive, f"tests left processes behind: {[process.cmdline() for process in alive]}"
    # Notebooks' code is kept for as long as the machine keeps temporary files.
    left = [path.name for path in temporary.iterdir() if not path.name.startswith("penstock-notebooks-")]
    assert not left, f"tests left temporary files behind: {left}"


def _holds(process: psutil.Process, temporary: Path) -> bool:
    """Whether a test of this session started it."""
    try:
        return process.pid != os.getpid() and process.environ().get("TMPDIR") == str(temporary)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, in place of the one that belongs to whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    home = tmp_path / ".penstock"
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    return home
