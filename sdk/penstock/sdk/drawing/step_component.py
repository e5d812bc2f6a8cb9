"""A step by itself as a spec of one node: what is published as a component."""

import inspect
from typing import Any

from penstock.contracts.bindings import FromParameter
from penstock.contracts.errors import GraphError
from penstock.contracts.names import dashed
from penstock.contracts.spec import PipelineSpec
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.drawing.handles import Handle, Source
from penstock.sdk.drawing.parameters import parameter_specs
from penstock.sdk.drawing.results import output_bindings
from penstock.sdk.steps import Step


def drawn_step(step: Step[..., Any]) -> tuple[Drawing, PipelineSpec]:
    """The graph, whose parameters are the step's.

    :raises GraphError: a parameter has no name of its own.
    """
    for parameter in step.signature.parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise GraphError(f"{step.name}: the parameters of a component have names; *{parameter.name} has none")
    drawing = Drawing(step.name)
    with drawing.drawn():
        parameters = parameter_specs(step.fn, step.signature, step.hints, drawing.constants)
        positional = [_handle(step, name) for name, one in step.signature.parameters.items() if one.kind is not one.KEYWORD_ONLY]
        named = {name: _handle(step, name) for name, one in step.signature.parameters.items() if one.kind is one.KEYWORD_ONLY}
        outputs, types = output_bindings(drawing, step(*positional, **named), step.hints.get("return", Any))
    spec = PipelineSpec(
        name=dashed(step.name),
        parameters=tuple(parameters),
        nodes=tuple(drawing.nodes),
        outputs=outputs,
        output_types=types,
        doc=inspect.getdoc(step.fn) or "",
    )
    return drawing, spec


def _handle(step: Step[..., Any], name: str) -> Handle:
    return Handle(Source(label=name, annotation=step.hints.get(name, Any), bind=lambda: FromParameter(parameter=name)))
