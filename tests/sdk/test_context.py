"""`current_run()` outside a run, and in tests of users."""

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.sdk.context import (
    EMITTED_LIMIT,
    Checkpoint,
    CurrentRun,
    Identity,
    Record,
    current_run,
    guest_import,
    importing_in_guest,
    recorded_run,
)


def test_outside_a_run_everything_is_inert(tmp_path: Path) -> None:
    run = current_run()

    run.log_metric("loss", 1.0)
    run.progress(1, 2)
    run.tag(a=1)
    run.emit("done")
    run.attach("raw", b"")
    run.checkpoint.save(tmp_path)

    assert run.checkpoint.load() is None
    assert (run.run_id, run.index, run.attempt, run.seed) == ("", (), 0, 0)


def test_what_a_step_says_inside_the_block_is_recorded() -> None:
    with recorded_run() as run:
        current_run().log_metric("accuracy", 0.5)
        current_run().log_metric("accuracy", 0.75)
        current_run().tag(told="yes")

    assert run.metrics == {"accuracy": [0.5, 0.75]}
    assert run.tags == {"told": "yes"}


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256, "penstock.run.failed"])
def test_an_event_needs_a_type_of_its_own(name: str) -> None:
    with recorded_run() as run, pytest.raises(ValueError, match="type"):
        current_run().emit(name)

    assert run.emitted == []


def test_events_are_no_way_for_data() -> None:
    with recorded_run() as run:
        current_run().emit("small", {"rows": 3})
        with pytest.raises(ValueError, match="let events name where their data is"):
            current_run().emit("large", {"rows": "x" * EMITTED_LIMIT})

    assert run.emitted == [{"type": "small", "data": {"rows": 3}}]


def test_a_test_may_say_which_attempt_it_is() -> None:
    with recorded_run(attempt=2, index=(1,)):
        assert current_run().attempt == 2
        assert current_run().index == (1,)


@pytest.mark.parametrize("name", ["run_id", "index", "attempt", "cause"])
def test_reading_who_asks_is_noticed(name: str) -> None:
    record = Record()
    run = CurrentRun(Identity(), record)

    assert not record.saw_identity
    getattr(run, name)
    assert record.saw_identity


def test_seed_and_idempotency_key_do_not_tell_who_asks() -> None:
    record = Record()
    run = CurrentRun(Identity(seed=3, idempotency_key="k"), record)

    assert (run.seed, run.idempotency_key, record.saw_identity) == (3, "k", False)


def test_an_attempt_that_dies_while_it_saves_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("2")
    checkpoint = Checkpoint(tmp_path / "kept")
    checkpoint.save(first)

    # What is there when it dies between its two renames.
    (tmp_path / "kept").rename(tmp_path / "kept.old")
    (tmp_path / "kept.new").mkdir()

    loaded = Checkpoint(tmp_path / "kept").load()
    assert loaded is not None
    assert loaded.read_text() == "1"
    Checkpoint(tmp_path / "kept").save(second)
    loaded = Checkpoint(tmp_path / "kept").load()
    assert loaded is not None
    assert loaded.read_text() == "2"


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "kept")
    for name in ("first.txt", "second.txt"):
        (tmp_path / name).write_text(name)
        checkpoint.save(tmp_path / name)

    loaded = checkpoint.load()

    assert loaded is not None
    assert loaded.read_text() == "second.txt"


def test_only_what_can_be_drawn_or_read_is_attached(tmp_path: Path) -> None:
    with recorded_run():
        with pytest.raises(TypeError, match="savefig"):
            current_run().attach("plot", 3)  # type: ignore[arg-type]  # what is refused  # pyright: ignore[reportArgumentType]
        with pytest.raises(FileNotFoundError, match="nothing here"):
            current_run().attach("plot", tmp_path / "nothing here")


def test_an_import_by_a_guest_is_known_as_one() -> None:
    with guest_import("flow"):
        assert importing_in_guest()
    assert not importing_in_guest()


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    # The package's own __init__ exports everything, so the module is loaded beside it.
    file = Path(sys.modules["penstock.sdk.context"].__file__ or "")
    program = f"import runpy, sys; runpy.run_path({str(file)!r}); sys.exit(bool({{'pydantic', 'msgpack'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-I", "-c", program], check=False).returncode == 0
