"""What a coordinator has taken in and could not commit stays with it."""

from penstock.contracts.messages import CancelRun, SubmitRun, encode
from penstock.engine.core.wants import Begin, Due, Lost
from penstock.engine.inbox import BATCH, Inbox
from penstock.transport.bus import REPORT_KEY, Properties


class HeldDelivery:
    """A delivery that a broker counts each time it is given back."""

    redelivered = False
    properties = Properties()

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.given_back = 0

    async def acknowledge(self) -> None:
        """Nobody asks."""

    async def give_back(self) -> None:
        self.given_back += 1

    async def refuse(self) -> None:
        """Nobody does."""


async def test_what_could_not_be_committed_comes_again_in_its_order_and_is_not_given_back_to_the_broker() -> None:
    inbox = Inbox()
    old = [HeldDelivery(encode(CancelRun(run_id=f"run{number}"))) for number in range(BATCH)]
    new = HeldDelivery(encode(SubmitRun(run_id="last", spec=b"")))
    for delivery in (*old, new):
        await inbox.deliver(delivery)
    told = inbox.tell(1, Begin())

    for _ in range(50):
        inbox.keep(await inbox.batch())
    first, second = await inbox.batch(), await inbox.batch()

    assert [command.run_id for command in first.cancels] == [f"run{number}" for number in range(BATCH)]
    assert [request.run_id for request, _ in second.submits] == ["last"]
    assert dict(first.facts) == {1: [Begin()]}
    assert not told.done()
    assert sum(delivery.given_back for delivery in (*old, new)) == 0


async def test_a_run_asked_for_by_message_is_asked_for_once_though_its_batch_comes_again() -> None:
    inbox = Inbox()
    await inbox.deliver(HeldDelivery(encode(SubmitRun(run_id="one", spec=b""))))
    own = inbox.submit(SubmitRun(run_id="two", spec=b""))

    inbox.keep(await inbox.batch())

    assert sorted(request.run_id for request, _ in (await inbox.batch()).submits) == ["one", "two"]
    assert not own.done()


async def test_a_fact_that_waits_already_is_not_taken_twice() -> None:
    inbox = Inbox()
    lost = [inbox.tell(1, Lost((0, 0), 1)) for _ in range(1000)]
    others = [inbox.tell(1, Lost((0, 0), 2)), inbox.tell(2, Lost((0, 0), 1)), inbox.tell(1, Due([(0, 0)]))]

    batch = await inbox.batch()
    batch.succeed()

    assert len(batch.own) == 4
    assert all(future.done() for future in (*lost, *others))


async def test_a_fact_told_while_it_is_decided_is_decided_again_and_once_where_the_first_time_failed() -> None:
    inbox = Inbox()
    first = inbox.tell(1, Begin())
    batch = await inbox.batch()
    second = inbox.tell(1, Begin())
    assert not second.done()

    inbox.keep(batch)
    again = await inbox.batch()
    again.succeed()
    # The futures of what was told meanwhile are done one turn later.
    await second

    assert dict(again.facts) == {1: [Begin()]}
    assert first.done()


class ReportedDelivery(HeldDelivery):
    """A delivery that came as runners' reports do."""

    properties = Properties(exchange="penstock.reports", key=REPORT_KEY)


async def test_what_a_runner_may_publish_commands_nothing() -> None:
    inbox = Inbox()
    for command in (SubmitRun(run_id="forged", workspace="theirs", spec=b"{}"), CancelRun(run_id="theirs")):
        await inbox.deliver(ReportedDelivery(encode(command)))
    await inbox.deliver(HeldDelivery(encode(CancelRun(run_id="ours"))))

    batch = await inbox.batch()

    assert batch.submits == []
    assert [command.run_id for command in batch.cancels] == ["ours"]
    assert len(batch.deliveries) == 3
