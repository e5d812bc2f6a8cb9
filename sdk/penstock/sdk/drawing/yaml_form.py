"""Pipelines as YAML documents: the same graph, and so the same digest, as the pipeline in Python that it was written from.

Code and environment are not in a document: they are looked up when it is read, by module and function or by folder.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from penstock.contracts.errors import GraphError
from penstock.contracts.spec import CollectSpec, CommandTarget, EachSpec, FunctionTarget, Node, ParameterSpec, PipelineSpec, StepSpec
from penstock.contracts.targets import ApprovalTarget, RegisterTarget
from penstock.sdk.drawing.annotations import accepts_none, text_of
from penstock.sdk.drawing.calls import UNKNOWN, Call, output_specs
from penstock.sdk.drawing.components import Fetched
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.drawing.tracing import traced
from penstock.sdk.drawing.undispatched import call_of, spec_fields_of
from penstock.sdk.drawing.yaml_bindings import (
    mapping,
    plain_binding,
    plain_value,
    read_binding,
    read_value,
    refuse_unknown,
    sequence,
    validated,
)
from penstock.sdk.drawing.yaml_triggers import read_triggers_of, written_triggers
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.options import StepOptions
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.scripts import Program, program_of
from penstock.sdk.steps import Step
from penstock.sdk.types import Environment
from penstock.transport.directories import file_digest

_BINDINGS = ("collect", "until")
_BINDING_LISTS = ("each", "when")
_PARTS = ("parameters", "nodes", "outputs", "hooks", "triggers")
_UNDISPATCHED: dict[str, type[ApprovalTarget | RegisterTarget]] = {"approval": ApprovalTarget, "register": RegisterTarget}
_LOOKED_UP = {"code", "environment", "files", "run", "inputs", "outputs", "types", "accepts_none", "doc"}


def to_yaml(pipeline: Pipeline[..., Any], folder: Path) -> str:
    """The document of a pipeline; scripts are named relative to `folder`, where the document will be.

    :raises GraphError: it holds a constant that is no small JSON value.
    """
    drawing, spec = pipeline.draw()
    spec = traced(drawing, spec, pipeline.fn).spec
    drawing.constants.remove()
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude={"parameters", "nodes", "outputs", "hooks", "snapshot"})
    document["parameters"] = [_plain_parameter(parameter) for parameter in spec.parameters]
    document["nodes"] = [_plain_node(node, drawing.makers.get(node.name), folder) for node in spec.nodes]
    document["outputs"] = {name: plain_binding(binding) for name, binding in spec.outputs.items()}
    hooks = {kind: _plain_node(hook, drawing.makers[f"{kind} {hook.name}"], folder) for kind, hook in spec.hooks.items()}
    triggers = written_triggers(pipeline.plain_triggers())
    more = {name: part for name, part in (("hooks", hooks), ("triggers", triggers)) if part}
    text: str = yaml.safe_dump({**document, **more}, sort_keys=False, allow_unicode=True, width=120)
    return text


def _plain_parameter(parameter: ParameterSpec) -> dict[str, Any]:
    plain = parameter.model_dump(mode="json", exclude_defaults=True, exclude={"default"})
    return plain if parameter.default is None else {**plain, "default": plain_value(parameter.default)}


def _plain_node(node: Node, call: Call | None, folder: Path) -> dict[str, Any]:
    special = {*_BINDINGS, *_BINDING_LISTS, *_LOOKED_UP}
    plain = node.model_dump(mode="json", exclude_defaults=True, exclude=special)
    for name in _BINDINGS:
        if getattr(node, name, None) is not None:
            plain[name] = plain_binding(getattr(node, name))
    for name in _BINDING_LISTS:
        if getattr(node, name, ()):
            plain[name] = [plain_binding(binding) for binding in getattr(node, name)]
    return plain if not isinstance(node, StepSpec) or call is None else {**plain, **_plain_step(node, call, folder)}


def _plain_step(step: StepSpec, call: Call, folder: Path) -> dict[str, Any]:
    if isinstance(call.maker, Fetched):
        raise GraphError(f"the step {step.name!r} is of the component {call.maker.reference}; a document can't hold published components")
    plain: dict[str, Any] = {"inputs": {name: plain_binding(binding) for name, binding in step.inputs.items()}} if step.inputs else {}
    match step.run:
        case FunctionTarget():
            plain["function"] = f"{step.run.module}:{step.run.function}"
        case CommandTarget():
            plain["command"] = step.run.model_dump(mode="json", exclude_defaults=True)["command"]
            plain["outputs"] = [output.model_dump(mode="json", exclude_defaults=True) for output in step.outputs]
            plain["types"] = dict(step.types)
            source = cast(Program, call.maker).source
            if source is not None:
                plain["source_directory"] = _relative(source, folder)
        case ApprovalTarget() | RegisterTarget():
            plain["approval" if isinstance(step.run, ApprovalTarget) else "register"] = step.run.model_dump(
                mode="json", exclude_defaults=True
            )
    if "files" in call.options:
        plain["files"] = list(call.options["files"])
    if "environment" in call.options:
        environment = call.options["environment"]
        plain["environment"] = {name: value for name in environment.__slots__ if (value := getattr(environment, name))}
    return plain


def from_yaml(path: Path) -> Traced:
    """The trace of the pipeline in a document.

    :raises GraphError: it can't be read; the text says where and what is wrong.
    """
    document = _document(path)
    drawing, spec = _drawn(document, path)
    found = replace(traced(drawing, spec, None), triggers=read_triggers_of(document, spec, path.name))
    found.sources[str(path.resolve())] = file_digest(path)
    return found


def drawn_yaml(path: Path) -> tuple[Drawing, PipelineSpec]:
    """The graph in a document, without code and environment of its steps.

    :raises GraphError: as `from_yaml`.
    """
    return _drawn(_document(path), path)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = mapping(yaml.safe_load(path.read_text("utf-8")), path.name)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphError(f"{path.name} is no YAML: {error}") from error
    refuse_unknown(document, PipelineSpec, path.name, more=("triggers",))
    return document


def _drawn(document: Mapping[str, Any], path: Path) -> tuple[Drawing, PipelineSpec]:
    drawing = Drawing(str(document.get("name", path.stem)))
    fields: dict[str, Any] = {key: value for key, value in document.items() if key not in _PARTS}
    fields["parameters"] = tuple(_parameter(item, path.name) for item in sequence(document.get("parameters", []), path.name))
    nodes = sequence(document.get("nodes", []), path.name)
    fields["nodes"] = tuple(_node(drawing, item, f"{path.name}: nodes[{i}]", path.parent) for i, item in enumerate(nodes))
    outputs = mapping(document.get("outputs", {}), path.name)
    fields["outputs"] = {name: read_binding(binding, f"{path.name}: outputs.{name}") for name, binding in outputs.items()}
    hooks = mapping(document.get("hooks", {}), path.name)
    fields["hooks"] = {kind: _hook(drawing, kind, item, f"{path.name}: hooks.{kind}", path.parent) for kind, item in hooks.items()}
    return drawing, cast(PipelineSpec, validated(PipelineSpec, fields, path.name))


def _parameter(data: Any, where: str) -> ParameterSpec:
    written = mapping(data, f"{where}: parameters")
    refuse_unknown(written, ParameterSpec, f"{where}: parameters")
    default = {"default": read_value(written["default"], where), "required": False} if "default" in written else {}
    return cast(ParameterSpec, validated(ParameterSpec, {**written, **default}, f"{where}: parameters"))


def _node(drawing: Drawing, data: Any, where: str, folder: Path) -> Node:
    written = dict(mapping(data, where))
    for name in _BINDINGS:
        if name in written:
            written[name] = read_binding(written[name], f"{where}.{name}")
    for name in _BINDING_LISTS:
        if name in written:
            written[name] = tuple(read_binding(item, f"{where}.{name}") for item in sequence(written[name], where))
    kind = EachSpec if "each" in written else CollectSpec if "collect" in written else None
    if kind is not None:
        refuse_unknown(written, kind, where)
        return cast(Node, validated(kind, written, where))
    return _step(drawing, written, where, folder, "")


def _hook(drawing: Drawing, kind: str, data: Any, where: str, folder: Path) -> StepSpec:
    return _step(drawing, dict(mapping(data, where)), where, folder, f"{kind} ")


def _step(drawing: Drawing, written: dict[str, Any], where: str, folder: Path, key: str) -> StepSpec:
    refuse_unknown(written, StepSpec, where, more=("function", "command", "source_directory", *_UNDISPATCHED))
    name = str(written.get("name", ""))
    inputs = mapping(written.get("inputs", {}), where)
    written["inputs"] = {parameter: read_binding(binding, f"{where}.inputs.{parameter}") for parameter, binding in inputs.items()}
    if any(form in written for form in _UNDISPATCHED):
        return _undispatched(drawing, written, where)
    options = _options(written, where)
    function, command, source = written.pop("function", None), written.pop("command", None), written.pop("source_directory", None)
    if (function is None) == (command is None):
        raise GraphError(f"{where}: a step has either a function ('module:name') or a command (a list of arguments)")
    if function is not None:
        step = _found(str(function), where)
        maker: object = step
        looked_up = _function_fields(step, written)
    else:
        maker = program = program_of(name, None if source is None else (folder / str(source)).resolve())
        looked_up = {"run": {"command": sequence(command, where), "workdir": program.folder}}
    fields = {**looked_up, **written, "code": UNKNOWN, "environment": UNKNOWN}
    spec = cast(StepSpec, validated(StepSpec, fields, where))
    drawing.makers[f"{key}{name}"] = Call(name=name, maker=maker, target=spec.run, arguments={}, hints={}, result=Any, options=options)
    return spec


def _undispatched(drawing: Drawing, written: dict[str, Any], where: str) -> StepSpec:
    (form, model), *others = [(form, model) for form, model in _UNDISPATCHED.items() if form in written]
    if others or "function" in written or "command" in written:
        raise GraphError(f"{where}: a step is one of: function, command, {', '.join(_UNDISPATCHED)}")
    defaults: dict[str, Any] = {"approvers": ()} if form == "approval" else {}
    given = {**defaults, **mapping(written.pop(form), where)}
    refuse_unknown(given, model, f"{where}.{form}")
    target = cast(
        "ApprovalTarget | RegisterTarget",
        validated(model, given, f"{where}.{form}"),
    )
    spec = cast(StepSpec, validated(StepSpec, {**written, **spec_fields_of(target)}, where))
    drawing.makers[spec.name] = call_of(spec.name, target)
    return spec


def _options(written: dict[str, Any], where: str) -> StepOptions:
    options: StepOptions = {}
    if "files" in written:
        options["files"] = [str(pattern) for pattern in sequence(written.pop("files"), where)]
    if "environment" in written:
        options["environment"] = _environment(mapping(written.pop("environment"), where), f"{where}.environment")
    return options


def _environment(written: Mapping[str, Any], where: str) -> Environment:
    known = [field.name for field in dataclasses.fields(Environment)]
    for name in written:
        if name not in known:
            raise GraphError(f"{where}: unknown key {name!r}{nearest_hint(name, known)}")
    try:
        return TypeAdapter(Environment).validate_python(dict(written))
    except ValidationError as error:
        raise GraphError(f"{where}: {error.errors()[0]['msg']}") from error


def _function_fields(step: Step[..., Any], written: Mapping[str, Any]) -> dict[str, Any]:
    hints = {name: hint for name, hint in step.hints.items() if name != "return"}
    is_hook = not written.get("inputs") and [text_of(hint) for hint in hints.values()] == ["RunSummary"]
    return {
        "run": {"module": step.fn.__module__, "function": step.fn.__qualname__},
        "types": {name: text_of(hint) for name, hint in hints.items()},
        "accepts_none": () if is_hook else tuple(sorted(name for name, hint in hints.items() if accepts_none(hint))),
        "outputs": output_specs(step.hints.get("return", Any)),
        "doc": inspect.getdoc(step.fn) or "",
    }


def _found(address: str, where: str) -> Step[..., Any]:
    module, colon, name = address.partition(":")
    if not colon:
        raise GraphError(f"{where}: function {address!r} is written as 'module:name'")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise GraphError(f"{where}: there is no function {address!r}: {error}") from error
    return cast(Step[..., Any], found) if isinstance(found, Step) else Step(found, {})


def _relative(source: Path, folder: Path) -> str:
    resolved, here = source.resolve(), folder.resolve()
    if not resolved.is_relative_to(here):
        raise GraphError(f"the script folder {source} must lie below {folder}, where the document is")
    return resolved.relative_to(here).as_posix()
