"""The kept output of attempts, written to stdout as it is."""

import sys
from collections.abc import Callable
from pathlib import Path

from penstock.contracts.errors import InvalidInput
from penstock.contracts.views import AttemptView, StepRunView
from penstock.deploy.cli.addresses import Address, one_step_run, step_runs_at
from penstock.deploy.cli.summary import address as step_address
from penstock.sdk.client import EngineClient

_PAUSE_SECONDS = 0.2


def write_logs(client: EngineClient, address: Address, attempt: int | None = None) -> None:
    """The output of every step run at `address`, under a heading where there are several.

    :raises InvalidInput: no such step run or attempt.
    """
    step_runs = step_runs_at(client, address)
    for step_run in step_runs:
        if len(step_runs) > 1:
            sys.stdout.write(f"==> {step_address(step_run)} <==\n")
        shown = _attempt(step_run, attempt)
        if shown is None:
            made = f"a hit: penstock logs {step_run.hit_run} {step_address(step_run)}" if step_run.hit_run else "it has not run"
            sys.stdout.write(f"({made})\n")
        else:
            sys.stdout.write(log_of(client, shown))
    sys.stdout.flush()


def follow_log(client: EngineClient, address: Address, pause: Callable[[float], None]) -> None:
    """The output of one step run, as it grows, until the step run ends.

    :raises InvalidInput: no such step run.
    """
    written = 0
    number = 0
    while True:
        step_run = one_step_run(client, address)
        shown = _attempt(step_run, None)
        if shown is not None:
            if shown.number != number:
                number, written = shown.number, 0
            text = log_of(client, shown)
            sys.stdout.write(text[written:])
            sys.stdout.flush()
            written = len(text)
        if step_run.state.is_terminal:
            return
        pause(_PAUSE_SECONDS)


def log_of(client: EngineClient, attempt: AttemptView) -> str:
    """What an attempt has printed so far."""
    path = client.local(attempt.log) if attempt.log is not None else Path(attempt.log_path) if attempt.log_path else None
    if path is None:
        return ""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        # Between its end and the report of it, the file has moved into the artifact store.
        return ""


def _attempt(step_run: StepRunView, number: int | None) -> AttemptView | None:
    if number is None:
        return step_run.attempts[-1] if step_run.attempts else None
    for attempt in step_run.attempts:
        if attempt.number == number:
            return attempt
    numbers = ", ".join(str(attempt.number) for attempt in step_run.attempts) or "none"
    raise InvalidInput(f"{step_address(step_run)} has no attempt {number} (there are: {numbers})")
