"""Definitions of pools: what becomes of resources, and what people may write."""

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pools import PoolSpec, SlotSpec, checked_pool_name, decode_pool
from penstock.contracts.spec import ResourcesSpec

POOL = PoolSpec(name="cpu", slot=SlotSpec(cpu=2, memory_bytes=4 * 2**30), slots_per_runner=4)


@pytest.mark.parametrize(
    ("resources", "slots"),
    [
        (ResourcesSpec(), 1),
        (ResourcesSpec(cpu=2), 1),
        (ResourcesSpec(cpu=2.5), 2),
        (ResourcesSpec(memory_bytes=9 * 2**30), 3),
        (ResourcesSpec(cpu=8, memory_bytes=16 * 2**30), 4),
        (ResourcesSpec(cpu=9), None),
        (ResourcesSpec(gpu=1), None),
    ],
)
def test_a_step_takes_as_many_slots_as_its_scarcest_resource_asks_for(resources: ResourcesSpec, slots: int | None) -> None:
    assert POOL.slots_for(resources) == slots


@pytest.mark.parametrize(("gpus", "slots"), [(1, 1), (2, 2), (5, None)])
def test_gpus_are_counted_in_slots(gpus: int, slots: int | None) -> None:
    pool = PoolSpec(name="gpu", slot=SlotSpec(cpu=8, gpu=1), slots_per_runner=4)
    assert pool.slots_for(ResourcesSpec(gpu=gpus)) == slots


def test_several_slots_can_share_a_gpu() -> None:
    pool = PoolSpec(name="gpu", slot=SlotSpec(gpu=0.5), slots_per_runner=4)
    assert pool.slots_for(ResourcesSpec(gpu=1)) == 2


@pytest.mark.parametrize("name", ["lane", "gpu.large", "", "GPU"])
def test_names_that_break_routing_keys_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_pool_name(name)


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"name": "gpu", "slots": 3}, "slots: Extra inputs"),
        ({"name": "gpu", "slot": {"cpu": 0}}, "slot.cpu: Input should be greater than 0"),
        ({"name": "lane"}, "served steps use that word"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(plain: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        decode_pool(plain)
