"""The times of a cron expression in its time zone, and which of those that were missed still count. Times are microseconds since 1970 UTC.

Where clocks go forward, a time that does not exist is taken at the first moment that does; where they go back, a fixed time of day is taken
once, the first time, and an expression with `*` (or `*/n`) as its minute or hour goes on by the hours that really pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from penstock.contracts.errors import InvalidInput
from penstock.contracts.triggers import CronSource

CATCH_UP_LIMIT = 1000
"""Missed times that count at most: the latest ones."""
LATE = 60 * 1_000_000
"""A time that is past by no more than that was not missed, whatever the policy."""
_FIELDS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 24 * 3600 * 1_000_000
_LOOKED_AT = (7, 70, 700)
"""Days before now in which missed times are looked for, the next where the one before has too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """`fire`: the times that become events, in order. `missed`: how many others passed, of the last week at least.

    `next_us`: when to look again. `last_us`: up to where all is decided.
    """

    fire: list[int]
    missed: int
    next_us: int | None
    last_us: int


def check_schedule(source: CronSource) -> None:
    """
    :raises InvalidInput: the expression or the zone can't be read, or there is no such time.
    """
    zone = _zone(source.tz)
    if len(source.schedule.split()) != _FIELDS:
        raise InvalidInput(
            f"the schedule {source.schedule!r} needs five fields: minute, hour, day of month, month, day of week (0 3 * * *)"
        )
    try:
        simulated = CronSim(source.schedule, datetime(2024, 1, 1, tzinfo=zone))
        next(simulated)
    except (CronSimError, StopIteration, OverflowError, ValueError) as error:
        why = str(error) or "there is no such time"
        raise InvalidInput(f"the schedule {source.schedule!r} can't be followed: {why}") from error


def times(source: CronSource, after_us: int, until_us: int) -> list[int]:
    """The times after `after_us` and not after `until_us`."""
    return list(takewhile(lambda at: at <= until_us, _times(source, after_us)))


def next_after(source: CronSource, after_us: int) -> int | None:
    """The first time after `after_us`; None: there is none for fifty years."""
    return next(_times(source, after_us), None)


def due(source: CronSource, last_us: int, now_us: int) -> Due:
    """What becomes of the times after `last_us`, which was the last one decided, at `now_us`.

    A time of the last minute is on time; of the earlier ones `catch_up` says which count.
    """
    passed = _passed(source, last_us, now_us)
    on_time = [at for at in passed if at > now_us - LATE]
    late = passed[: len(passed) - len(on_time)]
    match source.catch_up:
        case "all":
            kept = late[-CATCH_UP_LIMIT:]
        case "latest":
            kept = [] if on_time else late[-1:]
        case "none":
            kept = []
    return Due(fire=kept + on_time, missed=len(late) - len(kept), next_us=next_after(source, now_us), last_us=now_us)


def local_time(source: CronSource, at_us: int) -> str:
    """RFC 3339 in the schedule's zone, with its offset."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(_zone(source.tz)).isoformat()


def _passed(source: CronSource, last_us: int, now_us: int) -> list[int]:
    """The times since then; of a long time, as many of the latest as can matter: counting the minutes of years takes minutes."""
    for days in _LOOKED_AT:
        since = max(last_us, now_us - days * _DAY)
        found = times(source, since, now_us)
        if since == last_us or len(found) > CATCH_UP_LIMIT:
            return found
    return times(source, last_us, now_us)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise InvalidInput(f"there is no time zone {name!r}; write it as Europe/Paris, or UTC") from error


def _times(source: CronSource, after_us: int) -> Iterator[int]:
    last = after_us
    simulated = CronSim(source.schedule, (_EPOCH + timedelta(microseconds=after_us)).astimezone(_zone(source.tz)))
    try:
        for local in simulated:
            at = (local.astimezone(UTC) - _EPOCH) // _MICROSECOND
            # Fixed times are found by local time: in the second of two equal hours, those of the first are found again.
            if at > last:
                yield at
                last = at
    except OverflowError:
        return
