"""What an artifact was made of: the graph says which steps can have made an input, digests say which of their step runs did."""

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.contracts.artifacts import ArtifactRef, Value, refs_in
from penstock.contracts.bindings import Binding, FromItem, FromNode, FromParameter, walk
from penstock.contracts.drawing import value_text
from penstock.contracts.spec import CollectSpec, EachSpec, Node, PipelineSpec, StepSpec
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.addresses import steps_of
from penstock.deploy.cli.summary import address
from penstock.sdk.client import EngineClient


@dataclass(frozen=True, slots=True)
class _Run:
    """`makers` are the step runs that gave a digest, by step name and digest."""

    client: EngineClient
    nodes: dict[str, Node]
    makers: dict[tuple[str, str], list[StepRunView]]


def lineage_lines(client: EngineClient, view: RunView, spec: PipelineSpec, start: StepRunView) -> Iterator[str]:
    """A tree from a step run back to parameters. Of a fan-out the first item is opened; what was shown above is not opened again."""
    makers: dict[tuple[str, str], list[StepRunView]] = {}
    for step_run in steps_of(client, view):
        for value in step_run.outputs.values():
            for ref in refs_in(value):
                makers.setdefault((step_run.step, ref.digest), []).append(step_run)
    yield _title(start)
    yield from _below(_Run(client, {node.name: node for node in spec.nodes}, makers), start, "  ", {address(start)})


def _below(run: _Run, step_run: StepRunView, indent: str, seen: set[str]) -> Iterator[str]:
    step = run.nodes[step_run.step]
    bindings = step.inputs if isinstance(step, StepSpec) else {}
    for name, value in step_run.inputs.items():
        binding = bindings.get(name)
        found = _makers(run, step_run, binding, value) if binding is not None else {}
        for maker_step, maker_runs in found.items():
            first = maker_runs[0]
            is_known = address(first) in seen
            title = _title(first) if len(maker_runs) == 1 else f"{maker_step} ({len(maker_runs)} step runs)"
            yield f"{indent}{name} <- {title}" + ("  (see above)" if is_known else "")
            if not is_known:
                seen.update(address(maker) for maker in maker_runs)
                yield from _below(run, first, indent + "  ", seen)
        if not found:
            parameters = [f"parameter {part.parameter}" for part in _sources(binding, run.nodes) if isinstance(part, FromParameter)]
            yield f"{indent}{name} = {value_text(value, 60)}" + (f"  ({', '.join(parameters)})" if parameters else "")


def _makers(run: _Run, reader: StepRunView, binding: Binding, value: Value) -> dict[str, list[StepRunView]]:
    """The step runs that gave what was read, by step. Of several with equal outputs, the one beside the reader in the fan-out."""
    steps = dict.fromkeys(part.node for part in _sources(binding, run.nodes) if isinstance(part, FromNode))
    is_list = isinstance(value, ArtifactRef) and value.kind == "list"
    items = run.client.value_items(value) if is_list else [value]
    digests = dict.fromkeys(ref.digest for item in items for ref in refs_in(item))
    found: dict[str, list[StepRunView]] = {}
    for step in steps:
        all_of_it = [maker for digest in digests for maker in run.makers.get((step, digest), [])]
        beside = [maker for maker in all_of_it if maker.index and reader.index[: len(maker.index)] == maker.index]
        if all_of_it:
            unique = {address(maker): maker for maker in (beside or all_of_it)}
            found[step] = [unique[key] for key in sorted(unique)]
    return found


def _sources(binding: Binding | None, nodes: dict[str, Node]) -> Iterator[FromNode | FromParameter]:
    """The steps and parameters that a binding reads, through joins and items."""
    for part in walk(binding) if binding is not None else ():
        match part:
            case FromParameter():
                yield part
            case FromNode() if isinstance(node := nodes[part.node], CollectSpec):
                yield from _sources(node.collect, nodes)
            case FromNode():
                yield part
            case FromItem() if isinstance(each := nodes[part.item], EachSpec):
                for items in each.each if part.field is None else each.each[part.field : part.field + 1]:
                    yield from _sources(items, nodes)
            case _:
                pass


def _title(step_run: StepRunView) -> str:
    origin = f"hit, made by {step_run.hit_run}" if step_run.hit and step_run.hit_run else "hit" if step_run.hit else "executed"
    return f"{address(step_run)} ({origin})"
