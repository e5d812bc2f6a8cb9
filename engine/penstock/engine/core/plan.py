"""The plan: a pipeline spec compiled for deciding. Nodes are numbered in topological order; edges say how items line up.

A node's *chain* is the tuple of `each` nodes around it, outermost first. It runs once for each item of its chain's last `each`
(once, as item 0, where the chain is empty).
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from penstock.contracts.bindings import Binding, FromItem, FromNode, walk
from penstock.contracts.cache_key import static_digest
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError
from penstock.contracts.spec import CollectSpec, EachSpec, PipelineSpec, StepSpec, decode_spec, node_bindings


class Alignment(Enum):
    """How a child's items line up with a parent's."""

    SAME = "same"
    """Item by item."""
    OUTER = "outer"
    """The parent is outside a fan-out that the child is in: one parent item, many children."""
    GROUP = "group"
    """The child collects: it waits for all of the parent's items."""


@dataclass(frozen=True, slots=True)
class Edge:
    parent: int
    child: int
    alignment: Alignment


@dataclass(slots=True)
class PlanNode:
    """A node of the spec with its number, its chain of `each` nodes by number, and its edges."""

    no: int
    spec: StepSpec | EachSpec | CollectSpec
    chain: tuple[int, ...]
    edges_in: list[Edge] = field(default_factory=list[Edge])
    edges_out: list[Edge] = field(default_factory=list[Edge])
    step_bytes: bytes = b""
    static: str = ""
    until_of: list[int] = field(default_factory=list[int])
    """Numbers of the collects whose `until` reads this node."""

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(slots=True)
class Plan:
    """Everything about a pipeline that deciding needs, computed once a spec."""

    spec: PipelineSpec
    nodes: list[PlanNode]
    numbers: dict[str, int]
    members: dict[tuple[int, ...], list[int]]
    """Chain to the numbers of the nodes in it."""

    def inside(self, each: int) -> list[int]:
        """The nodes directly inside the fan-out that `each` opens."""
        return self.members.get((*self.nodes[each].chain, each), [])

    def up_to(self, name: str) -> frozenset[int]:
        """The node of that name and everything that it depends on."""
        found: set[int] = set()
        pending = [self.numbers[name]]
        while pending:
            number = pending.pop()
            if number not in found:
                found.add(number)
                pending += [edge.parent for edge in self.nodes[number].edges_in] + list(self.nodes[number].chain)
        return frozenset(found)

    def step(self, node: int) -> StepSpec:
        """The step of that number.

        :raises TypeError: it is a fan-out or a collect.
        """
        spec = self.nodes[node].spec
        if not isinstance(spec, StepSpec):
            raise TypeError(f"{spec.name} is not a step")
        return spec

    def parents(self, node: int, alignment: Alignment) -> list[int]:
        return [edge.parent for edge in self.nodes[node].edges_in if edge.alignment is alignment]


@lru_cache(maxsize=64)
def plan_of(spec_bytes: bytes) -> Plan:
    """The plan of a spec in canonical bytes.

    :raises ContractError: the spec is malformed, or its scopes don't nest.
    """
    spec = decode_spec(spec_bytes)
    numbers = {node.name: number for number, node in enumerate(spec.nodes)}
    # Hooks are numbered after the nodes: they are step runs like any other, created when the others have ended.
    hooks = [spec.hooks[event] for event in sorted(spec.hooks)]
    nodes = [_plan_node(number, node, numbers) for number, node in enumerate((*spec.nodes, *hooks))]
    plan = Plan(spec=spec, nodes=nodes, numbers=numbers, members={})
    for node in nodes[: len(spec.nodes)]:
        plan.members.setdefault(node.chain, []).append(node.no)
        for parent in _parents(node, numbers):
            edge = Edge(parent, node.no, _alignment(nodes[parent], node, numbers))
            node.edges_in.append(edge)
            nodes[parent].edges_out.append(edge)
        if isinstance(node.spec, CollectSpec) and node.spec.until is not None:
            for number in _numbers_in(node.spec.until, numbers):
                if len(nodes[number].chain) > len(node.chain):
                    nodes[number].until_of.append(node.no)
    return plan


def _plan_node(number: int, node: StepSpec | EachSpec | CollectSpec, numbers: dict[str, int]) -> PlanNode:
    planned = PlanNode(no=number, spec=node, chain=tuple(numbers[name] for name in node.scope))
    if isinstance(node, StepSpec):
        planned.step_bytes = canonical(node.model_dump(mode="json", exclude_defaults=True))
        planned.static = static_digest(node)
    return planned


def _numbers_in(binding: Binding, numbers: dict[str, int]) -> list[int]:
    return [numbers[part.node] for part in walk(binding) if isinstance(part, FromNode)]


def _parents(node: PlanNode, numbers: dict[str, int]) -> list[int]:
    parents = [numbers[name] for name in node.spec.after]
    for binding in node_bindings(node.spec):
        parents += _numbers_in(binding, numbers)
        for part in walk(binding):
            # An item of a fan-out exists because the fan-out was expanded: no edge, unless a collect reads it from outside.
            if isinstance(part, FromItem) and numbers[part.item] not in node.chain and not isinstance(node.spec, CollectSpec):
                raise ContractError(f"{node.name!r} uses an item of {part.item!r} outside of its fan-out")
    if isinstance(node.spec, CollectSpec):
        parents.append(numbers[node.spec.over])
    return list(dict.fromkeys(parents))


def _alignment(parent: PlanNode, child: PlanNode, numbers: dict[str, int]) -> Alignment:
    if isinstance(child.spec, CollectSpec) and parent.chain == (*child.chain, numbers[child.spec.over]):
        return Alignment.GROUP
    if parent.chain == child.chain:
        return Alignment.SAME
    if parent.chain == child.chain[: len(parent.chain)]:
        return Alignment.OUTER
    raise ContractError(
        f"{child.name!r} uses {parent.name!r}, which is inside another fan-out: collect it first, or zip the lists with each(a, b)"
    )
