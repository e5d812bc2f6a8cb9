"""The tracer of pipeline files: a fresh interpreter imports the user's module, this process never does."""

from pathlib import Path

from penstock.deploy.cli.targets import Target
from penstock.runners.tracing import component_blocking, document_blocking, trace_blocking
from penstock.sdk.drawing.traced import Traced


def trace(target: Target) -> Traced:
    """Asks a fresh interpreter for the pipeline at `target`.

    :raises GraphError: there is none, or it can't be built.
    """
    return Traced.from_bytes(trace_blocking(_entry(target), target.pipeline))


def document(target: Target) -> str:
    """Asks a fresh interpreter for the pipeline at `target` as YAML.

    :raises GraphError: as `trace`; or it holds a constant that no document can.
    """
    return document_blocking(_entry(target), target.pipeline)


def component(target: Target) -> tuple[str, Traced]:
    """Asks a fresh interpreter for the step or pipeline at `target`, and which of both it is.

    :raises GraphError: as `trace`.
    """
    kind, data = component_blocking(_entry(target), target.pipeline)
    return kind, Traced.from_bytes(data)


def _entry(target: Target) -> Path | str:
    return target.file if target.file is not None else target.module or ""
