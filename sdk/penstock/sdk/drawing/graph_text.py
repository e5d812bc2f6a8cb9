"""A pipeline's graph as text: its parameters, then a line a step with what it reads, under the fan-outs around it."""

from typing import cast

from penstock.contracts.artifacts import ArtifactRef, ListValue, Value
from penstock.contracts.spec import (
    Binding,
    CollectSpec,
    Compare,
    EachSpec,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    PipelineSpec,
    RecordOf,
    Select,
    StepSpec,
    Template,
)


def graph_text(spec: PipelineSpec) -> str:
    lines = [f"{spec.name}({', '.join(f'{parameter.name}: {parameter.type}' for parameter in spec.parameters)})"]
    for node in spec.nodes:
        if isinstance(node, EachSpec):
            continue
        indent = "  " * (1 + len(node.scope))
        lines.append(indent + (_step_line(spec, node) if isinstance(node, StepSpec) else _collect_line(spec, node)))
    lines += [f"  {kind}: {hook.name}" for kind, hook in spec.hooks.items()]
    if spec.outputs:
        lines.append("  -> " + ", ".join(_named(name, binding_text(spec, binding)) for name, binding in spec.outputs.items()))
    return "\n".join(lines)


def fan_outs(spec: PipelineSpec) -> dict[str, str]:
    """By mapped step how often it runs, where that is known before the run: `2 × 3 = 6`; `2` where there is one fan-out."""
    found: dict[str, str] = {}
    for step in spec.steps:
        sizes = [fan_out_size(spec, name) for name in step.scope]
        known = [size for size in sizes if size is not None]
        if not sizes or len(known) < len(sizes):
            continue
        total = 1
        for size in known:
            total *= size
        found[step.name] = str(total) if len(known) == 1 else f"{' × '.join(map(str, known))} = {total}"
    return found


def fan_out_size(spec: PipelineSpec, each: str) -> int | None:
    """How many items a fan-out has, where its list is a constant or the default of a parameter."""
    node = next(node for node in spec.nodes if node.name == each)
    if not isinstance(node, EachSpec):
        return None
    size = _length(spec, node.each[0])
    return size if size is None or node.batch is None else -(-size // node.batch)


def _length(spec: PipelineSpec, binding: Binding) -> int | None:
    match binding:
        case Literal_():
            return _value_length(binding.value)
        case ListOf():
            return len(binding.list)
        case FromParameter():
            default = next(parameter.default for parameter in spec.parameters if parameter.name == binding.parameter)
            return None if default is None else _value_length(default)
        case _:
            return None


def _value_length(value: Value) -> int | None:
    if isinstance(value, ListValue):
        return len(value.list)
    if isinstance(value, ArtifactRef) and value.is_inline and isinstance(found := value.json_value(), list):
        return len(cast(list[object], found))
    return None


def _step_line(spec: PipelineSpec, step: StepSpec) -> str:
    inputs = ", ".join(f"{name}={binding_text(spec, binding)}" for name, binding in step.inputs.items())
    times = fan_outs(spec).get(step.name)
    count = f"{step.name}: {times}  " if times else ""
    condition = f"  when {' and '.join(binding_text(spec, binding) for binding in step.when)}" if step.when else ""
    return f"{count}{step.name}({inputs})  [{step.pool}]{condition}"


def _collect_line(spec: PipelineSpec, node: CollectSpec) -> str:
    until = f", until {binding_text(spec, node.until)}" if node.until is not None else ""
    return f"{node.name} = collect({binding_text(spec, node.collect)}{until})"


def binding_text(spec: PipelineSpec, binding: Binding) -> str:
    """A binding as its user wrote it, more or less."""
    match binding:
        case Literal_():
            return _value_text(binding.value)
        case FromParameter():
            return binding.parameter
        case FromNode():
            return _named(binding.output or "result", binding.node, joint=".")
        case FromItem():
            return _item_text(spec, binding)
        case Compare():
            return f"{binding_text(spec, binding.left)} {binding.compare} {binding_text(spec, binding.right)}"
        case Not():
            return f"not {binding_text(spec, binding.negate)}"
        case Either():
            return f"either({', '.join(binding_text(spec, option) for option in binding.either)})"
        case _:
            return _composed_text(spec, binding)


def _composed_text(spec: PipelineSpec, binding: Binding) -> str:
    match binding:
        case Select():
            path = "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in binding.select)
            return binding_text(spec, binding.of) + path
        case Files():
            inside = f"files({binding.glob!r})" if binding.glob is not None else f"file({binding.file!r})"
            return f"{binding_text(spec, binding.of)}.{inside}"
        case ListOf():
            return f"[{', '.join(binding_text(spec, item) for item in binding.list)}]"
        case RecordOf():
            return f"{{{', '.join(f'{name}: {binding_text(spec, item)}' for name, item in binding.record.items())}}}"
        case Template():
            parts = (part if isinstance(part, str) else f"{{{binding_text(spec, part.of)}}}" for part in binding.template)
            return f'"{"".join(parts)}"'
        case _:
            return "?"


def _item_text(spec: PipelineSpec, binding: FromItem) -> str:
    node = next(node for node in spec.nodes if node.name == binding.item)
    if not isinstance(node, EachSpec):
        return binding.item
    lists = ", ".join(binding_text(spec, items) for items in node.each)
    return f"each({lists}){'' if binding.field is None else f'[{binding.field}]'}"


def _value_text(value: Value) -> str:
    if isinstance(value, ArtifactRef) and value.is_inline:
        text = repr(value.json_value())
        return text if len(text) <= 40 else f"{text[:37]}..."
    return "..."


def _named(name: str, text: str, joint: str = "=") -> str:
    if joint == ".":
        return text if name == "result" else f"{text}.{name}"
    return text if name == "result" else f"{name}{joint}{text}"
