"""Schedules: each time is one event, whoever looks and however often; what was missed follows the catch-up policy."""

import asyncio
from datetime import UTC, datetime

import pytest

from penstock.engine.events.clocks import tell_due_times
from penstock.engine.events.triggers import set_state
from penstock.engine.statement import Statement
from tests.engine.events.bench import SECOND, Bench, parameter, trigger

MINUTE = 60 * SECOND
_ids = Statement("SELECT id FROM event ORDER BY event_no")
_rewrite = Statement("UPDATE trigger_version SET definition = replace(definition, :before, :after)")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


async def clocked(bare: Bench, start: str, **fields: str) -> None:
    bare.now = at(start)
    await bare.publish(parameter("day", "str"))
    await bare.declare(trigger(on={"kind": "cron", "schedule": "*/10 * * * *", **fields}, parameters={"day": "event.time"}))
    await look(bare)


async def look(bench: Bench) -> None:
    await bench.do(lambda connection: tell_due_times(connection, bench.now))


async def days(bench: Bench) -> list[str]:
    return [run["day"] for run in await bench.runs()]


async def test_each_time_of_a_schedule_makes_one_run(bare: Bench) -> None:
    await clocked(bare, "2026-03-01T10:05:00")

    for _ in range(25):
        bare.now += MINUTE
        await asyncio.gather(look(bare), look(bare))

    assert await days(bare) == ["2026-03-01T10:10:00+00:00", "2026-03-01T10:20:00+00:00", "2026-03-01T10:30:00+00:00"]
    assert await bare.outcomes() == ["started"] * 3


@pytest.mark.parametrize(("policy", "runs"), [("none", 1), ("latest", 1), ("all", 13)])
async def test_what_was_missed_in_two_hours_follows_the_policy(bare: Bench, policy: str, runs: int) -> None:
    await clocked(bare, "2026-03-01T10:05:00", catch_up=policy)

    bare.now += 125 * MINUTE
    await look(bare)

    # A time that is due at this moment was not missed.
    assert len(await days(bare)) == runs
    assert (await days(bare))[-1] == "2026-03-01T12:10:00+00:00"


async def test_a_local_time_is_once_a_day_where_clocks_change(bare: Bench) -> None:
    await clocked(bare, "2026-03-28T00:00:00", schedule="30 2 * * *", tz="Europe/Paris")

    for _ in range(4 * 24 * 2):
        bare.now += 30 * MINUTE
        await look(bare)

    assert [day[:10] for day in await days(bare)] == ["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"]


async def test_times_of_a_paused_trigger_are_decided_as_paused(bare: Bench) -> None:
    await clocked(bare, "2026-03-01T10:05:00", catch_up="all")
    await bare.do(lambda connection: set_state(connection, "default", "retrain", "paused", bare.now))
    bare.now += 15 * MINUTE
    await look(bare)

    await bare.do(lambda connection: set_state(connection, "default", "retrain", "on", bare.now))
    bare.now += 10 * MINUTE
    await look(bare)

    assert await bare.outcomes() == ["paused", "paused", "started"]


async def test_a_clock_goes_on_in_the_next_version_of_its_trigger(bare: Bench) -> None:
    await clocked(bare, "2026-03-01T10:05:00", catch_up="all")
    bare.now += 30 * MINUTE

    same = {"kind": "cron", "schedule": "*/10 * * * *", "catch_up": "all"}
    await bare.declare(trigger(on=same, parameters={"day": "event.id"}))
    await look(bare)

    assert len(await days(bare)) == 3


async def test_a_schedule_that_can_not_be_followed_keeps_no_other_from_its_times_and_catches_up(bare: Bench) -> None:
    await clocked(bare, "2026-03-01T10:05:00", catch_up="all", tz="Asia/Tokyo")
    await bare.declare(trigger("other", on={"kind": "cron", "schedule": "*/10 * * * *"}, parameters={"day": "event.time"}))
    # As on a machine that does not know the zone.
    await bare.do(lambda connection: _rewrite(connection, before="Asia/Tokyo", after="Asia/Nowhere"))

    for _ in range(26):
        bare.now += MINUTE
        await look(bare)
    assert await bare.outcomes("other") == ["started"] * 3
    assert await bare.outcomes() == []

    await bare.do(lambda connection: _rewrite(connection, before="Asia/Nowhere", after="Asia/Tokyo"))
    bare.now += MINUTE
    await look(bare)
    assert await bare.outcomes() == ["started"] * 3
