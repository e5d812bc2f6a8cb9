"""Steps that no runner executes: the coordinator itself asks people, or gives an artifact a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from penstock.contracts.bindings import FromNode
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import OutputSpec, StepSpec
from penstock.contracts.targets import ApprovalTarget, RegisterTarget
from penstock.sdk.drawing.calls import UNKNOWN, Call
from penstock.sdk.drawing.drawing import Drawing, bound
from penstock.sdk.drawing.handles import Handle, Source
from penstock.sdk.drawing.openings import names_of

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Undispatched:
    """Stands where other steps have their function."""


def checked_target(where: str, model: type[T], **fields: Any) -> T:
    """:raises GraphError: a field has a value that it can't have."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise GraphError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}, and it is {first['input']!r}") from error


def spec_fields_of(target: ApprovalTarget | RegisterTarget) -> dict[str, Any]:
    """What every such step has."""
    given = "Decision" if isinstance(target, ApprovalTarget) else "str"
    return {"run": target, "outputs": (OutputSpec(type=given),), "code": UNKNOWN, "environment": UNKNOWN, "cache": False}


def call_of(name: str, target: ApprovalTarget | RegisterTarget) -> Call:
    """What the drawing keeps of such a step."""
    return Call(name=name, maker=Undispatched(), target=target, arguments={}, hints={}, result=Any, options={})


def draw_undispatched(
    drawing: Drawing, wanted: str, target: ApprovalTarget | RegisterTarget, arguments: Mapping[str, object], result: Any
) -> Handle:
    """Adds the node; gives the handle of its result."""
    placed = drawing.place(arguments, wanted)
    name = drawing.name_for(wanted)
    inputs = {key: bound(drawing, value) for key, value in arguments.items()}
    node = StepSpec(name=name, inputs=inputs, scope=names_of(placed.scope), when=placed.when, **spec_fields_of(target))
    drawing.add(node, call_of(name, target))
    return Handle(Source(label=name, annotation=result, bind=lambda: FromNode(node=name), openings=placed.scope[-1:], node=name))
