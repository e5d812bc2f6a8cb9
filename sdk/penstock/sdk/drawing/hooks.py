"""Hooks of a pipeline: steps of one `RunSummary` that run when everything else has ended."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal, cast

from penstock.contracts.errors import GraphError
from penstock.contracts.spec import FunctionTarget, StepSpec
from penstock.sdk.drawing.calls import UNKNOWN, Call, checked_step, output_specs
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.options import StepOptions, spec_fields
from penstock.sdk.steps import Step

Kind = Literal["on_success", "on_failure", "on_exit"]
KINDS: tuple[Kind, ...] = ("on_success", "on_failure", "on_exit")


def hook_steps(drawing: Drawing, declared: Mapping[str, Any]) -> dict[Kind, StepSpec]:
    """The hooks that are declared, as steps of one `run` parameter.

    :raises GraphError: one is no step, or takes something else.
    """
    return {kind: _hook(drawing, kind, declared[kind]) for kind in KINDS if declared.get(kind) is not None}


def _hook(drawing: Drawing, kind: Kind, step: object) -> StepSpec:
    if not isinstance(step, Step):
        raise GraphError(f"{drawing.name}: {kind}= takes a step, not {step!r}; put @step on the function")
    hook = cast(Step[..., Any], step)
    if len(hook.signature.parameters) != 1:
        raise GraphError(f"{drawing.name}: the step {hook.name!r} of {kind}= must take one parameter, the RunSummary of the run")
    options: StepOptions = {**drawing.defaults, **hook.declared}
    name = hook.name
    drawing.makers[f"{kind} {name}"] = Call(
        name=name, maker=hook, target=FunctionTarget(module=hook.fn.__module__, function=hook.fn.__qualname__),
        arguments={}, hints={}, result=None, options=options,
    )  # fmt: skip
    fields: dict[str, Any] = {**spec_fields(options, f"step {name!r}"), "cache": False}
    return checked_step(
        f"{drawing.name}: {kind}=",
        name=name,
        run=FunctionTarget(module=hook.fn.__module__, function=hook.fn.__qualname__),
        types=dict.fromkeys(hook.signature.parameters, "RunSummary"),
        outputs=output_specs(hook.hints.get("return", Any)),
        code=UNKNOWN,
        environment=UNKNOWN,
        doc=inspect.getdoc(hook.fn) or "",
        **fields,
    )
