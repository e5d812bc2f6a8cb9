"""A pipeline's trace, made in a fresh interpreter: whoever asks never imports user code."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from penstock.contracts.errors import GraphError

_PROGRAM = "from penstock.runners.tracer import main; main()"


async def trace(entry: Path | str, pipeline: str | None = None) -> bytes:
    """`Traced.to_bytes()` of a pipeline in a file (a path; Python or YAML) or module (a dotted name).

    `pipeline` may be left out where there is one.

    :raises GraphError: there is none, there are several, or it can't be drawn; the text begins with the user's traceback.
    """
    return await asyncio.to_thread(trace_blocking, entry, pipeline)


def trace_blocking(entry: Path | str, pipeline: str | None = None) -> bytes:
    """`trace` for callers without an event loop."""
    return _answer(entry, pipeline, wanted="trace")


def document_blocking(entry: Path | str, pipeline: str | None = None) -> str:
    """The pipeline as a YAML document that lies beside its file.

    :raises GraphError: as `trace`; or it holds a constant that no document can.
    """
    return _answer(entry, pipeline, wanted="document").decode()


def component_blocking(entry: Path | str, name: str | None = None) -> tuple[str, bytes]:
    """`step` or `pipeline`, and `Traced.to_bytes()`, of what is named there.

    :raises GraphError: as `trace`.
    """
    kind, _, data = _answer(entry, name, wanted="component").partition(b"\n")
    return kind.decode(), data


def services_blocking(entry: Path | str, pipeline: str | None = None) -> list[dict[str, str]]:
    """`pipeline`, `step` and `code` of every step of that pipeline; of all pipelines there if none is named.

    :raises GraphError: there is no such pipeline, or one can't be drawn.
    """
    found: list[dict[str, str]] = json.loads(_answer(entry, pipeline, wanted="services"))
    return found


def _answer(entry: Path | str, pipeline: str | None, *, wanted: str) -> bytes:
    file, module = (str(entry), None) if isinstance(entry, Path) else (None, entry)
    question = json.dumps({"file": file, "module": module, "pipeline": pipeline, "wanted": wanted})
    answer_read, answer_write = os.pipe()
    with open(answer_read, "rb") as answers:  # noqa: PTH123  # a descriptor, not a path
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(answer_write), question],
                pass_fds=[answer_write],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        finally:
            os.close(answer_write)
        with process:
            answer = answers.read()
    match answer[:1]:
        case b"+":
            return answer[1:]
        case b"-":
            raise GraphError(answer[1:].decode(errors="replace"))
        case _:
            raise GraphError(f"the interpreter that imports {entry} ended with exit status {process.returncode} without an answer")
