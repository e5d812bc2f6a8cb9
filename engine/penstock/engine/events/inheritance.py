"""What goes over from a version of a trigger to the next one: held events, starts that wait, clocks, objects that were seen."""

from sqlalchemy import Connection

from penstock.contracts.triggers import CronSource, OnDataSource, TriggerSpec
from penstock.engine.statement import Statement

_start_clock = Statement(
    "INSERT INTO trigger_clock (trigger_no, member, last_at, next_at) VALUES (:trigger_no, :member, :now, :now) "
    "ON CONFLICT (trigger_no, member) DO UPDATE SET last_at = excluded.last_at, next_at = excluded.next_at"
)
_move_clock = Statement(
    "UPDATE trigger_clock SET last_at = (SELECT o.last_at FROM trigger_clock o WHERE o.trigger_no = :old AND o.member = :old_member), "
    "next_at = (SELECT o.next_at FROM trigger_clock o WHERE o.trigger_no = :old AND o.member = :old_member) "
    "WHERE trigger_no = :new AND member = :member "
    "AND EXISTS (SELECT 1 FROM trigger_clock o WHERE o.trigger_no = :old AND o.member = :old_member)"
)
_move_seen = Statement("UPDATE seen_object SET trigger_no = :new, member = :member WHERE trigger_no = :old AND member = :old_member")
_move_look = Statement("UPDATE data_look SET trigger_no = :new, member = :member WHERE trigger_no = :old AND member = :old_member")
_forget_looks = Statement("DELETE FROM data_look WHERE trigger_no = :trigger_no")
_end_clocks = Statement("DELETE FROM trigger_clock WHERE trigger_no = :trigger_no")
_forget_seen = Statement("DELETE FROM seen_object WHERE trigger_no = :trigger_no")
_move_held = Statement("UPDATE held_event SET trigger_no = :new WHERE trigger_no = :old")
_decide_held_again = Statement("UPDATE held_event SET trigger_no = :new, why = 'again', until = :now WHERE trigger_no = :old")
_drop_held = Statement("DELETE FROM held_event WHERE trigger_no = :trigger_no")
# With what can be tried again, which is found by the trigger's starts.
_move_waiting = Statement(
    "UPDATE decision SET trigger_no = :new WHERE trigger_no = :old AND outcome IN ('waiting', 'failed', 'refused') AND run_id IS NULL"
)
_end_waiting = Statement(
    "UPDATE decision SET outcome = 'superseded', reason = 'the trigger was removed', \"at\" = :now "
    "WHERE trigger_no = :trigger_no AND outcome = 'waiting'"
)
# With those that still count for throttle and concurrency.
_move_starts = Statement(
    "UPDATE trigger_start SET trigger_no = :new WHERE trigger_no = :old AND (state IN ('fetch', 'queue', 'again', 'failed', 'refused') "
    "OR (state = 'started' AND (due_at > :since OR run_id IN (SELECT u.run_id FROM run u WHERE u.ended_at IS NULL))))"
)
_drop_starts = Statement(
    "UPDATE trigger_start SET state = 'skipped', reason = 'the trigger was removed' "
    "WHERE trigger_no = :trigger_no AND state IN ('fetch', 'queue', 'again')"
)

AGAIN = "again"
"""Why an event is held that a changed trigger is to decide once more."""


def start_clocks(connection: Connection, trigger_no: int, spec: TriggerSpec, now: int) -> None:
    """Schedules and looks at data count from now on."""
    for member, source in enumerate(spec.sources):
        if isinstance(source, CronSource | OnDataSource):
            _start_clock(connection, trigger_no=trigger_no, member=member, now=now)


def inherit(
    connection: Connection, old: int, heir: tuple[int, TriggerSpec | None, TriggerSpec] | None, now: int, *, keeps_clocks: bool = False
) -> None:
    """Gives what belongs to the version `old` to its heir (its number, the old definition if it can be read, the
    new one); without one, it ends."""
    if heir is None:
        _end_waiting(connection, trigger_no=old, now=now)
        _drop_held(connection, trigger_no=old)
        _drop_starts(connection, trigger_no=old)
    else:
        new, before, after = heir
        if before is not None and (before.on, before.debounce, before.batch) == (after.on, after.debounce, after.batch):
            _move_held(connection, old=old, new=new)
        else:
            _decide_held_again(connection, old=old, new=new, now=now)
        _move_waiting(connection, old=old, new=new)
        window = 0 if after.throttle is None else int(after.throttle.seconds * 1_000_000)
        _move_starts(connection, old=old, new=new, since=now - window)
        if keeps_clocks and before is not None:
            _keep_clocks(connection, old, new, before, after)
    _end_clocks(connection, trigger_no=old)
    _forget_seen(connection, trigger_no=old)
    _forget_looks(connection, trigger_no=old)


def _keep_clocks(connection: Connection, old: int, new: int, before: TriggerSpec, after: TriggerSpec) -> None:
    known = {source.model_dump_json(): member for member, source in enumerate(before.sources)}
    for member, source in enumerate(after.sources):
        old_member = known.get(source.model_dump_json())
        if old_member is not None and isinstance(source, CronSource | OnDataSource):
            _move_clock(connection, old=old, new=new, member=member, old_member=old_member)
            _move_seen(connection, old=old, new=new, member=member, old_member=old_member)
            _move_look(connection, old=old, new=new, member=member, old_member=old_member)
