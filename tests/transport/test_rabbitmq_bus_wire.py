"""Frames that are encoded here are read by others as they are meant."""

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from penstock.contracts.errors import ContractError, InvalidInput
from penstock.transport.buses.rabbitmq.address import parse_address
from penstock.transport.buses.rabbitmq.wire import OutgoingMessage, ack_frame, described_by, publish_frames, requeue_frame, short

words = st.text(max_size=60)


def unmarshalled(data: bytes) -> list[tuple[int, object]]:
    frames: list[tuple[int, object]] = []
    while data:
        count, channel, frame = pamqp.frame.unmarshal(data)
        assert isinstance(frame, Frame | ContentHeader | ContentBody | Heartbeat)
        frames.append((channel, frame))
        data = data[count:]
    return frames


@given(channel=st.integers(1, 65535), exchange=words, key=words, user=words, body=st.binary(max_size=200), mandatory=..., persistent=...)
def test_a_message_is_read_as_it_was_meant(
    channel: int, exchange: str, key: str, user: str, body: bytes, mandatory: bool, persistent: bool
) -> None:
    message = OutgoingMessage(exchange, key, body, user, is_mandatory=mandatory, is_persistent=persistent)

    (method_channel, method), (_, header), *parts = unmarshalled(publish_frames(channel, 72, "id-1", message))

    assert isinstance(method, Basic.Publish)
    assert (method_channel, method.exchange, method.routing_key, method.mandatory) == (channel, exchange, key, mandatory)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    assert header.properties.message_id == "id-1"
    assert header.properties.delivery_mode == (2 if persistent else 1)
    assert (header.properties.user_id or "") == user
    assert b"".join(part.value for _, part in parts if isinstance(part, ContentBody)) == body
    assert all(len(part.value) <= 64 for _, part in parts if isinstance(part, ContentBody))


HEADERS = st.dictionaries(st.text(max_size=30), st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1))


@given(content_type=st.text(max_size=60), headers=HEADERS, body=st.binary(max_size=20))
def test_what_a_message_says_of_itself_is_read_as_it_was_meant(
    content_type: str, headers: dict[str, str | bool | int], body: bytes
) -> None:
    described = described_by(content_type, headers)
    message = OutgoingMessage("x", "k", body, "me", is_mandatory=True, is_persistent=True, described=described)

    _, (_, header), *_ = unmarshalled(publish_frames(1, 4096, "id-1", message))

    assert isinstance(header, ContentHeader)
    told = header.properties
    assert (told.content_type or "", dict(told.headers or {}), told.message_id, told.user_id) == (content_type, headers, "id-1", "me")
    assert (told.delivery_mode, header.body_size) == (2, len(body))


@pytest.mark.parametrize("headers", [{"n": 2**63}, {"x" * 256: ""}, {"x": "y" * 70_000}, {"x": "\ud800"}])
def test_headers_that_amqp_has_no_room_for_are_refused(headers: dict[str, str | bool | int]) -> None:
    with pytest.raises(ContractError, match="can't be sent"):
        described_by("", headers)


@given(channel=st.integers(1, 65535), tag=st.integers(1, 2**62), multiple=...)
def test_answers_are_read_as_they_were_meant(channel: int, tag: int, multiple: bool) -> None:
    ((ack_channel, ack), (nack_channel, nack)) = unmarshalled(ack_frame(channel, tag, is_multiple=multiple) + requeue_frame(channel, tag))

    assert isinstance(ack, Basic.Ack)
    assert (ack_channel, ack.delivery_tag, ack.multiple) == (channel, tag, multiple)
    assert isinstance(nack, Basic.Nack)
    assert (nack_channel, nack.delivery_tag, nack.multiple, nack.requeue) == (channel, tag, False, True)


def test_a_string_over_the_protocols_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes"):
        short("x" * 256)


def test_an_address_says_everything_but_the_password() -> None:
    address = parse_address("amqp://runner:se%2Fcret@broker:5673/team%2Fa")

    assert (address.user, address.host, address.port, address.virtual_host) == ("runner", "broker", 5673, "team/a")
    assert address.url.password == "se/cret"
    assert "cret" not in f"{address} {address!r}"


def test_an_address_without_path_is_the_first_virtual_host() -> None:
    address = parse_address("amqp://broker")

    assert (address.user, address.port, address.virtual_host) == ("guest", 5672, "/")


@pytest.mark.parametrize("url", ["http://u:secret@broker/", "amqp://u:secret@broker:port/", "amqp://u:secret@", "nonsense"])
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="amqp://user:password@host:port/vhost") as refused:
        parse_address(url)

    assert "secret" not in str(refused.value)
