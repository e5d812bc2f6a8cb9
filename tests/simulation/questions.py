"""What simulated pipelines ask people, and what somebody thinks of it: always the same of the same question."""

import random

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Binding, FromItem, FromNode, Literal_, Select
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.spec import CollectSpec, EachSpec, Identity, Node, OutputSpec, PipelineSpec, StepSpec
from penstock.contracts.targets import ApprovalTarget, RegisterTarget

NAME = "made"
"""Of what runs register."""
_NOBODY = Identity(digest="")


def with_people(spec: PipelineSpec, rng: random.Random) -> PipelineSpec:
    """The pipeline with an approval at its end, by itself or for each item of a fan-out, and what becomes of the answer gets a name."""
    eaches = [node for node in spec.nodes if isinstance(node, EachSpec) and not node.scope]
    each = rng.choice(eaches) if eaches and rng.random() < 0.5 else None
    scope = (each.name,) if each is not None else ()
    plain = [node.name for node in spec.nodes if isinstance(node, StepSpec) and node.scope == scope]
    approved = Select(select=("approved",), of=FromNode(node="asked"))
    nodes: list[Node] = [
        _asked(rng, scope, rng.choice(plain) if plain and rng.random() < 0.7 else None, each),
        _answered(spec, scope, approved, only_if=rng.random() < 0.5),
    ]
    result = FromNode(node="answered")
    if each is not None:
        nodes.append(CollectSpec(name="answers", collect=result, over=each.name, missing="none"))
        result = FromNode(node="answers")
    register = RegisterTarget(name=NAME, alias=rng.choice([None, "newest"]))
    outputs = (OutputSpec(),)
    nodes.append(
        StepSpec(name="named", run=register, inputs={"artifact": result}, outputs=outputs, code=_NOBODY, environment=_NOBODY, cache=False)
    )
    return spec.model_copy(update={"nodes": (*spec.nodes, *nodes), "outputs": {**spec.outputs, "answer": result}})


def _asked(rng: random.Random, scope: tuple[str, ...], evidence: str | None, each: EachSpec | None) -> StepSpec:
    question = f"question {rng.randrange(100)}"
    # Whoever is too late would have said the same.
    late = rng.random() < 0.4
    target = ApprovalTarget(
        approvers=("person",),
        timeout_seconds=rng.choice([0.5, 3.0]) if late else None,
        on_timeout="approve" if likes(question) else "reject",
    )
    inputs: dict[str, Binding] = {"question": Literal_(value=inline(question))}
    if evidence is not None:
        inputs["evidence"] = FromNode(node=evidence)
    elif each is not None and len(each.each) == 1 and each.batch is None:
        inputs["evidence"] = FromItem(item=each.name)
    return StepSpec(
        name="asked", run=target, inputs=inputs, outputs=(OutputSpec(),), scope=scope, code=_NOBODY, environment=_NOBODY, cache=False
    )


def _answered(spec: PipelineSpec, scope: tuple[str, ...], approved: Binding, *, only_if: bool) -> StepSpec:
    """A step as the others are, which takes the answer."""
    other = spec.steps[0]
    return other.model_copy(
        update={
            "name": "answered",
            "inputs": {"approved": approved},
            "accepts_none": (),
            "scope": scope,
            "when": (approved,) if only_if else (),
            "after": (),
            "code": Identity(digest=digest_bytes(b"answered")),
            "allow_failure": False,
        }
    )


def likes(question: str) -> bool:
    """What somebody thinks of it."""
    return int(question.rsplit(" ", 1)[-1]) % 3 > 0
