"""The tracer's own process: a fresh interpreter that imports a user's module, never as `__main__`, and draws a pipeline of it.

Answers over a pipe, since what the user's module prints goes where people read it.
"""

import json
import os
import sys
from collections.abc import Callable

from penstock.contracts.errors import GraphError
from penstock.runners.pipeline_files import Entry, document_of, traced_component, traced_entry
from penstock.runners.served_steps import services_of


def component_bytes(entry: Entry) -> bytes:
    kind, traced = traced_component(entry)
    return kind.encode() + b"\n" + traced.to_bytes()


_ANSWERS: dict[str, Callable[[Entry], bytes]] = {
    "trace": lambda entry: traced_entry(entry).to_bytes(),
    "document": lambda entry: document_of(entry).encode(),
    "component": component_bytes,
    "services": lambda entry: json.dumps(services_of(entry)).encode(),
}


def main() -> None:
    """`python -c "..." <answer descriptor> <question in JSON>`: started by `tracing` only."""
    descriptor, question = int(sys.argv[1]), json.loads(sys.argv[2])
    sys.argv[1:] = []
    # What is printed at import is for people; the answer has a pipe of its own.
    os.dup2(2, 1)
    wanted: str = question.pop("wanted")
    entry = Entry(**question)
    try:
        answer = b"+" + _ANSWERS[wanted](entry)
    except GraphError as error:
        answer = b"-" + str(error).encode("utf-8", "replace")
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(answer)
