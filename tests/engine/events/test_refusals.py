"""What nobody could read is kept with its reason, and read again once somebody says how."""

from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import Connection, create_engine

from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.event_mappings import EventMapping
from penstock.engine.events.mappings import all_mappings, put_mapping, remove_mapping
from penstock.engine.events.received import received
from penstock.engine.events.refusals import KEPT, drop_refusal, keep_refused, refusals, try_again
from penstock.engine.schema import metadata
from penstock.engine.store import Store
from tests.engine.events.test_received import Delivered

ORDERS = EventMapping(name="orders", source='"/shop"', type='"order"', id="message.number", routing_key="default.orders")
MESSAGE = Delivered(b'{"number": 5}', "application/json", {"raw": b"\xff", "at": {"deep": [b"x"]}}, "default.orders")


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_a_message_that_came_before_its_mapping_is_read_once_that_is_declared(connection: Connection) -> None:
    keep_refused(connection, [(MESSAGE, "no mapping")], 7, "default")
    (kept,) = refusals(connection, "default", 2**62, 10)
    with pytest.raises(ContractError, match="no mapping"):
        try_again(connection, "default", kept.refusal_no, 8)

    put_mapping(connection, "default", ORDERS, "me", 9)
    stored = try_again(connection, "default", kept.refusal_no, 10)

    assert stored is not None
    assert [one.is_new for one in stored] == [True]
    assert refusals(connection, "default", 2**62, 10) == []
    assert try_again(connection, "default", kept.refusal_no, 11) is None


def test_what_is_shown_of_a_refused_message_tells_who_sent_what_where(connection: Connection) -> None:
    keep_refused(connection, [(MESSAGE, "why\x00"), (Delivered(b"\xff" * 3000, key="sales.x"), "other")], 7, "default")

    (mine,), (other,) = (refusals(connection, workspace, 2**62, 10) for workspace in ("default", "sales"))

    assert (mine.received_at, mine.reason, mine.size, mine.body) == (7, "why\N{REPLACEMENT CHARACTER}", 13, '{"number": 5}')
    assert (mine.content_type, mine.exchange, mine.key, mine.sender) == ("application/json", "penstock.ingest", "default.orders", "lake")
    assert (other.size, len(other.body)) == (3000, 2000)


def test_a_workspace_keeps_its_newest_refused_messages(connection: Connection) -> None:
    for number in range(KEPT + 3):
        keep_refused(connection, [(MESSAGE, str(number))], number, "default")

    kept = refusals(connection, "default", 2**62, 2 * KEPT)

    assert [one.reason for one in (kept[0], kept[-1])] == [str(KEPT + 2), "3"]


def test_refused_messages_of_another_workspace_are_out_of_reach(connection: Connection) -> None:
    keep_refused(connection, [(MESSAGE, "x")], 7, "default")
    (kept,) = refusals(connection, "default", 2**62, 1)

    assert try_again(connection, "sales", kept.refusal_no, 8) is None
    assert not drop_refusal(connection, "sales", kept.refusal_no)
    assert drop_refusal(connection, "default", kept.refusal_no)


def test_a_mapping_is_replaced_removed_and_each_workspace_has_its_own(connection: Connection) -> None:
    put_mapping(connection, "default", ORDERS, "me", 1)
    put_mapping(connection, "default", ORDERS.model_copy(update={"type": '"other"'}), "me", 2)

    known = all_mappings(connection)
    assert received(MESSAGE, 0, "default", known)[0].event.type == "other"
    with pytest.raises(ContractError, match="no mapping"):
        received(Delivered(b"{}", key="sales.orders"), 0, "default", known)
    assert remove_mapping(connection, "default", "orders")
    assert not remove_mapping(connection, "default", "orders")


def test_a_mapping_with_an_expression_that_is_none_is_not_kept(connection: Connection) -> None:
    with pytest.raises(InvalidInput, match="`type` of the mapping orders"):
        put_mapping(connection, "default", ORDERS.model_copy(update={"type": "event.type"}), "me", 1)

    assert all_mappings(connection).by_workspace == {}


async def test_refused_messages_and_mappings_are_kept_by_each_store(store: Store) -> None:
    await store.transaction(partial(keep_refused, refused=[(MESSAGE, "why"), (MESSAGE, "too")], now_us=7, default_workspace="default"))
    await store.transaction(lambda connection: put_mapping(connection, "default", ORDERS, "me", 8))
    first, second = await store.read(lambda connection: refusals(connection, "default", 2**62, 10))

    stored = await store.transaction(lambda connection: try_again(connection, "default", first.refusal_no, 9))

    assert stored is not None
    assert [one.is_new for one in stored] == [True]
    assert (first.reason, first.size, first.received_at) == ("too", 13, 7)
    assert await store.transaction(lambda connection: drop_refusal(connection, "default", second.refusal_no))
    assert await store.read(lambda connection: refusals(connection, "default", 2**62, 10)) == []
    assert await store.transaction(lambda connection: remove_mapping(connection, "default", "orders"))
