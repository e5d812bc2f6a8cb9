"""A pipeline spec as text for terminals: the signature, then every step in order, indented under the fan-outs around it."""

import json
from collections.abc import Iterator

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.bindings import (
    RESULT,
    Binding,
    Compare,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    RecordOf,
    Select,
    Template,
)
from penstock.contracts.named_artifacts import is_reference
from penstock.contracts.spec import CollectSpec, EachSpec, Node, ParameterSpec, PipelineSpec, StepSpec

_LITERAL_LIMIT = 40
"""Characters of a constant that are shown."""


def as_text(spec: PipelineSpec) -> str:
    """A tree: steps with what they read, fan-outs with what runs inside, and the results."""
    nodes = {node.name: node for node in spec.nodes}
    branches = [*_branches(spec, nodes, ()), *_results(spec, nodes)]
    return "\n".join([signature(spec), *_tree(branches)])


def signature(spec: PipelineSpec) -> str:
    """`retrain(raw: File, depths: Sequence[int] = [3, 5]) -> Model`."""
    results = ", ".join(spec.output_types.get(name, "Any") for name in spec.outputs)
    arrow = f" -> {results}" if results else ""
    return f"{spec.name}({', '.join(parameter_text(parameter) for parameter in spec.parameters)}){arrow}"


def parameter_text(parameter: ParameterSpec) -> str:
    """`depths: Sequence[int] = [3, 5]`."""
    default = "" if parameter.required or parameter.default is None else f" = {value_text(parameter.default)}"
    return f"{parameter.name}: {parameter.type}{default}"


def value_text(value: Value, limit: int = _LITERAL_LIMIT) -> str:
    """A constant as people write it, cut at `limit`; a stored artifact by its name or digest."""
    if isinstance(value, ArtifactRef):
        if value.is_inline:
            text = json.dumps(value.json_value(), ensure_ascii=False)
        elif is_reference(value):
            text = value.uri
        else:
            text = f"<{value.name or value.suffix or value.kind} {value.digest.partition(':')[2][:8]}>"
    else:
        text = f"<{type(value).__name__.removesuffix('Value').lower()}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def expression(binding: Binding, nodes: dict[str, Node]) -> str:
    """A binding as the pipeline's author would write it."""
    match binding:
        case Literal_():
            return value_text(binding.value)
        case FromParameter():
            return binding.parameter
        case FromNode():
            return _node_expression(binding, nodes)
        case FromItem():
            return _item_expression(binding, nodes)
        case Select():
            return expression(binding.of, nodes) + "".join(_selector(part) for part in binding.select)
        case Files():
            call = f'.files("{binding.glob}")' if binding.glob is not None else f'.file("{binding.file}")'
            return expression(binding.of, nodes) + call
        case _:
            return _composed(binding, nodes)


def _composed(binding: ListOf | RecordOf | Template | Either | Compare | Not, nodes: dict[str, Node]) -> str:
    match binding:
        case ListOf():
            return f"[{', '.join(expression(item, nodes) for item in binding.list)}]"
        case RecordOf():
            return "{" + ", ".join(f"{key}: {expression(item, nodes)}" for key, item in binding.record.items()) + "}"
        case Template():
            parts = (part if isinstance(part, str) else "{" + expression(part.of, nodes) + "}" for part in binding.template)
            return f'f"{"".join(parts)}"'
        case Either():
            return f"either({', '.join(expression(item, nodes) for item in binding.either)})"
        case Compare():
            return f"{expression(binding.left, nodes)} {binding.compare} {expression(binding.right, nodes)}"
        case Not():
            return f"not ({expression(binding.negate, nodes)})"


def each_text(each: EachSpec, nodes: dict[str, Node]) -> str:
    """`each(depths)`, `each(lrs, depths)`, `each(rows, batch=100)`."""
    lists = [expression(binding, nodes) for binding in each.each]
    batch = [f"batch={each.batch}"] if each.batch is not None else []
    return f"each({', '.join(lists + batch)})"


def conditions_text(node: Node, nodes: dict[str, Node]) -> str:
    """What must hold before `node` runs, joined by `and`; empty where nothing must."""
    return " and ".join(expression(binding, nodes) for binding in node.when)


def _node_expression(binding: FromNode, nodes: dict[str, Node]) -> str:
    node = nodes[binding.node]
    if isinstance(node, CollectSpec):
        until = f", until={expression(node.until, nodes)}" if node.until is not None else ""
        return f"collect({expression(node.collect, nodes)}{until})"
    return binding.node if binding.output in (None, RESULT) else f"{binding.node}.{binding.output}"


def _item_expression(binding: FromItem, nodes: dict[str, Node]) -> str:
    each = nodes[binding.item]
    if not isinstance(each, EachSpec):
        return binding.item
    if binding.field is not None and len(each.each) > 1:
        return f"{each_text(each, nodes)}[{binding.field}]"
    return each_text(each, nodes)


def _selector(part: str | int) -> str:
    return f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{json.dumps(part)}]"


class _Branch:
    """A line of the tree and the lines below it."""

    def __init__(self, text: str, below: "list[_Branch] | None" = None) -> None:
        self.text = text
        self.below = below or []


def _branches(spec: PipelineSpec, nodes: dict[str, Node], scope: tuple[str, ...]) -> Iterator[_Branch]:
    for node in spec.nodes:
        if node.scope != scope:
            continue
        if isinstance(node, StepSpec):
            yield _Branch(_step_line(node, nodes))
        elif isinstance(node, EachSpec):
            line = each_text(node, nodes) + _condition_suffix(node, nodes)
            yield _Branch(line, list(_branches(spec, nodes, (*scope, node.name))))


def _step_line(step: StepSpec, nodes: dict[str, Node]) -> str:
    arguments = ", ".join(f"{name}={expression(binding, nodes)}" for name, binding in step.inputs.items())
    pool = f"  [{step.pool}]" if step.pool != "cpu" else ""
    after = f"  after {', '.join(step.after)}" if step.after else ""
    return f"{step.name}({arguments}){pool}{after}{_condition_suffix(step, nodes)}"


def _condition_suffix(node: Node, nodes: dict[str, Node]) -> str:
    conditions = conditions_text(node, nodes)
    return f"  when {conditions}" if conditions else ""


def _results(spec: PipelineSpec, nodes: dict[str, Node]) -> Iterator[_Branch]:
    for name, binding in spec.outputs.items():
        yield _Branch(f"{name} = {expression(binding, nodes)}")
    for when, step in spec.hooks.items():
        yield _Branch(f"{when}: {step.name}")


def _tree(branches: list[_Branch], indent: str = "") -> Iterator[str]:
    for number, branch in enumerate(branches):
        is_last = number == len(branches) - 1
        yield f"{indent}{'└─' if is_last else '├─'} {branch.text}"
        yield from _tree(branch.below, indent + ("   " if is_last else "│  "))
