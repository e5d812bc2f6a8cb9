"""The states of runs, step runs and attempts, and which of them are final."""

from enum import StrEnum


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    """Every step has ended; the hooks (`on_success`, `on_failure`, `on_exit`) run."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL_RUN


class StepState(StrEnum):
    """A step run's state."""

    WAITING = "waiting"
    """Some input has not arrived."""
    CHECKING = "checking"
    """A cache entry was found; its bytes are being verified."""
    READY = "ready"
    """Everything has arrived; a slot is awaited."""
    PARKED = "parked"
    """Another step run with the same cache key is being executed; its outputs are awaited."""
    RUNNING = "running"
    BACKOFF = "backoff"
    """Failed, and will be tried again when its timer fires."""
    EXPANDING = "expanding"
    """A fan-out is being written down, chunk by chunk."""
    ASKING = "asking"
    """People are asked; their answer is awaited."""
    COLLECTING = "collecting"
    """A fan-in's list is being written to the artifact store."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL_STEP


class AttemptState(StrEnum):
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its runner is gone."""
    SUPERSEDED = "superseded"
    """Another runner took the order over under an attempt of its own."""
    RELEASED = "released"
    """Its runner gave it back before it began."""
    INPUT_LOST = "input_lost"
    """An input was gone or corrupt; nothing of the user's was executed."""

    @property
    def is_closed(self) -> bool:
        return self not in (AttemptState.DISPATCHED, AttemptState.RUNNING)


class FailureKind(StrEnum):
    """Why an attempt failed; retry policies tell these apart."""

    ERROR = "error"
    """User code raised, or a program ended with an exit status other than 0."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    SIGNAL = "signal"
    """Killed by a signal (a segmentation fault, say) that nobody sent on purpose."""
    OUTPUT = "output"
    """It ended well, but an output is missing or can't be stored."""
    UNDECLARED = "undeclared"
    """It read a project file that the step didn't declare."""
    ENVIRONMENT = "environment"
    """Its code or environment could not be loaded."""


_TERMINAL_RUN = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
_TERMINAL_STEP = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED})
