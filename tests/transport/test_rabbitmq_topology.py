"""The topology on real brokers of both versions: declared, looked at, repaired, exported."""

import asyncio
import contextlib
import json
import shlex

import aio_pika
import pytest

from penstock.contracts.errors import BusUnavailable, InvalidInput
from penstock.transport.bus import DEAD, INBOX, INGEST, Envelope, Exchange, work_queue
from penstock.transport.buses.rabbitmq import RabbitBus
from penstock.transport.buses.rabbitmq.address import Address, parse_address
from penstock.transport.buses.rabbitmq.definitions import definitions, description
from penstock.transport.buses.rabbitmq.finding import Finding, FindingKind
from penstock.transport.buses.rabbitmq.management import Management
from penstock.transport.buses.rabbitmq.mending import Mending
from penstock.transport.buses.rabbitmq.policies import DELIVERY_LIMIT
from penstock.transport.buses.rabbitmq.topology import topology
from penstock.transport.buses.rabbitmq.topology_apply import Patience, apply, repair
from penstock.transport.buses.rabbitmq.topology_check import check
from tests.servers.rabbitmq import RabbitServer, VirtualHost

WANTED = topology([("default", "cpu")])
IMPATIENT = Patience(leader_seconds=2.0, settle_seconds=0.0)
POOL = work_queue("default", "cpu")


def faults(found: list[Finding]) -> list[tuple[FindingKind, str]]:
    return [(finding.kind, finding.subject) for finding in found if finding.is_fault]


def management(vhost: VirtualHost) -> Management:
    return Management(vhost.management_url, vhost.name)


async def test_what_is_applied_is_found_in_order(each_vhost: VirtualHost) -> None:
    address = parse_address(each_vhost.url)
    async with management(each_vhost) as api:
        before = await check(address, WANTED, management=api)

        applied = await apply(address, WANTED, management=api)

        assert await check(address, WANTED, management=api) == []
        again = await apply(address, WANTED, management=api)
    assert (FindingKind.MISSING, f"queue {POOL}") in faults(before)
    assert (FindingKind.MISSING, "policy penstock-work") in faults(before)
    assert (list(applied.created), list(applied.repaired)) == ([DEAD, INBOX, INGEST, POOL], [])
    assert (list(again.created), list(again.repaired)) == ([], [])
    assert again.seconds < 1.0


async def test_without_the_management_api_policies_are_commands_to_run(vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    before = await check(address, WANTED, management=None)
    await apply(address, WANTED, management=None, patience=IMPATIENT)

    found = await check(address, WANTED, management=None)

    assert (FindingKind.MISSING, f"queue {INBOX}") in faults(before)
    assert faults(found) == []
    (work,) = [finding for finding in found if finding.subject == "policy penstock-work"]
    assert f"rabbitmqctl set_policy --vhost {vhost.name} --priority 10 --apply-to queues penstock-work" in work.remedy


async def test_the_commands_for_policies_are_what_the_api_would_set(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    await apply(address, WANTED, management=None, patience=IMPATIENT)
    for line in description(WANTED, vhost.name):
        if line.startswith("rabbitmqctl "):
            rabbitmq.rabbitmqctl(*shlex.split(line)[1:])

    async with management(vhost) as api:
        assert await check(address, WANTED, management=api) == []


async def test_a_queue_killed_right_after_its_declaration_is_wedged_and_one_of_two_repairers_makes_it_anew(
    each_rabbitmq: RabbitServer, each_vhost: VirtualHost
) -> None:
    address = parse_address(each_vhost.url)
    fresh = work_queue("default", "gpu")
    wanted = topology([("default", "cpu"), ("default", "gpu")])
    async with management(each_vhost) as api:
        await apply(address, WANTED, management=api)  # these have the time to settle
        await wedge(each_rabbitmq, each_vhost, fresh)

        found = await check(address, wanted, management=api, leader_seconds=IMPATIENT.leader_seconds)
        applied, repaired = await asyncio.gather(
            apply(address, wanted, management=api, patience=IMPATIENT), repair(address, wanted, patience=IMPATIENT)
        )

        assert [finding for finding in faults(found) if finding[0] is FindingKind.LEADERLESS] == [
            (FindingKind.LEADERLESS, f"queue {fresh}")
        ]
        assert sorted([list(applied.repaired), repaired]) == [[], [fresh]]
        assert await check(address, wanted, management=api) == []


async def test_a_coordinator_mends_a_wedged_queue_at_its_second_look_and_leaves_the_others(
    rabbitmq: RabbitServer, vhost: VirtualHost
) -> None:
    address = parse_address(vhost.url)
    fresh = work_queue("default", "gpu")
    await apply(address, WANTED, management=None)  # these have the time to settle
    await wedge(rabbitmq, vhost, fresh)
    mending = Mending(vhost.url, lambda: [INBOX, DEAD, fresh], patience=IMPATIENT)

    assert [await mending.look(), await mending.look(), await mending.look()] == [[], [fresh], []]


async def test_where_no_queue_answers_nothing_is_made_anew(vhost: VirtualHost) -> None:
    mending = Mending(vhost.url, lambda: [INBOX, DEAD], patience=IMPATIENT)

    assert [await mending.look(), await mending.look()] == [[], []]


async def test_poison_lands_among_the_dead_letters_after_the_delivery_limit(each_vhost: VirtualHost) -> None:
    async with management(each_vhost) as api:
        await apply(parse_address(each_vhost.url), WANTED, management=api, patience=IMPATIENT)
    async with await aio_pika.connect(each_vhost.url) as connection:
        channel = await connection.channel()
        queue, dead = await channel.get_queue(POOL), await channel.get_queue(DEAD)
        await channel.default_exchange.publish(aio_pika.Message(b"poison", delivery_mode=aio_pika.DeliveryMode.PERSISTENT), POOL)

        deliveries = 0
        async with asyncio.timeout(20):
            while (found := await dead.get(fail=False)) is None:
                if (message := await queue.get(fail=False)) is not None:
                    deliveries += 1
                    await message.reject(requeue=True)
        await found.ack()

    assert found.body == b"poison"
    assert deliveries == DELIVERY_LIMIT + 1
    assert found.headers["x-first-death-reason"] == "delivery_limit"


async def test_what_a_consumer_refuses_lands_among_the_dead_letters_at_once(each_vhost: VirtualHost) -> None:
    async with management(each_vhost) as api:
        await apply(parse_address(each_vhost.url), WANTED, management=api, patience=IMPATIENT)
    async with (
        RabbitBus(each_vhost.url, name="refusing") as bus,
        bus.consume(POOL, prefetch=1) as consumer,
        bus.consume(DEAD, prefetch=1) as dead,
    ):
        await bus.publish(Envelope(exchange=Exchange.WORK, key="default.cpu.pipeline.3", body=b"nonsense"))
        async with asyncio.timeout(20):
            await (await anext(aiter(consumer))).refuse()
            letter = await anext(aiter(dead))
            await letter.acknowledge()

    assert letter.body == b"nonsense"


async def test_a_check_does_not_touch_a_message_that_waits(vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    await apply(address, WANTED, management=None, patience=IMPATIENT)
    async with await aio_pika.connect(vhost.url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"order"), POOL)

        for _ in range(3):
            await check(address, WANTED, management=None)

        message = await (await channel.get_queue(POOL)).get()
        assert not message.redelivered


async def test_a_broker_out_of_memory_can_be_looked_at_and_mended(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    rabbitmq.set_memory_alarm()

    async with management(vhost) as api:
        await apply(address, WANTED, management=api, patience=IMPATIENT)

        assert await check(address, WANTED, management=api) == []
    rabbitmq.clear_memory_alarm()


async def test_a_queue_of_another_type_is_told_and_left_alone(vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    async with await aio_pika.connect(vhost.url) as connection:
        await (await connection.channel()).declare_queue(POOL, durable=True)
    async with management(vhost) as api:
        with_api = await check(address, WANTED, management=api)
    without = await check(address, WANTED, management=None)

    with pytest.raises(BusUnavailable, match="can't be changed: `penstock topology check`"):
        await apply(address, WANTED, management=None, patience=IMPATIENT)

    for found in (with_api, without):
        (finding,) = [finding for finding in found if finding.kind is FindingKind.DIFFERENT]
        assert finding.subject == f"queue {POOL}"
        assert f"rabbitmqctl delete_queue --vhost {vhost.name} {POOL}" in finding.remedy


async def test_an_operators_policy_that_lacks_something_is_told(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    address = parse_address(vhost.url)
    body = {"pattern": "^penstock", "definition": {"max-length": 10}, "priority": 50, "apply-to": "queues"}
    async with management(vhost) as api:
        await apply(address, WANTED, management=api, patience=IMPATIENT)
        rabbitmq.api("PUT", f"policies/{vhost.name}/mine", body)

        found = await check(address, WANTED, management=api)

    assert {finding.subject for finding in found} >= {f"queue {INBOX}", f"queue {INGEST}"}
    (finding,) = [finding for finding in found if finding.subject == f"queue {INBOX}"]
    assert "the policy mine (priority 50) governs it" in finding.what
    assert "delivery-limit=20" in finding.what


async def test_what_is_exported_can_be_imported(each_rabbitmq: RabbitServer, each_vhost: VirtualHost) -> None:
    each_rabbitmq.api("POST", "definitions", json.loads(json.dumps(definitions(WANTED, each_vhost.name))))

    async with management(each_vhost) as api:
        assert await check(parse_address(each_vhost.url), WANTED, management=api) == []


def of_user(
    rabbitmq: RabbitServer, vhost: VirtualHost, *, tags: str = "", permissions: tuple[str, str, str] | None = None
) -> tuple[Address, str]:
    user = rabbitmq.add_user(tags=tags, vhost=vhost.name, permissions=permissions)
    return parse_address(rabbitmq.url(vhost.name, user)), rabbitmq.management_url(user)


async def test_a_user_without_the_permission_to_configure_learns_what_to_set(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    address, _ = of_user(rabbitmq, vhost, permissions=("^$", ".*", ".*"))

    with pytest.raises(BusUnavailable, match=f"rabbitmqctl set_permissions --vhost {vhost.name} {address.user}"):
        await apply(address, WANTED, management=None, patience=IMPATIENT)


async def test_a_user_who_may_only_look_can_check(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    await apply(parse_address(vhost.url), WANTED, management=None, patience=IMPATIENT)
    address, _ = of_user(rabbitmq, vhost, permissions=("^$", "^$", ".*"))

    assert faults(await check(address, WANTED, management=None)) == []


async def test_a_user_who_may_not_set_policies_learns_which_tag_is_missing(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    address, url = of_user(rabbitmq, vhost, tags="management")

    async with Management(url, vhost.name) as api:
        with pytest.raises(BusUnavailable, match=f"rabbitmqctl set_user_tags {address.user} policymaker"):
            await apply(address, WANTED, management=api, patience=IMPATIENT)


async def test_wrong_credentials_of_the_management_api_are_told_without_the_password(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    url = f"http://nobody:hush-hush@127.0.0.1:{rabbitmq.management_port}"

    async with Management(url, vhost.name) as api:
        with pytest.raises(BusUnavailable, match="check the user and the password in PENSTOCK_BROKER_MANAGEMENT_URL") as raised:
            await check(parse_address(vhost.url), WANTED, management=api)

    assert "hush-hush" not in str(raised.value)


async def test_a_management_api_that_is_not_there_is_told(vhost: VirtualHost) -> None:
    async with Management("http://guest:guest@127.0.0.1:1", vhost.name) as api:
        with pytest.raises(BusUnavailable, match="rabbitmq-plugins enable rabbitmq_management"):
            await check(parse_address(vhost.url), WANTED, management=api)


@pytest.mark.parametrize("url", ["amqp://guest:hush@host", "nonsense", "http://", "http://user:hush@host:port"])
def test_a_management_url_that_can_not_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="PENSTOCK_BROKER_MANAGEMENT_URL") as raised:
        Management(url, "/")

    assert "hush" not in str(raised.value)


async def wedge(rabbitmq: RabbitServer, vhost: VirtualHost, queue: str) -> None:
    """Leaves the queue without a leader for ever: the broker had no time to write down that it exists."""
    connection = await aio_pika.connect(vhost.url)
    await (await connection.channel()).declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    rabbitmq.kill()
    rabbitmq.start()
    with contextlib.suppress(Exception):
        await connection.close()
