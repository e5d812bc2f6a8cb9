"""The tracer of pipeline files: a fresh interpreter imports the user's module, this process never does."""

from penstock.deploy.cli.targets import Target
from penstock.runners.tracing import trace_blocking
from penstock.sdk.drawing.traced import Traced


def trace(target: Target) -> Traced:
    """Asks a fresh interpreter for the pipeline at `target`.

    :raises GraphError: there is none, or it can't be built.
    """
    entry = target.file if target.file is not None else target.module or ""
    return Traced.from_bytes(trace_blocking(entry, target.pipeline))
