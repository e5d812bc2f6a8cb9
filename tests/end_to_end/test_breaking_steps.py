"""Steps that break are told apart, and told with what to do."""

import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.sdk import File
from tests.end_to_end.conftest import engine
from tests.end_to_end.pipelines import breaking
from tests.end_to_end.user_project import begun, ended, failure_of, until


def test_a_step_that_prints_a_gigabyte_keeps_the_ends_of_its_log(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.printing, megabytes=1024)

    assert run.result() == 1024
    (attempt,) = run["prints"].attempts
    assert attempt.log is not None
    log = shared_client.local(attempt.log).read_bytes()
    assert log.startswith(b"the beginning\n")
    assert log.endswith(b"the end\n")
    assert b" bytes dropped ..." in log
    assert len(log) < 20 * 2**20


def test_a_segmentation_fault_is_told_as_such(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.crashing)

    assert run.state is RunState.FAILED
    told = failure_of(run, "reads_address_zero")
    assert "signal: killed by SIGSEGV" in told
    assert "breaking.py" in told


def test_exceeded_memory_is_told_with_what_to_state(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.hoarding, megabytes=300)

    assert run.state is RunState.FAILED
    told = failure_of(run, "takes_memory")
    assert "memory: it used more than its 150 MiB" in told
    assert "Resources(memory=" in told


def test_sys_exit_in_a_step_is_a_failure_with_a_hint(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.leaving)

    assert run.state is RunState.FAILED
    assert "a step returns or raises; it does not call sys.exit()" in failure_of(run, "leaves")


def test_a_value_that_cannot_be_stored_is_named(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.storing_code)

    assert run.state is RunState.FAILED
    assert "output: the output 'result' can't be stored" in failure_of(run, "returns_code")


def test_an_output_file_that_was_not_written_is_named(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.storing_nothing)

    assert run.state is RunState.FAILED
    assert "nowhere.csv" in failure_of(run, "returns_missing_file")


def test_a_value_of_another_type_than_promised_is_told_where_it_is_read(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.lying, x=1)

    assert run.state is RunState.FAILED
    assert "x takes int, but got str '1'" in failure_of(run, "adds_one")


def test_not_a_number_is_a_value_like_others(shared_client: EmbeddedClient) -> None:
    run = ended(shared_client, breaking.diverging)

    assert math.isnan(run.result()[0])
    assert run.result()[1] is True
    assert math.isnan(run["diverges"][0].metrics["loss"][0])


def test_an_input_of_the_run_that_is_gone_is_told_with_what_to_do(shared_client: EmbeddedClient, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"x" * 10000)
    run = begun(shared_client, breaking.reading_later, data=File(tmp_path / "data.bin"), gate=str(tmp_path / "gate"))
    ref = run.view.parameters["data"]
    assert isinstance(ref, ArtifactRef)
    until((tmp_path / "gate.waiting").exists)
    shared_client.local(ref).unlink()
    (tmp_path / "gate").touch()
    run.wait()

    assert run.state is RunState.FAILED
    assert "is gone or corrupt, and no step of this run can make it again" in failure_of(run, "reads")
    assert "submit it anew" in failure_of(run, "reads")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    options = ["-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if mount is None or unmount is None or subprocess.run([mount, *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("NOT TESTED: a full disk; mounting a small one is not allowed here")
    yield folder
    subprocess.run([unmount, str(folder)], check=True)


def test_a_full_disk_fails_the_step_and_leaves_the_engine_well(small_disk: Path) -> None:
    with engine(small_disk / "home") as client:
        full = ended(client, breaking.filling, megabytes=64)
        after = ended(client, breaking.filling, megabytes=2)

        assert full.state is RunState.FAILED
        assert "No space left on device" in failure_of(full, "writes")
        assert after.result() == 2 * 2**20
    until(lambda: not list((small_disk / "home" / "artifacts" / "staging").glob("outputs-*")))
