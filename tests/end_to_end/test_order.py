"""Who gets a slot, and how many at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.deploy.embedded.client import EmbeddedClient
from tests.end_to_end.conftest import engine
from tests.end_to_end.pipelines import failing
from tests.end_to_end.user_project import begun, ended, executed, until


@pytest.fixture
def narrow(private_home: Path) -> Iterator[EmbeddedClient]:
    """An engine of one slot."""
    with engine(private_home, slots=1) as client:
        yield client


def test_the_run_of_higher_priority_gets_the_free_slot(narrow: EmbeddedClient, tmp_path: Path) -> None:
    order = tmp_path / "order"
    holder = begun(narrow, failing.gated, folder=str(tmp_path))
    until((tmp_path / "started").exists)
    low = begun(narrow, failing.signing, path=str(order), names=["low", "low"])
    high = begun(narrow, failing.signing, {"priority": 5}, path=str(order), names=["high", "high"])
    (tmp_path / "gate").touch()

    for run in (holder, low, high):
        run.wait()

    assert order.read_text() == "high high low low "


def test_runs_of_one_priority_share_the_slots_fairly(narrow: EmbeddedClient, tmp_path: Path) -> None:
    order = tmp_path / "order"
    holder = begun(narrow, failing.gated, folder=str(tmp_path))
    until((tmp_path / "started").exists)
    runs = [begun(narrow, failing.signing, path=str(order), names=[name] * 6) for name in ("a", "b")]
    (tmp_path / "gate").touch()

    for run in (holder, *runs):
        run.wait()

    assert sorted(order.read_text().split()[:6]) != ["a"] * 6


def test_max_parallel_bounds_the_step_runs_of_a_run(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    (tmp_path / "bounded").mkdir()
    (tmp_path / "free").mkdir()

    bounded = ended(shared_client, failing.crowding, {"max_parallel": 1}, folder=str(tmp_path / "bounded"), xs=list(range(6)))
    free = ended(shared_client, failing.crowding, folder=str(tmp_path / "free"), xs=list(range(6)), expected=2)

    assert bounded.result() == [1] * 6
    assert 1 < max(free.result()) <= 3


def test_what_another_run_made_while_a_step_waited_for_a_slot_is_not_made_again(narrow: EmbeddedClient, tmp_path: Path) -> None:
    path = tmp_path / "order"
    holder = begun(narrow, failing.gated, folder=str(tmp_path))
    until((tmp_path / "started").exists)
    runs = [begun(narrow, failing.noting, path=str(path), names=["a", "b", "c", "d", "e"]) for _ in range(3)]
    (tmp_path / "gate").touch()

    for run in (holder, *runs):
        run.wait()

    assert sorted(path.read_text().split()) == ["a", "b", "c", "d", "e"]
    assert sorted(address for run in runs for address in executed(run)) == [f"noted/{number}" for number in range(5)]
