"""Published components taken into a pipeline: their nodes under names of their own, with the code that they were published with."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any

from penstock.contracts.bindings import (
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
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import CollectSpec, EachSpec, Node, PipelineSpec, StepSpec
from penstock.sdk.drawing.calls import Call
from penstock.sdk.drawing.drawing import Drawing, Scoped, bound
from penstock.sdk.drawing.handles import Handle, Source
from penstock.sdk.drawing.openings import names_of
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.types import Directory, Done, File

_ANNOTATIONS: dict[str, Any] = {"file": File, "directory": Directory, "list": list[Any], "value": Any}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A version of a component. `reference` names it exactly."""

    reference: str
    kind: str
    spec: PipelineSpec


@dataclass(frozen=True, slots=True)
class _Renaming:
    """What takes the place of the component's parameters and of the names of its nodes."""

    parameters: Mapping[str, Binding]
    names: Mapping[str, str]

    def of(self, binding: Binding) -> Binding:
        match binding:
            case FromParameter():
                return self.parameters[binding.parameter]
            case FromNode():
                return binding.model_copy(update={"node": self.names[binding.node]})
            case FromItem():
                return binding.model_copy(update={"item": self.names[binding.item]})
            case Select() | Files():
                return binding.model_copy(update={"of": self.of(binding.of)})
            case ListOf():
                return ListOf(list=tuple(self.of(item) for item in binding.list))
            case RecordOf():
                return RecordOf(record={name: self.of(item) for name, item in binding.record.items()})
            case Template():
                parts = (part if isinstance(part, str) else part.model_copy(update={"of": self.of(part.of)}) for part in binding.template)
                return Template(template=tuple(parts))
            case Either():
                return Either(either=tuple(self.of(option) for option in binding.either))
            case Compare():
                return binding.model_copy(update={"left": self.of(binding.left), "right": self.of(binding.right)})
            case Not():
                return Not(negate=self.of(binding.negate))
            case Literal_():
                return binding

    def all(self, bindings: tuple[Binding, ...]) -> tuple[Binding, ...]:
        return tuple(self.of(binding) for binding in bindings)


def draw_component(drawing: Drawing, fetched: Fetched, arguments: Mapping[str, object]) -> Handle:
    """Adds the component's nodes; gives the handle of its result."""
    spec = fetched.spec
    placed = drawing.place(arguments, spec.name)
    renaming = _Renaming(_parameters(drawing, spec, arguments), _names(drawing, fetched))
    for node in spec.nodes:
        renamed = _renamed(node, spec, renaming, placed)
        if isinstance(renamed, StepSpec):
            call = Call(name=renamed.name, maker=fetched, target=renamed.run, arguments={}, hints={}, result=Any, options={})
            drawing.add(renamed, call)
        else:
            drawing.nodes.append(renamed)
    return _result(fetched, renaming, placed)


def _parameters(drawing: Drawing, spec: PipelineSpec, arguments: Mapping[str, object]) -> dict[str, Binding]:
    found: dict[str, Binding] = {}
    for parameter in spec.parameters:
        if parameter.name in arguments:
            found[parameter.name] = bound(drawing, arguments[parameter.name], _ANNOTATIONS.get(parameter.read, Any))
        elif parameter.default is not None:
            found[parameter.name] = Literal_(value=parameter.default)
    return found


def _names(drawing: Drawing, fetched: Fetched) -> dict[str, str]:
    if fetched.kind == "step":
        return {node.name: drawing.name_for(node.name) for node in fetched.spec.nodes}
    prefix = drawing.inner_name(fetched.spec.name)
    return {node.name: drawing.inner_name(f"{prefix.removeprefix(drawing.prefix)}/{node.name}") for node in fetched.spec.nodes}


def _renamed(node: Node, spec: PipelineSpec, renaming: _Renaming, placed: Scoped) -> Node:
    fields: dict[str, Any] = {
        "name": renaming.names[node.name],
        "scope": (*names_of(placed.scope), *(renaming.names[name] for name in node.scope)),
        "when": (*placed.when, *renaming.all(node.when)),
        "after": tuple(renaming.names[name] for name in node.after),
    }
    match node:
        case StepSpec():
            inputs = {name: renaming.of(binding) for name, binding in node.inputs.items()}
            fields |= {"inputs": inputs, "snapshot": node.snapshot or spec.snapshot}
        case EachSpec():
            fields |= {"each": renaming.all(node.each)}
        case CollectSpec():
            until = None if node.until is None else renaming.of(node.until)
            fields |= {"collect": renaming.of(node.collect), "over": renaming.names[node.over], "until": until}
    return node.model_copy(update=fields)


def _result(fetched: Fetched, renaming: _Renaming, placed: Scoped) -> Handle:
    outputs = {name: renaming.of(binding) for name, binding in fetched.spec.outputs.items()}
    kinds = {name: _annotation(fetched.spec, binding) for name, binding in fetched.spec.outputs.items()}
    node = renaming.names[fetched.spec.nodes[0].name] if fetched.kind == "step" else None
    is_single = len(outputs) == 1
    return Handle(
        Source(
            label=fetched.spec.name,
            annotation=next(iter(kinds.values())) if is_single else _several(kinds) if outputs else Done,
            bind=lambda: next(iter(outputs.values())) if is_single else RecordOf(record=outputs),
            openings=placed.scope[-1:],
            node=node,
            part=None if is_single or not outputs else outputs.__getitem__,
        )
    )


def _annotation(spec: PipelineSpec, binding: Binding) -> Any:
    """The type of an output, as far as it matters to what can be done with its handle."""
    if not isinstance(binding, FromNode):
        return Any
    step = next((step for step in spec.steps if step.name == binding.node), None)
    output = next((output for output in step.outputs if output.name == binding.output), None) if step is not None else None
    return Any if output is None else _ANNOTATIONS[output.kind]


def _several(kinds: Mapping[str, Any]) -> Any:
    if all(name.isdecimal() for name in kinds):
        return types.GenericAlias(tuple, tuple(kinds.values()))
    return make_dataclass("Outputs", list(kinds.items()))


def bound_arguments_of(spec: PipelineSpec, args: tuple[object, ...], kwargs: Mapping[str, object], where: str) -> dict[str, object]:
    """The arguments of a call by parameter.

    :raises GraphError: one is unknown, missing or given twice.
    """
    names = [parameter.name for parameter in spec.parameters]
    if len(args) > len(names):
        raise GraphError(f"{where} takes {len(names)} arguments ({', '.join(names) or 'none'}), and got {len(args)}")
    arguments = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise GraphError(f"{where} has no parameter {name!r}{nearest_hint(name, names)}")
        if name in arguments:
            raise GraphError(f"{where} got {name!r} twice")
        arguments[name] = value
    for parameter in spec.parameters:
        if parameter.name not in arguments and parameter.default is None:
            raise GraphError(f"{where} needs {parameter.name!r} ({parameter.type})")
    return arguments
