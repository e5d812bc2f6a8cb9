"""Random pipelines: chains, joins, diamonds, fan-outs in fan-outs, conditions, retries. Their steps are pure functions of their inputs."""

import random
from dataclasses import dataclass, field
from typing import Literal

from penstock.contracts.artifacts import ArtifactRef, inline
from penstock.contracts.bindings import Binding, Compare, Either, FromItem, FromNode, FromParameter, ListOf, Literal_
from penstock.contracts.encoding import digest_bytes
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

WORDS = 7
"""Step values are numbers below this: small, so that keys meet and conditions hold at times."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a node can take: a number, a list of numbers, or a number in the artifact store."""

    binding: Binding
    kind: str
    scope: tuple[str, ...]


@dataclass(slots=True)
class Sketch:
    """A pipeline in the making."""

    rng: random.Random
    room: int
    depth: int
    nodes: list[Node] = field(default_factory=list[Node])
    sources: list[Source] = field(default_factory=list[Source])
    has_until: bool = False

    def visible(self, scope: tuple[str, ...], *kinds: str) -> list[Source]:
        return [source for source in self.sources if source.scope == scope[: len(source.scope)] and source.kind in kinds]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


def random_pipeline(rng: random.Random) -> PipelineSpec:
    """A pipeline of up to a dozen nodes."""
    length = 70 if rng.random() < 0.02 else rng.randint(0, 5)
    # A long list is written to the artifact store where it is collected; nested, it would be too much.
    sketch = Sketch(rng, room=rng.choice([3, 6, 9, 12]), depth=1 if length > 5 else 2)
    sketch.sources.append(Source(FromParameter(parameter="x"), "number", ()))
    sketch.sources.append(Source(FromParameter(parameter="xs"), "list", ()))
    while sketch.room > 0:
        _grow(sketch, ())
    outermost = [source for source in sketch.sources if source.scope == () and isinstance(source.binding, FromNode)]
    chosen = rng.sample(outermost, min(len(outermost), 3))
    hooks: dict[Literal["on_success", "on_failure", "on_exit"], StepSpec] = {"on_exit": _hook("told", rng)} if rng.random() < 0.15 else {}
    return PipelineSpec(
        name="simulated",
        parameters=(
            ParameterSpec(name="x", required=False, default=inline(rng.randrange(WORDS))),
            ParameterSpec(name="xs", required=False, default=inline([rng.randrange(WORDS) for _ in range(length)])),
        ),
        nodes=tuple(sketch.nodes),
        outputs={f"out{number}": source.binding for number, source in enumerate(chosen)},
        hooks=hooks,
    )


def has_until(spec: PipelineSpec) -> bool:
    """Whether what becomes of it depends on who is faster."""
    return any(isinstance(node, CollectSpec) and node.until is not None for node in spec.nodes)


def is_long(spec: PipelineSpec) -> bool:
    """Whether there is a list that is too long to travel as it is."""
    default = spec.parameters[1].default
    return isinstance(default, ArtifactRef) and len(default.json_value()) > 5


def _hook(name: str, rng: random.Random) -> StepSpec:
    return StepSpec(
        name=name,
        run=FunctionTarget(module="simulated", function="number"),
        inputs={"run": Literal_(value=inline(None))},
        outputs=(OutputSpec(),),
        code=Identity(digest=digest_bytes(name.encode())),
        environment=Identity(digest=digest_bytes(b"environment")),
        cache=False,
        pool="cpu",
        retries=_retries(rng),
    )


def _grow(sketch: Sketch, scope: tuple[str, ...]) -> None:
    sketch.room -= 1
    lists = sketch.visible(scope, "list")
    if lists and len(scope) < sketch.depth and sketch.chance(0.3):
        _fan(sketch, scope, lists)
    else:
        _step(sketch, scope)


def _step(sketch: Sketch, scope: tuple[str, ...]) -> None:
    rng = sketch.rng
    name = f"s{len(sketch.nodes)}"
    known = sketch.visible(scope, "number", "list", "blob", "collected")
    # The newest are likelier: chains and diamonds rather than stars.
    weights = [1 + 2 * (number > len(known) - 4) for number in range(len(known))]
    inputs = {f"a{number}": source.binding for number, source in enumerate(rng.choices(known, weights, k=rng.randint(1, 3)))}
    if scope and sketch.chance(0.7):
        inputs["item"] = FromItem(item=scope[-1])
    numbers = sketch.visible(scope, "number")
    if len(numbers) > 1 and sketch.chance(0.1):
        inputs["either"] = Either(either=tuple(source.binding for source in rng.sample(numbers, 2)))
    if sketch.chance(0.1):
        inputs["both"] = ListOf(list=tuple(source.binding for source in rng.choices(numbers, k=2)))
    kind = rng.choices(["number", "list", "blob"], [6, 3, 2])[0]
    # Steps that are the same code meet in the cache.
    code = rng.choice([name, name, name, "shared"]) + kind
    sketch.nodes.append(
        StepSpec(
            name=name,
            run=FunctionTarget(module="simulated", function=kind),
            inputs=inputs,
            accepts_none=tuple(name for name in inputs if sketch.chance(0.15)),
            outputs=(OutputSpec(),),
            scope=scope,
            when=_condition(sketch, scope),
            after=_after(sketch, scope),
            code=Identity(digest=digest_bytes(code.encode())),
            environment=Identity(digest=digest_bytes(b"environment")),
            cache=not sketch.chance(0.1),
            pool=rng.choice(["cpu", "cpu", "gpu"]),
            retries=_retries(rng),
            idempotent=not sketch.chance(0.15),
            allow_failure=sketch.chance(0.15),
        )
    )
    sketch.sources.append(Source(FromNode(node=name), kind, scope))


def _retries(rng: random.Random) -> RetrySpec:
    return RetrySpec(limit=rng.choice([0, 2, 3]), delay_seconds=rng.choice([0.1, 1.0]), jitter=0.2)


def _condition(sketch: Sketch, scope: tuple[str, ...]) -> tuple[Binding, ...]:
    numbers = sketch.visible(scope, "number")
    if not numbers or not sketch.chance(0.12):
        return ()
    left = sketch.rng.choice(numbers).binding
    return (Compare(compare=sketch.rng.choice(["==", "<", ">="]), left=left, right=Literal_(value=inline(sketch.rng.randrange(WORDS)))),)


def _after(sketch: Sketch, scope: tuple[str, ...]) -> tuple[str, ...]:
    names = [node.name for node in sketch.nodes if node.scope == scope and isinstance(node, StepSpec)]
    return (sketch.rng.choice(names),) if names and sketch.chance(0.08) else ()


def _fan(sketch: Sketch, scope: tuple[str, ...], lists: list[Source]) -> None:
    rng = sketch.rng
    name = f"e{len(sketch.nodes)}"
    chosen = rng.choice(lists).binding
    shape = rng.choice(["plain", "plain", "plain", "zipped", "batch"])
    sketch.nodes.append(
        EachSpec(
            name=name,
            each=(chosen, chosen) if shape == "zipped" else (chosen,),
            batch=2 if shape == "batch" else None,
            scope=scope,
            when=_condition(sketch, scope) if sketch.chance(0.3) else (),
        )
    )
    inside = (*scope, name)
    if shape == "plain":
        sketch.sources.append(Source(FromItem(item=name), "number", inside))
    elif shape == "zipped":
        sketch.sources.append(Source(FromItem(item=name, field=1), "number", inside))
    _step(sketch, inside)
    for _ in range(rng.randint(0, 2)):
        if sketch.room > 0:
            _grow(sketch, inside)
    _collect(sketch, scope, name, inside)


def _collect(sketch: Sketch, scope: tuple[str, ...], each: str, inside: tuple[str, ...]) -> None:
    rng = sketch.rng
    own = [s for s in sketch.sources if s.scope == inside and isinstance(s.binding, FromNode) and s.kind != "collected"]
    if not own:
        return
    name = f"c{len(sketch.nodes)}"
    chosen = rng.choice(own)
    numbers = [source for source in own if source.kind == "number"]
    until = None
    if numbers and sketch.chance(0.08):
        until = Compare(compare=">=", left=rng.choice(numbers).binding, right=Literal_(value=inline(rng.randrange(WORDS))))
    sketch.nodes.append(
        CollectSpec(
            name=name,
            collect=chosen.binding,
            over=each,
            missing=rng.choice(["fail", "drop", "none"]),
            at_least=rng.choice([1.0, 0.0]) if sketch.chance(0.3) else 0.0,
            until=until,
            scope=scope,
        )
    )
    kind = "list" if chosen.kind == "number" and sketch.nodes[-1].missing == "fail" else "collected"  # type: ignore[union-attr]  # just appended
    sketch.sources.append(Source(FromNode(node=name), kind, scope))
