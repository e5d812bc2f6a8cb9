"""How often mapped steps run, as far as that is known before a run: `train: 2 × 3 = 6`."""

from collections.abc import Callable, Mapping

from penstock.contracts.artifacts import ArtifactRef, ListValue, Value
from penstock.contracts.bindings import Binding, FromParameter, ListOf, Literal_
from penstock.contracts.drawing import each_text
from penstock.contracts.spec import EachSpec, PipelineSpec

Length = Callable[[Value], int | None]


def inline_length(value: Value) -> int | None:
    """How many items a list has that travels as it is; None for what must be read first."""
    if isinstance(value, ListValue):
        return len(value.list)
    items = value.json_list() if isinstance(value, ArtifactRef) else None
    return None if items is None else len(items)


def fan_out_lines(spec: PipelineSpec, values: Mapping[str, Value], length: Length = inline_length) -> list[str]:
    """A line for every step inside fan-outs: their sizes where all are known, else what they go over.

    `values` are the run's parameters, or their defaults where no run is meant.
    """
    nodes = {node.name: node for node in spec.nodes if isinstance(node, EachSpec)}
    sizes = {name: size for name, node in nodes.items() if (size := _size(node, values, length)) is not None}
    lines: list[str] = []
    for step in spec.steps:
        if not step.scope:
            continue
        known = [sizes[name] for name in step.scope if name in sizes]
        if len(known) == len(step.scope):
            lines.append(f"{step.name}: {_product(known)}")
        else:
            lines.append(
                f"{step.name}: {' × '.join(each_text(nodes[name], {node.name: node for node in spec.nodes}) for name in step.scope)}"
            )
    return lines


def defaults_of(spec: PipelineSpec) -> dict[str, Value]:
    """The parameters' defaults."""
    return {parameter.name: parameter.default for parameter in spec.parameters if parameter.default is not None}


def _product(sizes: list[int]) -> str:
    total = 1
    for size in sizes:
        total *= size
    return " × ".join(map(str, sizes)) + (f" = {total}" if len(sizes) > 1 else "")


def _size(each: EachSpec, values: Mapping[str, Value], length: Length) -> int | None:
    size = _length(each.each[0], values, length)
    return size if size is None or each.batch is None else -(-size // each.batch)


def _length(binding: Binding, values: Mapping[str, Value], length: Length) -> int | None:
    match binding:
        case Literal_():
            return length(binding.value)
        case ListOf():
            return len(binding.list)
        case FromParameter():
            return length(values[binding.parameter]) if binding.parameter in values else None
        case _:
            return None
