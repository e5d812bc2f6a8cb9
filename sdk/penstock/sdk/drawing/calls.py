"""A call of a step or program in a pipeline's body, and the node that it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import ValidationError

from penstock.contracts.bindings import FromNode
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import Identity, OutputSpec, StepSpec, Target
from penstock.sdk.drawing.annotations import accepts_none, cannot_fit, is_list, kind_of, optional, outputs_of, text_of
from penstock.sdk.drawing.drawing import Drawing, bound
from penstock.sdk.drawing.handles import Handle, Source, handles_in, source_of
from penstock.sdk.drawing.openings import joined, names_of
from penstock.sdk.drawing.places import user_place
from penstock.sdk.options import StepOptions, spec_fields
from penstock.sdk.types import Directory, Done, File

UNKNOWN = Identity(digest="")
"""The code and environment of a step before they are computed: drawing a graph does not need them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`maker` is what was called; `hints` and `result` are its annotations; `outputs` what it gives, where that is not `result`."""

    name: str
    maker: object
    target: Target
    arguments: Mapping[str, object]
    hints: Mapping[str, Any]
    result: Any
    options: StepOptions
    outputs: tuple[OutputSpec, ...] | None = None
    doc: str = ""


def draw_call(drawing: Drawing, call: Call) -> Handle:
    """Adds the node; gives the handle of its result."""
    options = _with_defaults(drawing, call)
    where = f"{user_place()}: {call.name}"
    if handles_in([value for name, value in options.items() if name != "after"]):
        raise GraphError(f"{where}: an option can't depend on a value of the run; give the value to the step as a parameter")
    for parameter, value in call.arguments.items():
        _check(where, parameter, value, call.hints.get(parameter, Any))
    placed = drawing.place(call.arguments, call.name)
    name = drawing.name_for(options.get("name") or call.name)
    outputs = output_specs(call.result) if call.outputs is None else call.outputs
    fields: dict[str, Any] = {"cache": bool(outputs), **spec_fields(options, where)}
    _check_image(options, where)
    node = checked_step(
        where,
        name=name,
        run=call.target,
        inputs={parameter: bound(drawing, value, call.hints.get(parameter, Any)) for parameter, value in call.arguments.items()},
        types={parameter: text_of(hint) for parameter, hint in call.hints.items()},
        accepts_none=tuple(sorted(parameter for parameter, hint in call.hints.items() if accepts_none(hint))),
        outputs=outputs,
        scope=names_of(placed.scope),
        when=placed.when,
        after=_after(drawing, options, placed.scope, where),
        code=UNKNOWN,
        environment=UNKNOWN,
        doc=call.doc,
        **fields,
    )
    drawing.add(node, replace(call, options=options))
    result = Done if not outputs else call.result
    annotation = optional(result) if options.get("allow_failure") else result
    is_several = call.outputs is None and outputs_of(call.result) is not None
    return Handle(
        Source(
            label=name,
            annotation=annotation,
            bind=lambda: FromNode(node=name, output=None if is_several or not outputs else outputs[0].name),
            openings=placed.scope[-1:],
            node=name,
            part=(lambda field: FromNode(node=name, output=field)) if is_several else None,
        )
    )


def output_specs(result: Any) -> tuple[OutputSpec, ...]:
    """The outputs of a function by its return annotation."""
    if result is None or result is type(None):
        return ()
    several = outputs_of(result)
    if several is None:
        return (OutputSpec(type=text_of(result), kind=kind_of(result)),)
    return tuple(OutputSpec(name=name, type=text_of(hint), kind=kind_of(hint)) for name, hint in several.items())


def checked_step(where: str, **fields: Any) -> StepSpec:
    """:raises GraphError: an option has a value that it can't have."""
    try:
        return StepSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise GraphError(f"{where}: the option {first['loc'][0]!r}: {first['msg']}, and it is {first['input']!r}") from error


def _with_defaults(drawing: Drawing, call: Call) -> StepOptions:
    merged: StepOptions = {**drawing.defaults, **call.options}
    return merged


def _after(drawing: Drawing, options: StepOptions, scope: tuple[Any, ...], where: str) -> tuple[str, ...]:
    if "after" not in options:
        return ()
    given = options["after"]
    values = cast(Sequence[object], given) if isinstance(given, list | tuple) else [given]
    names: list[str] = []
    for value in values:
        source = source_of(value)
        if source is None or source.node is None:
            raise GraphError(f"{where}: after= takes what a step call gave, or a list of such, not {value!r}")
        inner = joined([drawing.base, *(opening.scope for opening in source.openings)], f"after= of {where}")
        if scope[: len(inner)] != inner:
            raise GraphError(
                f"{where}: after={source.label} names an item of a fan-out; wait for all of them with after=collect({source.label})"
            )
        names.append(source.node)
    return tuple(dict.fromkeys(names))


def _check_image(options: StepOptions, where: str) -> None:
    environment = options.get("environment")
    if options.get("isolation") == "docker" and (environment is None or environment.kind != "image"):
        raise GraphError(f'{where}: isolation="docker" needs an image: environment=Environment.from_image("python:3.12-slim")')


def _check(where: str, parameter: str, value: object, hint: Any) -> None:
    source = source_of(value)
    if source is None:
        if not handles_in(value) and not isinstance(value, list | tuple | dict) and cannot_fit(_type_of(value), hint):
            raise GraphError(f"{where}: {parameter} takes {text_of(hint)}, and got {value!r}{_mend_constant(value, hint)}")
        return
    if not cannot_fit(source.annotation, hint):
        return
    if is_list(hint) and not is_list(source.annotation) and source.openings:
        raise GraphError(
            f"{where}: {parameter} takes the list {text_of(hint)}, and {source.label} is one item of a fan-out. "
            f"To wait for all items and pass their list, write collect({source.label})"
        )
    if source.annotation is Done:
        raise GraphError(f"{where}: {parameter} got {source.label}, a step that returns nothing; use after={source.label} to come after it")
    mend = f"; pass it in a list: [{source.label}]" if is_list(hint) and not is_list(source.annotation) else _mend(source, hint)
    raise GraphError(f"{where}: {parameter} takes {text_of(hint)}, and {source.label} is {text_of(source.annotation)}{mend}")


def _mend(source: Source, hint: Any) -> str:
    fields = outputs_of(source.annotation) or {}
    fitting = [name for name, annotation in fields.items() if not cannot_fit(annotation, hint)]
    if fitting:
        return f"; did you mean {source.label}.{fitting[0]}?"
    if is_list(source.annotation) and not is_list(hint):
        return f"; to run once per item, write each({source.label})"
    return "; convert it in a step"


def _mend_constant(value: object, hint: Any) -> str:
    wanted = {File: "File", Directory: "Directory"}.get(hint)
    return f"; write {wanted}({value!r})" if wanted is not None and isinstance(value, str) else ""


def _type_of(value: object) -> Any:
    return type(None) if value is None else type(value)
