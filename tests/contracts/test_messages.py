"""Messages: what is encoded decodes to itself; what is not a message is refused, and never with another error."""

from collections.abc import Mapping
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.errors import ContractError, UnknownVersion
from penstock.contracts.messages import MESSAGE_LIMIT, TEXT_LIMIT, CancelRun, Failure, Message, clean_text, decode, encode
from penstock.contracts.states import FailureKind
from tests.contracts.examples import MESSAGES
from tests.contracts.strategies import instances

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
WIRE = [encode(message) for message in MESSAGES.values()]


@pytest.mark.parametrize("model", [type(message) for message in MESSAGES.values()], ids=lambda model: model.__name__)
def test_every_message_decodes_to_itself(model: type[Message]) -> None:
    @given(instances(model))
    def check(message: Message) -> None:
        assert decode(encode(message)) == message

    check()


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(JUNK, st.sampled_from(list(MESSAGES.values())), st.data())
def test_a_message_with_anything_in_one_field_decodes_or_is_refused(junk: object, message: Message, data: st.DataObject) -> None:
    payload = msgpack.unpackb(msgpack.unpackb(encode(message))[1])
    field = data.draw(st.sampled_from(sorted(type(message).model_fields)))
    _decodes_or_refuses(msgpack.packb([0, msgpack.packb({**payload, field: junk}), b""]))


@given(st.sampled_from(WIRE), st.data())
def test_mutated_and_truncated_messages_decode_or_are_refused(wire: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(wire)))
    end = data.draw(st.integers(start, min(len(wire), start + 8)))
    _decodes_or_refuses(wire[:start] + data.draw(st.binary(max_size=8)) + wire[end:])
    _decodes_or_refuses(wire[:start])


def _decodes_or_refuses(data: bytes) -> None:
    with suppress(ContractError):
        decode(data)


def test_unknown_fields_are_ignored() -> None:
    payload = {"type": "cancel_run", "version": 1, "run_id": "r", "a_later_field": [1, 2]}

    assert decode(_wire(payload)) == CancelRun(run_id="r")


@pytest.mark.parametrize("payload", [{"type": "cancel_run", "version": 2, "run_id": "r"}, {"type": "order", "version": None}])
def test_an_unknown_version_is_refused_by_name(payload: dict[str, object]) -> None:
    with pytest.raises(UnknownVersion, match="has version"):
        decode(_wire(payload))


@pytest.mark.parametrize("kind", ["mystery", None, 3, ["order"]])
def test_an_unknown_type_is_refused(kind: object) -> None:
    with pytest.raises(UnknownVersion, match="unknown message type"):
        decode(_wire({"type": kind, "version": 1}))


def test_an_extension_type_is_refused() -> None:
    with pytest.raises(ContractError, match="extension type 5"):
        decode(msgpack.packb([0, msgpack.packb({"type": msgpack.ExtType(5, b"x")}), b""]))


def test_a_message_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ContractError, match="over the limit"):
        decode(b"\xff" * (MESSAGE_LIMIT + 1))


def test_the_payload_is_wrapped_with_room_for_a_signature() -> None:
    key_id, payload, mac = msgpack.unpackb(encode(CancelRun(run_id="r")))

    assert (key_id, mac) == (0, b"")
    assert msgpack.unpackb(payload)["run_id"] == "r"


@given(st.text(st.characters(), max_size=300), st.integers(80, 200))
def test_cleaned_text_can_be_stored_anywhere_and_stays_as_it_is(text: str, limit: int) -> None:
    clean = clean_text(text, limit)

    assert "\x00" not in clean
    assert clean.encode().decode() == clean
    assert len(clean) <= limit
    assert clean_text(clean, limit) == clean


def test_lone_surrogates_are_replaced() -> None:
    assert clean_text("a\udcffb") == "a?b"


def test_a_text_that_is_cut_keeps_its_beginning_and_its_end() -> None:
    clean = clean_text("begin" + "x" * 1000 + "end", 100)

    assert clean.startswith("begin")
    assert clean.endswith("end")
    assert "characters left out" in clean


def test_a_failure_of_any_text_fits_into_a_message() -> None:
    failure = Failure(kind=FailureKind.ERROR, message="m\x00", traceback="\udcff" + "t" * 10 * TEXT_LIMIT)

    assert failure.message == "m\N{REPLACEMENT CHARACTER}"
    assert len(failure.traceback) <= TEXT_LIMIT


def _wire(payload: Mapping[str, object]) -> bytes:
    return msgpack.packb([0, msgpack.packb(payload), b""])
