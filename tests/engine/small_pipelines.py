"""Parts of small pipelines for tests of decisions."""

from typing import Any

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Binding, FromItem, FromNode, FromParameter, Literal_, Select
from penstock.contracts.spec import (
    CollectSpec,
    EachSpec,
    FunctionTarget,
    Identity,
    Node,
    OutputSpec,
    ParameterSpec,
    PipelineSpec,
    RetrySpec,
    StepSpec,
)
from penstock.contracts.targets import ApprovalTarget, RegisterTarget

ONCE_MORE = RetrySpec(limit=1, delay_seconds=10, jitter=0)


def step(name: str, *after: str, inputs: dict[str, Binding] | None = None, **fields: Any) -> StepSpec:
    """A step that takes the results of the steps `after`."""
    return StepSpec(
        name=name,
        run=FunctionTarget(module="m", function=name),
        inputs={**{source: FromNode(node=source) for source in after}, **(inputs or {})},
        outputs=(OutputSpec(),),
        code=Identity(digest=fields.pop("code", name)),
        environment=Identity(digest="environment"),
        **fields,
    )


def inner(name: str, *after: str, each: str = "each", **fields: Any) -> StepSpec:
    """A step inside of the fan-out `each` that takes its item."""
    return step(name, *after, inputs={"item": FromItem(item=each)}, scope=(each,), **fields)


def each(name: str = "each", over: Binding | None = None, **fields: Any) -> EachSpec:
    """A fan-out over the parameter `xs`."""
    return EachSpec(name=name, each=(over or FromParameter(parameter="xs"),), **fields)


def collect(of: str, over: str = "each", **fields: Any) -> CollectSpec:
    """The list of a step's results, named `all-` and the step."""
    return CollectSpec(name=f"all-{of}", collect=FromNode(node=of), over=over, **fields)


def pipeline(*nodes: Node, parameters: tuple[str, ...] = (), result: str | None = None, **fields: Any) -> PipelineSpec:
    return PipelineSpec(
        name="small",
        parameters=tuple(ParameterSpec(name=name) for name in parameters),
        nodes=nodes,
        outputs={"result": FromNode(node=result)} if result is not None else {},
        **fields,
    )


def fanned(*nodes: Node, result: str | None = None, **fields: Any) -> PipelineSpec:
    """A pipeline of the parameter `xs`."""
    return pipeline(*nodes, parameters=("xs",), result=result, **fields)


APPROVED = Select(select=("approved",), of=FromNode(node="ok"))
"""That the answer to `ask` is an approval."""


def ask(
    question: Binding | None = None, *, evidence: dict[str, Binding] | None = None, scope: tuple[str, ...] = (), **target: Any
) -> StepSpec:
    """The step `ok`, which asks people."""
    fields: dict[str, Any] = {"approvers": ("ml-leads",)}
    return StepSpec(
        name="ok",
        run=ApprovalTarget(**(fields | target)),
        inputs={"question": question or Literal_(value=inline("Deploy?")), **(evidence or {})},
        outputs=(OutputSpec(type="Decision"),),
        scope=scope,
        code=Identity(digest=""),
        environment=Identity(digest=""),
        cache=False,
    )


def register(name: str = "churn", alias: str | None = "candidate", of: str = "train") -> StepSpec:
    """The step that gives what another made a name."""
    return StepSpec(
        name=f"register-{name}",
        run=RegisterTarget(name=name, alias=alias),
        inputs={"artifact": FromNode(node=of)},
        outputs=(OutputSpec(type="str"),),
        code=Identity(digest=""),
        environment=Identity(digest=""),
        cache=False,
    )
