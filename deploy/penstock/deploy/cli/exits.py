"""Exit codes, and how errors that Penstock raises on purpose end a command."""

from enum import IntEnum

from penstock.contracts.errors import ContractError, InfrastructureError, PenstockError, UserCodeError
from penstock.contracts.states import RunState


class ExitCode(IntEnum):
    SUCCEEDED = 0
    RUN_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    CANCELLED = 4
    INTERRUPTED = 130


def code_of_error(error: PenstockError) -> ExitCode:
    """By whose fault the error is."""
    match error:
        case UserCodeError():
            return ExitCode.RUN_FAILED
        case InfrastructureError():
            return ExitCode.UNREACHABLE
        case ContractError():
            return ExitCode.USAGE
        case _:
            return ExitCode.RUN_FAILED


def code_of_run(state: RunState) -> ExitCode:
    """What a command that waited for a run ends with."""
    match state:
        case RunState.SUCCEEDED:
            return ExitCode.SUCCEEDED
        case RunState.CANCELLED:
            return ExitCode.CANCELLED
        case _:
            return ExitCode.RUN_FAILED
