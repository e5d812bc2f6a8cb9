"""A command that its image does not have."""

from penstock.contracts.states import FailureKind
from penstock.runners.docker.container import End
from penstock.runners.failures import failure

_MISSING = 127
_NOT_EXECUTED = (126, _MISSING)


def not_there(program: str, end: End, said: str) -> dict[str, str] | None:
    """The failure of a command that its container's first process could not execute; None where it was executed."""
    if end.status not in _NOT_EXECUTED or "[FATAL tini" not in said:
        return None
    message = f"{program!r} is not in the image" if end.status == _MISSING else f"{program!r} can't be executed in the image"
    hint = "name a program that is in the image and that everybody may execute, or another image"
    return failure(FailureKind.ENVIRONMENT, message, hint=hint)
