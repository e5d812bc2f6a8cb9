"""How attempts in containers end other than well."""

from typing import Any

from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.docker.container import End
from penstock.runners.failures import failure

_MISSING = 127
_NOT_EXECUTED = (126, _MISSING)


def failed(plain: dict[str, str]) -> dict[str, Any]:
    """The plain data of a `Completed` that failed."""
    return {"outcome": AttemptState.FAILED.value, "failure": plain}


def not_there(program: str, end: End, said: str) -> dict[str, str] | None:
    """The failure of a command that its container's first process could not execute; None where it was executed."""
    if end.status not in _NOT_EXECUTED or "[FATAL tini" not in said:
        return None
    message = f"{program!r} is not in the image" if end.status == _MISSING else f"{program!r} can't be executed in the image"
    hint = "name a program that is in the image and that everybody may execute, or another image"
    return failure(FailureKind.ENVIRONMENT, message, hint=hint)


def overdue(step: StepSpec) -> dict[str, str]:
    return failure(FailureKind.TIMEOUT, f"it ran longer than its timeout of {step.timeout_seconds:g} s")


def out_of_memory(step: StepSpec) -> dict[str, str]:
    limit = step.resources.memory_bytes
    told = f"it used more than its {limit / 2**20:,.0f} MiB of memory" if limit else "the machine had no memory left for it"
    return failure(FailureKind.MEMORY, told, hint="state more: resources=Resources(memory=...)")
