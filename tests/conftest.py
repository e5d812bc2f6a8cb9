"""What holds for every test: no surroundings of the developer's own leak in, and property tests take the same path each time."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Derandomized: a red run can be repeated. No deadline: two cores are shared with other tests.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, in place of the one that belongs to whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    home = tmp_path / ".penstock"
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    return home
