"""Schedules on a simulated clock: across both changes of the clocks in two zones, and across outages with each policy."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.errors import InvalidInput
from penstock.contracts.triggers import CronSource
from penstock.engine.triggers.schedules import CATCH_UP_LIMIT, check_schedule, due, local_time, next_after, times

MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE
CatchUp = Literal["none", "latest", "all"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def cron(schedule: str, tz: str = "UTC", catch_up: CatchUp = "none") -> CronSource:
    return CronSource(schedule=schedule, tz=tz, catch_up=catch_up)


def served(source: CronSource, start: int, end: int, outages: tuple[tuple[int, int], ...] = (), late: int = 2_000_000) -> Iterator[str]:
    """The local times at which a service fires that looks when it is told to, a little late, but in outages."""
    last, now = start, start
    while now <= end:
        for down, up in outages:
            if down <= now < up:
                now = up
        found = due(source, last, now)
        yield from (local_time(source, fired) for fired in found.fire)
        last = found.last_us
        assert found.next_us is not None
        now = found.next_us + late


@pytest.mark.parametrize(
    ("schedule", "fired"),
    [
        # 02:30 does not exist: it is taken at the first moment that does.
        ("30 2 * * *", ["28T02:30:00+01:00", "29T03:00:00+02:00", "30T02:30:00+02:00"]),
        ("0 3 * * *", ["28T03:00:00+01:00", "29T03:00:00+02:00", "30T03:00:00+02:00"]),
        ("30 2-3 * * *", ["28T02:30:00+01:00", "28T03:30:00+01:00", "29T03:00:00+02:00", "29T03:30:00+02:00", "30T02:30:00+02:00"]),
        # By the hours that really pass: that of 02 did not.
        ("*/30 2 * * *", ["28T02:00:00+01:00", "28T02:30:00+01:00", "30T02:00:00+02:00", "30T02:30:00+02:00"]),
        ("30 */12 * * *", ["28T00:30:00+01:00", "28T12:30:00+01:00", "29T00:30:00+01:00", "29T12:30:00+02:00", "30T00:30:00+02:00"]),
    ],
)
def test_clocks_go_forward_in_paris(schedule: str, fired: list[str]) -> None:
    found = list(served(cron(schedule, "Europe/Paris"), at("2026-03-27T23:00:00Z"), at("2026-03-30T01:15:00Z")))

    assert found == [f"2026-03-{text}" for text in fired]


@pytest.mark.parametrize(
    ("schedule", "fired"),
    [
        # 02:30 is there twice: it is taken the first time.
        ("30 2 * * *", ["24T02:30:00+02:00", "25T02:30:00+02:00", "26T02:30:00+01:00"]),
        ("30 2,3 * * *", ["24T02:30:00+02:00", "24T03:30:00+02:00", "25T02:30:00+02:00", "25T03:30:00+01:00", "26T02:30:00+01:00"]),
        ("0 3 * * *", ["24T03:00:00+02:00", "25T03:00:00+01:00"]),
    ],
)
def test_clocks_go_back_in_paris(schedule: str, fired: list[str]) -> None:
    found = list(served(cron(schedule, "Europe/Paris"), at("2026-10-23T22:00:00Z"), at("2026-10-26T01:45:00Z")))

    assert found == [f"2026-10-{text}" for text in fired]


@pytest.mark.parametrize(
    ("schedule", "start", "fired"),
    [
        ("30 2 * * *", "2026-03-07T05:00:00Z", ["03-07T02:30:00-05:00", "03-08T03:00:00-04:00", "03-09T02:30:00-04:00"]),
        ("15 1-3 * * *", "2026-03-08T05:30:00Z", ["03-08T01:15:00-05:00", "03-08T03:00:00-04:00", "03-08T03:15:00-04:00"]),
        ("30 1 * * *", "2026-10-31T04:30:00Z", ["10-31T01:30:00-04:00", "11-01T01:30:00-04:00", "11-02T01:30:00-05:00"]),
        ("0 1,2 * * *", "2026-11-01T04:30:00Z", ["11-01T01:00:00-04:00", "11-01T02:00:00-05:00", "11-02T01:00:00-05:00"]),
        ("15 * * * *", "2026-11-01T04:30:00Z", ["11-01T01:15:00-04:00", "11-01T01:15:00-05:00", "11-01T02:15:00-05:00"]),
    ],
)
def test_clocks_change_in_new_york(schedule: str, start: str, fired: list[str]) -> None:
    source = cron(schedule, "America/New_York")

    found = [local_time(source, one) for one in times(source, at(start), at(start) + 72 * HOUR)[: len(fired)]]

    assert found == [f"2026-{text}" for text in fired]


def test_every_half_hour_is_one_wherever_the_clocks_go() -> None:
    for zone, change in (
        ("Europe/Paris", "2026-03-29T01:00:00Z"),
        ("Europe/Paris", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
    ):
        found = times(cron("*/30 * * * *", zone), at(change) - 3 * HOUR, at(change) + 3 * HOUR)

        assert found == [at(change) + n * 30 * MINUTE for n in range(-5, 7)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York"])
@pytest.mark.parametrize(
    ("catch_up", "fired"),
    [
        ("none", ["00:00", "00:30", "03:00", "03:30"]),
        ("latest", ["00:00", "00:30", "02:30", "03:00", "03:30"]),
        ("all", ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00", "03:30"]),
    ],
)
def test_after_two_hours_without_service_the_catch_up_policy_says_what_counts(zone: str, catch_up: CatchUp, fired: list[str]) -> None:
    source = cron("*/30 * * * *", zone, catch_up)
    start = at("2026-07-01T00:00:00" + local_time(cron("* * * * *", zone), at("2026-07-01T04:00:00Z"))[-6:])
    down = (start + 40 * MINUTE, start + 160 * MINUTE)

    found = list(served(source, start - MINUTE, start + 215 * MINUTE, (down,)))

    assert [text[11:16] for text in found] == fired


@pytest.mark.parametrize(
    ("catch_up", "fired"),
    [
        ("none", ["04:00+02:00"]),
        ("latest", ["03:30+02:00", "04:00+02:00"]),
        ("all", ["01:30+01:00", "03:00+02:00", "03:30+02:00", "04:00+02:00"]),
    ],
)
def test_an_outage_across_a_change_of_the_clocks_is_as_long_as_it_was(catch_up: CatchUp, fired: list[str]) -> None:
    source = cron("*/30 * * * *", "Europe/Paris", catch_up)
    down = at("2026-03-29T01:10:00+01:00")

    found = list(served(source, down - MINUTE, down + 2 * HOUR, ((down, down + 100 * MINUTE),)))

    assert [text[11:16] + text[-6:] for text in found] == fired


@pytest.mark.parametrize(("catch_up", "fire", "missed"), [("none", 0, 3), ("latest", 1, 2), ("all", 3, 0)])
def test_what_was_missed_is_counted(catch_up: CatchUp, fire: int, missed: int) -> None:
    found = due(cron("0 * * * *", catch_up=catch_up), at("2026-01-01T00:30:00Z"), at("2026-01-01T03:30:00Z"))

    assert (len(found.fire), found.missed) == (fire, missed)
    assert found.next_us == at("2026-01-01T04:00:00Z")
    assert found.last_us == at("2026-01-01T03:30:00Z")


def test_a_time_that_is_on_time_was_not_missed() -> None:
    for catch_up in ("none", "latest", "all"):
        found = due(cron("0 * * * *", catch_up=catch_up), at("2026-01-01T00:30:00Z"), at("2026-01-01T01:00:30Z"))

        assert (found.fire, found.missed) == ([at("2026-01-01T01:00:00Z")], 0)


def test_of_two_missed_times_the_latest_is_the_one_that_is_on_time() -> None:
    found = due(cron("* * * * *", catch_up="latest"), at("2026-01-01T00:00:00Z"), at("2026-01-01T00:05:01Z"))

    assert (found.fire, found.missed) == ([at("2026-01-01T00:05:00Z")], 4)


def test_a_thousand_missed_times_count_at_most_the_latest_ones() -> None:
    start, end = at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z") + 30_000_000

    found = due(cron("* * * * *", catch_up="all"), start, end)

    assert len(found.fire) == CATCH_UP_LIMIT + 1
    assert found.fire[-1] == at("2026-01-01T00:00:00Z")
    assert found.fire[0] == found.fire[-1] - CATCH_UP_LIMIT * MINUTE
    assert found.missed >= 7 * 24 * 60 - CATCH_UP_LIMIT - 1


def test_of_a_long_outage_all_times_of_a_rare_schedule_count() -> None:
    found = due(cron("0 0 1 1 *", catch_up="all"), at("2016-06-01T00:00:00Z"), at("2026-06-01T00:00:00Z"))

    assert [local_time(cron("* * * * *"), one)[:10] for one in found.fire] == [f"{year}-01-01" for year in range(2017, 2027)]


def test_no_time_is_due_where_none_has_come() -> None:
    found = due(cron("0 3 * * *"), at("2026-01-01T03:00:00Z"), at("2026-01-01T03:00:00Z"))

    assert (found.fire, found.missed, found.next_us) == ([], 0, at("2026-01-02T03:00:00Z"))


def test_a_leap_day_comes_every_four_years_but_those_of_centuries() -> None:
    source = cron("0 0 29 2 *")

    assert [local_time(source, one)[:10] for one in times(source, at("2091-01-01T00:00:00Z"), at("2107-01-01T00:00:00Z"))] == [
        "2092-02-29",
        "2096-02-29",
        "2104-02-29",
    ]


def test_the_last_day_of_a_month_is_its_own() -> None:
    source = cron("0 0 L * *")

    assert [local_time(source, one)[:10] for one in times(source, at("2028-01-15T00:00:00Z"), at("2028-04-15T00:00:00Z"))] == [
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
    ]


@pytest.mark.parametrize(
    ("schedule", "tz", "said"),
    [
        ("0 0 30 2 *", "UTC", "can't be followed"),
        ("0 0 31 4,6 *", "UTC", "can't be followed"),
        ("60 * * * *", "UTC", "Bad minute"),
        ("* * * * * *", "UTC", "needs five fields"),
        ("@daily", "UTC", "needs five fields"),
        ("", "UTC", "needs five fields"),
        ("a b c d e", "UTC", "Bad minute"),
        ("0 0 * * MON#6", "UTC", "Bad day-of-week"),
        ("0 3 * * *", "Nowhere/Land", "there is no time zone 'Nowhere/Land'"),
        ("0 3 * * *", "/etc/localtime", "there is no time zone"),
        ("0 3 * * *", "Europe", "there is no time zone"),
        ("0 3 * * *", "\x00", "there is no time zone"),
    ],
)
def test_a_schedule_without_times_is_refused(schedule: str, tz: str, said: str) -> None:
    source = CronSource.model_construct(schedule=schedule, tz=tz, catch_up="none")

    with pytest.raises(InvalidInput, match=said):
        check_schedule(source)


@given(st.text(alphabet="0123456789*/-,L#W? MONTUESUN", max_size=25), st.text(max_size=20))
def test_any_text_is_a_schedule_or_refused(schedule: str, tz: str) -> None:
    for source in (CronSource.model_construct(schedule=schedule), CronSource.model_construct(schedule="0 3 * * *", tz=tz)):
        try:
            check_schedule(source)
        except InvalidInput:
            continue
        assert next_after(source, 0) is not None


_zones = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Kathmandu"])
_schedules = st.sampled_from(["*/20 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 * * * *", "5 */2 * * *", "0 0 * * SUN"])


@given(
    _schedules, _zones, st.integers(at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z")), st.lists(st.integers(1, 4 * HOUR), max_size=10)
)
def test_however_often_one_looks_every_time_fires_once_and_in_order(schedule: str, tz: str, start: int, gaps: list[int]) -> None:
    source = cron(schedule, tz, "all")
    fired: list[int] = []
    now = start
    for gap in gaps:
        found = due(source, now, now + gap)
        fired += found.fire
        now += gap
        assert found.next_us == next_after(source, now)

    assert fired == times(source, start, now)
    assert fired == sorted(set(fired))
    assert due(source, start, now).fire == fired
