"""How a spec becomes a plan: numbers, chains, edges and how items line up."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.artifacts import ListValue, Value, inline
from penstock.contracts.errors import ContractError
from penstock.contracts.spec import encode_spec
from penstock.engine.core.fan import shaped
from penstock.engine.core.plan import Alignment, plan_of
from tests.engine.small_pipelines import collect, each, fanned, inner, step
from tests.simulation.pipelines import random_pipeline


def numbers(count: int) -> list[Value]:
    return [inline(number) for number in range(count)]


def test_items_line_up_as_their_scopes_say() -> None:
    spec = fanned(step("outside"), each(), inner("first", "outside"), inner("second", "first"), collect("second"))
    plan = plan_of(encode_spec(spec))

    edges = {(plan.nodes[e.parent].name, plan.nodes[e.child].name): e.alignment for node in plan.nodes for e in node.edges_in}

    assert edges["outside", "first"] is Alignment.OUTER
    assert edges["first", "second"] is Alignment.SAME
    assert edges["second", "all-second"] is Alignment.GROUP
    assert edges["each", "all-second"] is Alignment.SAME


@given(st.integers(0, 10_000))
def test_every_edge_leads_from_an_earlier_node_to_a_later_one(seed: int) -> None:
    plan = plan_of(encode_spec(random_pipeline(random.Random(seed))))

    for node in plan.nodes:
        for edge in node.edges_in:
            assert edge.parent < edge.child == node.no
            assert edge in plan.nodes[edge.parent].edges_out


@given(st.integers(0, 10_000))
def test_every_node_is_inside_of_the_fan_outs_of_its_scope(seed: int) -> None:
    plan = plan_of(encode_spec(random_pipeline(random.Random(seed))))

    for node in plan.nodes[: len(plan.spec.nodes)]:
        assert tuple(plan.nodes[number].name for number in node.chain) == node.spec.scope
        assert node.no in plan.members[node.chain]


@given(st.integers(0, 20))
def test_a_single_list_gives_its_items(count: int) -> None:
    assert shaped([numbers(count)], None) == numbers(count)


@given(st.integers(0, 20), st.integers(1, 7))
def test_batches_hold_every_item_once_and_only_the_last_is_short(count: int, size: int) -> None:
    batches = shaped([numbers(count)], size)

    parts = [list(batch.list) for batch in batches if isinstance(batch, ListValue)]
    assert [item for part in parts for item in part] == numbers(count)
    assert all(len(part) == size for part in parts[:-1])


@given(st.integers(0, 20), st.integers(0, 20))
def test_zipped_lists_must_have_one_length(first: int, second: int) -> None:
    if first == second:
        assert len(shaped([numbers(first), numbers(second)], None)) == first
    else:
        with pytest.raises(ContractError, match="different lengths"):
            shaped([numbers(first), numbers(second)], None)
