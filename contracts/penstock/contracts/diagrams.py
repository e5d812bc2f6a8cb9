"""A pipeline spec as Mermaid or Graphviz source, for documents. Both draw the same arrows, derived here once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.contracts.bindings import RESULT, Binding, FromItem, FromNode, FromParameter, walk
from penstock.contracts.drawing import conditions_text, each_text
from penstock.contracts.spec import CollectSpec, EachSpec, Node, PipelineSpec, StepSpec

Style = Literal["data", "collect", "condition", "after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """From a parameter or step to a step, or to a result of the pipeline. A `collect` arrow joins a fan-out."""

    source: str
    target: str
    label: str = ""
    style: Style = "data"


def as_mermaid(spec: PipelineSpec) -> str:
    """A Mermaid flowchart; fan-outs are boxes around what runs inside them."""
    lines = ["flowchart TD"]
    lines += [f'    {identity}[/"{_quoted(label)}"/]' for identity, label in _parameters(spec)]
    lines += _mermaid_scope(spec, (), "    ")
    lines += [f'    {identity}(["{_quoted(label)}"])' for identity, label in _results(spec)]
    pens = {"data": "-->", "collect": "==>", "condition": "-.->", "after": "-.->"}
    for arrow in arrows(spec):
        label = f'|"{_quoted(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {arrow.source} {pens[arrow.style]}{label} {arrow.target}")
    return "\n".join(lines)


def as_dot(spec: PipelineSpec) -> str:
    """A Graphviz digraph; fan-outs are clusters."""
    lines = [f'digraph "{_escaped(spec.name)}" {{', "    rankdir=TB;", "    node [shape=box, style=rounded];"]
    lines += [f'    {identity} [label="{_escaped(label)}", shape=parallelogram, style=""];' for identity, label in _parameters(spec)]
    lines += _dot_scope(spec, (), "    ")
    lines += [f'    {identity} [label="{_escaped(label)}", shape=oval];' for identity, label in _results(spec)]
    pens = {"data": "solid", "collect": "bold", "condition": "dashed", "after": "dotted"}
    for arrow in arrows(spec):
        label = f', label="{_escaped(arrow.label)}"' if arrow.label else ""
        lines.append(f"    {arrow.source} -> {arrow.target} [style={pens[arrow.style]}{label}];")
    return "\n".join([*lines, "}"])


def arrows(spec: PipelineSpec) -> list[Arrow]:
    """Every arrow between parameters, steps and results, without repeats, in the order of the spec."""
    nodes = {node.name: node for node in spec.nodes}
    found: list[Arrow] = []
    for step in spec.steps:
        found += _step_arrows(step, nodes)
    for name, binding in spec.outputs.items():
        found += _arrows_of(binding, nodes, _identity("result", name), "data")
    return list(dict.fromkeys(found))


def _step_arrows(step: StepSpec, nodes: dict[str, Node]) -> Iterator[Arrow]:
    target = _identity("step", step.name)
    for binding in step.inputs.values():
        yield from _arrows_of(binding, nodes, target, "data")
    conditions = [binding for name in step.scope for binding in nodes[name].when] + list(step.when)
    for binding in conditions:
        yield from _arrows_of(binding, nodes, target, "condition")
    for name in step.after:
        yield Arrow(source=_identity("step", name), target=target, style="after")


def _arrows_of(binding: Binding, nodes: dict[str, Node], target: str, style: Style) -> Iterator[Arrow]:
    """Arrows from what `binding` reads: through collects to the steps inside, through items to where their lists come from."""
    for part in walk(binding):
        match part:
            case FromParameter():
                yield Arrow(source=_identity("parameter", part.parameter), target=target, style=style)
            case FromNode():
                yield from _node_arrows(part, nodes, target, style)
            case FromItem():
                each = nodes[part.item]
                if isinstance(each, EachSpec):
                    for items in each.each if part.field is None else each.each[part.field : part.field + 1]:
                        yield from _arrows_of(items, nodes, target, style)
            case _:
                pass


def _node_arrows(binding: FromNode, nodes: dict[str, Node], target: str, style: Style) -> Iterator[Arrow]:
    node = nodes[binding.node]
    if isinstance(node, CollectSpec):
        yield from _arrows_of(node.collect, nodes, target, "collect" if style == "data" else style)
        return
    label = "" if binding.output in (None, RESULT) else str(binding.output)
    yield Arrow(source=_identity("step", binding.node), target=target, label=label, style=style)


def _mermaid_scope(spec: PipelineSpec, scope: tuple[str, ...], indent: str) -> Iterator[str]:
    for node in spec.nodes:
        if node.scope != scope:
            continue
        if isinstance(node, StepSpec):
            yield f'{indent}{_identity("step", node.name)}["{_quoted(_label(spec, node))}"]'
        elif isinstance(node, EachSpec):
            yield f'{indent}subgraph {_identity("each", node.name)}["{_quoted(_label(spec, node))}"]'
            yield from _mermaid_scope(spec, (*scope, node.name), indent + "    ")
            yield f"{indent}end"


def _dot_scope(spec: PipelineSpec, scope: tuple[str, ...], indent: str) -> Iterator[str]:
    for node in spec.nodes:
        if node.scope != scope:
            continue
        if isinstance(node, StepSpec):
            yield f'{indent}{_identity("step", node.name)} [label="{_escaped(_label(spec, node))}"];'
        elif isinstance(node, EachSpec):
            yield f"{indent}subgraph cluster_{_identity('each', node.name)} {{"
            yield f'{indent}    label="{_escaped(_label(spec, node))}";'
            yield from _dot_scope(spec, (*scope, node.name), indent + "    ")
            yield f"{indent}}}"


def _label(spec: PipelineSpec, node: StepSpec | EachSpec) -> str:
    nodes = {other.name: other for other in spec.nodes}
    own = each_text(node, nodes) if isinstance(node, EachSpec) else node.name
    pool = f" [{node.pool}]" if isinstance(node, StepSpec) and node.pool != "cpu" else ""
    conditions = conditions_text(node, nodes)
    return own + pool + (f"\nwhen {conditions}" if conditions else "")


def _parameters(spec: PipelineSpec) -> Iterator[tuple[str, str]]:
    for parameter in spec.parameters:
        yield _identity("parameter", parameter.name), f"{parameter.name}: {parameter.type}"


def _results(spec: PipelineSpec) -> Iterator[tuple[str, str]]:
    for name in spec.outputs:
        yield _identity("result", name), name


def _identity(kind: str, name: str) -> str:
    """A name that both languages take as it is; `_` is doubled so that no two names meet."""
    return f"{kind}_" + re.sub(r"[^0-9A-Za-z_]", _letter, name.replace("_", "__"))


def _letter(match: re.Match[str]) -> str:
    return "_" if match[0] == "-" else f"_{ord(match[0]):x}_"


def _quoted(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "<br/>")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
