"""What clients that are not ours say about their messages comes as plain values, whatever it is."""

from datetime import UTC, datetime
from decimal import Decimal

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from penstock.transport.buses.rabbitmq.foreign import properties_of

FRAME = Basic.Deliver(exchange="lake", routing_key="sales.orders")


def test_times_numbers_bytes_and_tables_become_plain_values() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers: FieldTable = {"at": at, "price": Decimal("1.5"), "raw": b"\xff", "list": [1, {"deep": True}], "none": None}
    header = ContentHeader(0, 0, Basic.Properties(content_type="text/csv", headers=headers, user_id="lake"))

    told = properties_of(FRAME, header)

    assert dict(told.headers) == {
        "at": "2026-01-02T03:04:05Z",
        "price": 1.5,
        "raw": b"\xff",
        "list": [1, {"deep": True}],
        "none": None,
    }
    assert (told.content_type, told.exchange, told.key, told.user_id) == ("text/csv", "lake", "sales.orders", "lake")


def test_a_message_that_says_nothing_of_itself_has_empty_properties() -> None:
    told = properties_of(Basic.Deliver(), ContentHeader(0, 0, Basic.Properties()))

    assert (told.content_type, dict(told.headers), told.exchange, told.key, told.user_id) == ("", {}, "", "", "")


@given(st.binary(max_size=200))
def test_whatever_the_library_reads_from_a_header_can_be_told(table: bytes) -> None:
    payload = b"\x00\x3c\x00\x00" + bytes(8) + (1 << 13).to_bytes(2, "big") + len(table).to_bytes(4, "big") + table
    try:
        _, _, header = pamqp.frame.unmarshal(b"\x02\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce")
    except Exception:  # noqa: BLE001  # what the library can't read does not come here
        return
    assert isinstance(header, ContentHeader)

    assert all(isinstance(name, str) for name in properties_of(FRAME, header).headers)
