"""What people should know of a pipeline before it runs: wide analysis, undeclared variables, pools that only services know."""

from collections.abc import Collection, Iterator, Sequence

from penstock.contracts.spec import PipelineSpec


def cautions(spec: PipelineSpec, warnings: Sequence[str], declared: Collection[str] = ()) -> Iterator[str]:
    """One sentence each: the tracer's warnings, the notes of steps, and pools, undeclared here, that this machine stands in for."""
    said: set[str] = set()
    for text in [*warnings, *_notes(spec), *_pools(spec, declared)]:
        if text not in said:
            said.add(text)
            yield text


def _notes(spec: PipelineSpec) -> Iterator[str]:
    for step in spec.steps:
        for note in (*step.code.notes, *step.environment.notes):
            yield f"{step.name}: {note}"


def _pools(spec: PipelineSpec, declared: Collection[str]) -> Iterator[str]:
    others = sorted({step.pool for step in spec.steps} - {"cpu", *declared})
    for pool in others:
        users = ", ".join(step.name for step in spec.steps if step.pool == pool)
        yield f"pool {pool!r} ({users}) is not declared here: on this machine its steps take local slots"
