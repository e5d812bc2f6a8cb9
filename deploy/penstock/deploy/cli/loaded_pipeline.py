"""A pipeline ready to be submitted: traced now or known from before, its project files and constants in the artifact store."""

import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import typer

from penstock.contracts.spec import PipelineSpec
from penstock.deploy.cli.targets import Target
from penstock.deploy.cli.trace_record import keep_trace, read_trace, source_digest
from penstock.deploy.cli.wiring import home_of, wiring
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.traced import Traced

_ENGINE = "PENSTOCK_ENGINE"


def load(context: typer.Context, target: Target, *, for_services: bool = False) -> Traced:
    """The trace of `target`: kept from before where it still holds, else made in a fresh interpreter.

    Published components in it are those of the engine that commands use, or of the services.

    :raises GraphError: the file defines no such pipeline, or one that can't be built.
    """
    home = home_of(target.start)
    kept = read_trace(home, target)
    if kept is not None:
        return kept
    # Read before the trace: an edit in between then makes the kept trace invalid, never wrong.
    entry = {str(target.file): source_digest(str(target.file))} if target.file is not None else {}
    with _asking_services() if for_services else nullcontext():
        traced = wiring(context).trace(target)
    return keep_trace(home, target, replace(traced, sources={**traced.sources, **entry}))


@contextmanager
def _asking_services() -> Generator[None]:
    """Meanwhile, interpreters that are started ask the services."""
    before = os.environ.get(_ENGINE)
    os.environ[_ENGINE] = "http"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ENGINE]
        else:
            os.environ[_ENGINE] = before


def stored_spec(traced: Traced, client: EngineClient) -> PipelineSpec:
    """The spec as a run needs it, with everything it refers to in the artifact store."""
    for path in traced.blobs.values():
        client.put_path(Path(path))
    spec = traced.spec
    if traced.software:
        # Few pipelines declare environments; the others start without what reads them.
        from penstock.sdk.environments.software import with_software  # noqa: PLC0415

        spec = with_software(spec, traced.software, client, _say_resolving)
    if not traced.files:
        return spec
    ref = client.put_snapshot({inside: Path(path) for inside, path in traced.files.items()})
    return spec.model_copy(update={"snapshot": ref})


def _say_resolving(step: str) -> None:
    typer.echo(f"resolving the environment of {step} ...", err=True)


def sources_of(traced: Traced) -> dict[str, str]:
    """Every file that the pipeline is made of, with its digest when it was read."""
    return {path: source_digest(path) for path in traced.files.values() if path not in traced.sources} | traced.sources
