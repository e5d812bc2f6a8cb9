"""Turns what a guest raised into a `Failure` in plain data: the user's frames first, one line of message, a hint where one is known."""

import importlib
import os
import signal
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from penstock.contracts import states
from penstock.contracts.states import AttemptState, FailureKind
from penstock.sdk import context

_MESSAGE_LIMIT = 500


class AttemptFailed(Exception):
    """A failure that is already described."""

    def __init__(self, plain: dict[str, str]) -> None:
        super().__init__(plain["message"])
        self.plain = plain


def failure(kind: FailureKind, message: str, *, error_type: str = "", traceback_text: str = "", hint: str = "") -> dict[str, str]:
    """The plain data of a `Failure`."""
    line = " ".join(message.split())[:_MESSAGE_LIMIT] or error_type or kind.value
    return {"kind": kind.value, "message": line, "error_type": error_type, "traceback": traceback_text, "hint": hint}


def failed(plain: dict[str, str]) -> dict[str, Any]:
    """The plain data of a `Completed` that failed."""
    return {"outcome": AttemptState.FAILED.value, "failure": plain}


def overdue(timeout_seconds: float | None) -> dict[str, str]:
    return failure(FailureKind.TIMEOUT, f"it ran longer than its timeout of {timeout_seconds:g} s")


def out_of_memory(limit_bytes: int | None) -> dict[str, str]:
    told = f"it used more than its {limit_bytes / 2**20:,.0f} MiB of memory" if limit_bytes else "the machine had no memory left for it"
    return failure(FailureKind.MEMORY, told, hint="state more: resources=Resources(memory=...)")


def from_exception(
    error: BaseException, kind: FailureKind, *, hint: str = "", hidden: tuple[str, ...] = (), shorten: str = ""
) -> dict[str, str]:
    """The failure that `error` is. Frames of files under `hidden` are left out; the prefix `shorten` of paths too."""
    _drop_frames(error, hidden, set())
    text = "".join(traceback.format_exception(error))
    if shorten:
        text = text.replace(shorten.rstrip(os.sep) + os.sep, "")
    name = type(error).__name__
    return failure(kind, f"{name}: {error}" if str(error) else name, error_type=name, traceback_text=text, hint=hint)


def _drop_frames(error: BaseException, hidden: tuple[str, ...], seen: set[int]) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = _without(error.__traceback__, hidden)
    for other in (error.__cause__, error.__context__, *_parts(error)):
        if other is not None:
            _drop_frames(other, hidden, seen)


def _parts(error: BaseException) -> list[BaseException]:
    return list(cast("BaseExceptionGroup[BaseException]", error).exceptions) if isinstance(error, BaseExceptionGroup) else []


def _without(trace: TracebackType | None, hidden: tuple[str, ...]) -> TracebackType | None:
    if trace is None:
        return None
    rest = _without(trace.tb_next, hidden)
    file = trace.tb_frame.f_code.co_filename
    if file.startswith("<frozen importlib") or file.startswith(hidden):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def from_status(status: int) -> dict[str, str]:
    """The failure of a process that ended by itself with a wait status, and told no outcome."""
    if os.WIFSIGNALED(status):
        return from_signal(os.WTERMSIG(status))
    return failure(
        FailureKind.ERROR,
        f"the process ended with exit status {os.WEXITSTATUS(status)} before the step returned",
        hint="os._exit() in the step or in a library it calls?",
    )


def from_signal(number: int) -> dict[str, str]:
    """The failure of a process that a signal killed."""
    name = signal.Signals(number).name if number in _SIGNAL_NUMBERS else f"signal {number}"
    return failure(FailureKind.SIGNAL, f"killed by {name}", error_type=name, hint=_SIGNAL_HINTS.get(name, ""))


_SIGNAL_NUMBERS = frozenset(map(int, signal.Signals))
_SIGNAL_HINTS = {
    "SIGSEGV": "a native library crashed; the end of the log holds the Python stack of that moment",
    "SIGKILL": "often the kernel's out-of-memory killer: state resources=Resources(memory=...) and run fewer steps at once",
    "SIGBUS": "often a full disk or a file that shrank while it was mapped",
}


def hidden_folders() -> tuple[str, ...]:
    """Where Penstock's own code and the import system lie, whose frames are of no use to users."""
    files = [__file__, states.__file__, context.__file__, importlib.__file__]
    return tuple(dict.fromkeys(str(Path(file).parent) + os.sep for file in files))
