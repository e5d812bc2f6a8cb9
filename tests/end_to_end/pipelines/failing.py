"""Steps that fail, hang, are tried again or stopped, and what tells of it."""

import time
from collections.abc import Sequence
from pathlib import Path

from penstock.sdk import Retry, RunSummary, collect, current_run, each, pipeline, step


@step(retries=Retry(3, delay=0.05, factor=2.0, jitter=0.0))
def flaky(path: str, good_attempt: int) -> int:
    """Succeeds at the given attempt; the file at `path` counts them."""
    with Path(path).open("a") as file:
        file.write("x")
    attempts = len(Path(path).read_text())
    print(f"this is attempt {attempts}")
    if attempts < good_attempt:
        raise ConnectionError(f"attempt {attempts}")
    return attempts


@pipeline
def trying(path: str, good_attempt: int) -> int:
    return flaky(path, good_attempt)


@step(retries=Retry(3, delay=0.01, on=("timeout",)))
def picky(path: str) -> int:
    with Path(path).open("a") as file:
        file.write("x")
    raise ValueError("not worth another try")


@pipeline
def choosing(path: str) -> int:
    return picky(path)


@step(timeout=0.4)
def hanging(x: int) -> int:
    time.sleep(60)
    return x


@pipeline
def timing_out() -> int:
    return hanging(1)


@step(retries=1)
def continued(steps: int) -> list[int]:
    """Dies in the middle of its work; its next attempt goes on from the checkpoint."""
    run = current_run()
    saved = run.checkpoint.load()
    begun_at = int(saved.read_text()) if saved is not None else 0
    for done in range(begun_at, steps):
        Path("done").write_text(str(done + 1))
        run.checkpoint.save("done")
        if done == steps // 2 and saved is None:
            raise RuntimeError("in the middle")
    return [begun_at, steps]


@pipeline
def continuing(steps: int) -> list[int]:
    return continued(steps)


@step(cache=False)
def waiting(started: str, gate: str) -> str:
    """Says that it has started; ends when there is a file at `gate`."""
    Path(started).touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return "opened"


@step
def fails(x: int) -> int:
    raise ValueError(f"no {x}")


@step(cache=False)
def passes(x: int) -> int:
    return x


@pipeline
def gated(folder: str) -> str:
    return waiting(f"{folder}/started", f"{folder}/gate")


@step(cache=False)
def fails_after(started: str) -> int:
    while not Path(started).exists():
        time.sleep(0.01)
    raise ValueError("late failure")


@pipeline
def beside_each_other(folder: str) -> tuple[int, int]:
    """One branch fails while the other runs."""
    held = waiting(f"{folder}/started", f"{folder}/gate")
    return passes.options(name="below_failure")(fails_after(f"{folder}/started")), passes.options(name="beside", after=held)(2)


@step(cache=False)
def write_summary(run: RunSummary) -> None:
    with (Path(run.tags["folder"]) / "hooks").open("a") as file:
        file.write(f"{run.pipeline} {run.state} {run.error} {list(run.failed_steps)}\n")


@step(cache=False)
def write_exit(run: RunSummary) -> None:
    (Path(run.tags["folder"]) / "exit").write_text(run.state)


@pipeline(on_success=write_summary, on_exit=write_exit)
def succeeding_with_hooks(x: int) -> int:
    return passes(x)


@pipeline(on_failure=write_summary, on_exit=write_exit)
def failing_with_hooks(x: int) -> int:
    return fails(x)


@pipeline(on_failure=write_summary, on_exit=write_exit)
def gated_with_hooks(folder: str) -> str:
    return waiting(f"{folder}/started", f"{folder}/gate")


@step(cache=False)
def crowd(folder: str, x: int, expected: int) -> int:
    """How many of its kind are at work at once; it waits a while for as many as are expected."""
    mine = Path(folder) / str(x)
    mine.touch()
    seen = 0
    for round_ in range(200):
        seen = max(seen, len(list(Path(folder).iterdir())))
        if seen >= expected and round_ >= 10:
            break
        time.sleep(0.005)
    mine.unlink()
    return seen


@pipeline
def crowding(folder: str, xs: Sequence[int], expected: int = 1) -> list[int]:
    return collect(crowd(folder, each(xs), expected))


@step(cache=False)
def signed(path: str, name: str) -> str:
    with Path(path).open("a") as file:
        file.write(f"{name} ")
    return name


@pipeline
def signing(path: str, names: Sequence[str]) -> list[str]:
    return collect(signed(path, each(names)))


@step
def noted(path: str, name: str) -> str:
    with Path(path).open("a") as file:
        file.write(f"{name} ")
    return name


@pipeline
def noting(path: str, names: Sequence[str]) -> list[str]:
    return collect(noted(path, each(names)))
