"""What a guest process does: it waits for an order, resolves the inputs, runs the user's code, encodes the outputs, tells the outcome."""

import atexit
import importlib
import inspect
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import ArtifactLost, ContractError
from penstock.contracts.states import AttemptState, FailureKind
from penstock.runners.failures import AttemptFailed, failed, failure, from_exception, hidden_folders
from penstock.runners.frames import pack, receive
from penstock.runners.guest_checkpoint import StoredCheckpoint
from penstock.runners.hints import import_hint, missing_file_hint
from penstock.runners.program import run_program
from penstock.runners.randomness import seed_everything
from penstock.sdk.context import Checkpoint, CurrentRun, Identity, Record, bound_run, guest_import
from penstock.sdk.drawing.annotations import hints_of, outputs_of
from penstock.sdk.types import Directory, File
from penstock.sdk.values import codecs

_VALUE: TypeAdapter[Value] = TypeAdapter(Value)
_PROGRESS_SECONDS = 0.2


def serve(stream: socket.socket, project: str) -> None:
    """Executes the orders that come over `stream`, mostly one, until `last` is among its words."""
    registered = _exit_callbacks()
    while (frame := receive(stream)) is not None:
        order: dict[str, Any] = frame[1]
        attempt = Attempt(stream, order, project)
        outcome = attempt.outcome()
        _flush()
        attempt.tell(_packed(outcome))
        if not order.get("more"):
            break
    _leave(registered)


def _packed(outcome: dict[str, Any]) -> bytes:
    try:
        return pack(["outcome", outcome])
    except (TypeError, ValueError, OverflowError) as error:
        told = failure(FailureKind.OUTPUT, f"what the step said can't be sent: {error}", hint="log numbers, and plain JSON data in events")
        return pack(["outcome", {**failed(told), "files": []}])


def _exit_callbacks() -> int:
    return int(getattr(atexit, "_ncallbacks", lambda: 0)())


def _leave(registered: int) -> None:
    """What a plain interpreter does at its end, as far as the step gave it something to do."""
    if threading.active_count() > 1:
        getattr(threading, "_shutdown", lambda: None)()
    if _exit_callbacks() > registered:
        getattr(atexit, "_run_exitfuncs", lambda: None)()
    _flush()


def _flush() -> None:
    for text in (sys.stdout, sys.stderr):
        try:
            text.flush()
        except (OSError, ValueError, AttributeError):
            continue


class Attempt:
    """One execution. `order` is plain data from the process launcher."""

    def __init__(self, stream: socket.socket, order: dict[str, Any], project: str) -> None:
        self._stream = stream
        self._order = order
        self._project = project
        self._lock = threading.Lock()
        self._record = Record()
        self._files: list[tuple[str, str]] = []
        self._attachments: dict[str, Any] = {}
        self._next_progress = 0.0
        self._snapshot: str = order["snapshot"]
        self._workdir = Path(order["workdir"])
        self._staging_path = Path(order["staging"])

    def tell(self, frame: bytes) -> None:
        """Sends a frame whole, whichever threads of the step have something to tell."""
        with self._lock:
            self._stream.sendall(frame)

    def outcome(self) -> dict[str, Any]:
        """Runs the step; whatever happens becomes plain data of a `Completed`."""
        started, cpu = time.monotonic(), time.process_time()
        told: dict[str, Any]
        try:
            told = self._run()
        except ArtifactLost as error:
            told = {"outcome": AttemptState.INPUT_LOST.value, "lost_digest": error.digest}
        except AttemptFailed as error:
            told = failed(error.plain)
        except BaseException as error:  # noqa: BLE001  # whatever user code raises is a failure of the attempt
            told = failed(self._explained(error))
        told["seconds"] = time.monotonic() - started
        told["cpu_seconds"] = time.process_time() - cpu
        told |= self._said()
        return {**told, "files": self._files, "left": self._left()}

    def _run(self) -> dict[str, Any]:
        os.chdir(self._workdir)
        return self.executed()

    def executed(self) -> dict[str, Any]:
        """Runs the step in the current directory.

        :raises BaseException: whatever the user's code raises.
        """
        if "command" in self._order:
            return self._run_program()
        seed = seed_everything(self._order["seed"])
        function = self._function()
        hints = hints_of(function)
        arguments = self._arguments(function, hints)
        run = CurrentRun(
            self._identity(seed),
            self._record,
            checkpoint=self._checkpoint(),
            on_progress=self._progress,
            on_attach=self._attach,
        )
        with bound_run(run):
            returned = _call(function, *arguments)
        _flush()
        return {"outcome": AttemptState.SUCCEEDED.value, "outputs": self._outputs(returned, hints.get("return", Any))}

    @property
    def _staging(self) -> Path:
        """Made when it is needed: most steps return what travels in a message."""
        self._staging_path.mkdir(exist_ok=True)
        return self._staging_path

    def _identity(self, seed: int) -> Identity:
        told: dict[str, Any] = self._order["identity"]
        return Identity(
            run_id=told["run_id"],
            index=tuple(told["index"]),
            attempt=told["attempt"],
            cause=told["cause"],
            idempotency_key=told["idempotency_key"],
            seed=seed,
        )

    def _run_program(self) -> dict[str, Any]:
        inputs = {name: _VALUE.validate_python(value) for name, value in self._order["inputs"].items()}
        written = run_program({**self._order, "staging": str(self._staging)}, inputs, self._local)
        hints: dict[str, Any] = {"file": File, "directory": Directory}
        outputs = {
            output["name"]: self._encoded(output["name"], written[output["name"]], hints.get(output["kind"], Any), output["kind"])
            for output in self._order["outputs"]
        }
        return {"outcome": AttemptState.SUCCEEDED.value, "outputs": outputs}

    def _function(self) -> Callable[..., Any]:
        module, name = self._order["module"], self._order["function"]
        if self._snapshot and self._snapshot not in sys.path:
            sys.path.insert(0, self._snapshot)
        is_new = module not in sys.modules
        try:
            with guest_import(module):
                found: Any = importlib.import_module(module)
            if is_new:
                self.tell(pack(["imported"]))
            for part in name.split("."):
                found = getattr(found, part)
        except BaseException as error:
            told = self._explained(error)
            if told["kind"] == FailureKind.ERROR:
                told |= {"kind": FailureKind.ENVIRONMENT.value, "hint": import_hint(error)}
            raise AttemptFailed(told) from error
        function = getattr(found, "fn", found)
        if not callable(function):
            raise AttemptFailed(failure(FailureKind.ENVIRONMENT, f"{name} in module {module} is not a function"))
        return function  # type: ignore[no-any-return]  # callable is all that can be known

    def _arguments(self, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        named = {
            name: codecs.decode(_VALUE.validate_python(value), hints.get(name, Any), self._local, parameter=name, workdir=self._workdir)
            for name, value in self._order["inputs"].items()
        }
        code = getattr(function, "__code__", None)
        positional: list[Any] = []
        for name in code.co_varnames[: code.co_posonlyargcount] if code else ():
            if name not in named:
                break
            positional.append(named.pop(name))
        return positional, named

    def _checkpoint(self) -> Checkpoint:
        folder = Path(self._order["checkpoint"])
        return StoredCheckpoint(folder, self._ask) if self._order.get("checkpoint_is_stored") else Checkpoint(folder)

    def _ask(self, frame: list[Any]) -> Any:
        with self._lock:
            self._stream.sendall(pack(frame))
            return receive(self._stream)

    def _local(self, ref: ArtifactRef) -> Path:
        """A verified file of this machine with these bytes: the runner knows where."""
        digest = ref.digest
        match self._ask(["local", digest]):
            case ["path", str(path)]:
                return Path(path)
            case ["failed", str(reason)]:
                raise OSError(reason)
            case ["lost", str(reason)]:
                raise ArtifactLost(reason, digest)
            case _:
                raise ConnectionError("the runner went away")

    def _progress(self, done: float, total: float | None, text: str) -> None:
        now = time.monotonic()
        if now < self._next_progress and done != total:
            return
        self._next_progress = now + _PROGRESS_SECONDS
        self.tell(pack(["progress", done, total, text]))

    def _outputs(self, returned: Any, annotation: Any) -> dict[str, Any]:
        wanted = self._order["outputs"]
        several = outputs_of(annotation)
        outputs: dict[str, Any] = {}
        for position, output in enumerate(wanted):
            name = output["name"]
            if several is None or (len(wanted) == 1 and name not in several):
                value, hint = returned, annotation
            else:
                value, hint = _part(returned, name, position), several.get(name, Any)
            outputs[name] = self._encoded(name, value, hint, output["kind"])
        return outputs

    def _attach(self, name: str, content: object) -> None:
        if isinstance(content, bytes):
            path = self._staging / f"attachment-{len(self._attachments)}{Path(name).suffix}"
            path.write_bytes(content)
            content = path
        self._attachments[name] = self._staged(codecs.encode_attachment(content, self._staging))

    def _said(self) -> dict[str, Any]:
        """What the step said, as far as it said anything."""
        record = self._record
        points = [{"name": name, "value": value, "step": step} for name, value, step in record.points]
        told = {
            "metrics": points, "tags": record.tags, "emitted": record.emitted,
            "attachments": self._attachments, "saw_identity": record.saw_identity,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value}

    def _staged(self, encoded: codecs.Encoded) -> Any:
        self._files += [(str(staged.path), staged.digest) for staged in encoded.files]
        return encoded.value.model_dump(mode="json", exclude_defaults=True)

    def _encoded(self, name: str, value: Any, hint: Any, kind: str) -> Any:
        if value is None and kind in ("file", "directory"):
            told = failure(FailureKind.OUTPUT, f"the output {name!r} is None where a {kind} was declared", hint=f"return a {kind}")
            raise AttemptFailed(told)
        try:
            encoded = codecs.encode(value, hint, self._staging_path, movable=self._workdir)
        except (ContractError, OSError, TypeError, ValueError) as error:
            told = from_exception(error, FailureKind.OUTPUT, hidden=hidden_folders(), shorten=self._snapshot)
            raise AttemptFailed(told | {"message": f"the output {name!r} can't be stored: {error}"[:500]}) from error
        return self._staged(encoded)

    def _explained(self, error: BaseException) -> dict[str, str]:
        hint = missing_file_hint(error, self._snapshot, self._project, self._order["files"])
        kind = FailureKind.UNDECLARED if hint else FailureKind.ERROR
        if isinstance(error, MemoryError):
            kind = FailureKind.MEMORY
        if isinstance(error, SystemExit):
            hint = "a step returns or raises; it does not call sys.exit()"
        return from_exception(error, kind, hint=hint, hidden=hidden_folders(), shorten=self._snapshot)

    def _left(self) -> bool:
        """Whether there is something for the launcher to remove."""
        os.chdir("/")
        with os.scandir(self._workdir) as entries:
            return self._staging_path.exists() or any(True for _ in entries)


def _call(function: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> Any:
    returned = function(*positional, **named)
    if inspect.iscoroutine(returned):
        import asyncio  # noqa: PLC0415 -- most steps are plain functions, and every fork would bear it

        return asyncio.run(returned)
    return returned


def _part(returned: Any, name: str, position: int) -> Any:
    kind: type[object] = type(returned)  # pyright: ignore[reportUnknownVariableType]  # it is of any type
    if issubclass(kind, dict) and name in returned:
        return returned[name]
    if hasattr(returned, name):
        return getattr(returned, name)
    if issubclass(kind, tuple | list) and position < len(returned):
        return returned[position]
    told = f"the step returned a {kind.__name__}, which has no {name!r}"
    raise AttemptFailed(failure(FailureKind.OUTPUT, told, hint="return what the annotation says"))
