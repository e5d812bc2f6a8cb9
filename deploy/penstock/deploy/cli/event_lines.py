"""Events, decisions and triggers as the command line shows them."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from penstock.contracts.event_views import DecisionView, EventView, HeldView, Tried, TriggerView
from penstock.contracts.triggers import AllSource, AnySource, CronSource, OnDataSource, OnEventSource, OnRunSource, Single, TriggerSpec
from penstock.deploy.cli.durations import age_text
from penstock.deploy.cli.progress import aligned

_SHOWN = 100


def event_table(events: Iterable[EventView]) -> list[str]:
    """A line for each."""
    table = [("event", "type", "source", "id", "received", "became")]
    table += [(str(one.event_no), one.type, one.source, _short(one.id, 36), ago(one.received_at), became(one)) for one in events]
    return aligned(table)


def became(event: EventView) -> str:
    """What came of it, in a few words."""
    if event.state == "dead":
        return f"dead: {_short(event.error or 'it could not be decided')}"
    if event.state == "new":
        return "not decided yet"
    told = [one for one in event.decisions if one.outcome != "not_matched"]
    if not told:
        return "nothing: no trigger is for it" if not event.decisions else "nothing: no trigger matched"
    return ", ".join(f"{one.trigger}: {one.run_name or one.run_id}" if one.run_id else f"{one.trigger}: {one.outcome}" for one in told)


def event_lines(event: EventView) -> list[str]:
    """An event in full, without its data."""
    told = [("event", str(event.event_no)), ("type", event.type), ("source", event.source), ("id", event.id)]
    more = {"subject": event.subject, "time": event.time, "sent by": event.sender, "caused by": event.causation_id, "error": event.error}
    told += [(name, text) for name, text in more.items() if text]
    told.append(("received", f"{ago(event.received_at)}, by {event.via}"))
    if event.conflicts:
        others = "another one" if event.conflicts == 1 else f"{event.conflicts} others"
        told.append(("conflicts", f"{others} came under the same source and id, with another content"))
    return [*aligned(told), *decision_lines(event.decisions), *([] if event.decisions else [became(event)])]


def decision_lines(decisions: Sequence[DecisionView]) -> list[str]:
    """What each trigger made of an event."""
    rows = [
        (
            f"{one.trigger}{f' (replay {one.replay})' if one.replay else ''}",
            one.outcome,
            one.run_name or one.run_id or "",
            " ".join(one.reason.split()),
        )
        for one in decisions
    ]
    return aligned([("trigger", "decision", "run", "why"), *rows]) if rows else []


def trigger_decision_table(decisions: Iterable[DecisionView]) -> list[str]:
    """What a trigger made of events."""
    table = [("event", "when", "decision", "run", "why")]
    table += [(str(one.event_no), ago(one.at), one.outcome, one.run_name or one.run_id or "", _short(one.reason)) for one in decisions]
    return aligned(table)


def trigger_table(triggers: Iterable[TriggerView]) -> list[str]:
    table = [("trigger", "pipeline", "on", "state", "next", "held", "last day", "last run")]
    for one in triggers:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(one.counts.items()))
        upcoming = moment(one.next_at) if one.next_at is not None else ""
        held = str(one.held) if one.held else ""
        table.append((one.spec.name, one.spec.pipeline, source_text(one.spec), one.state, upcoming, held, counts, one.last_run or ""))
    return aligned(table)


def held_lines(held: Iterable[HeldView]) -> list[str]:
    """What triggers hold, and what for."""
    rows = [
        (one.trigger, one.why, one.key, ", ".join(map(str, one.event_nos[:10])), ago(one.since), ", ".join(one.missing) or _until(one))
        for one in held
    ]
    return aligned([("trigger", "held for", "key", "events", "since", "waits for"), *rows]) if rows else []


def tried_lines(trigger: str, tried: Tried) -> list[str]:
    """What a trigger would make of an event."""
    would = {"started": "would start a run", "waiting": "would wait", "not_matched": "would not match", "refused": "would be refused"}
    lines = [f"{trigger}: {would.get(tried.outcome, tried.outcome)}{f': {tried.reason}' if tried.reason else ''}"]
    lines += [f"  {name} = {_tried_text(value)}" for name, value in tried.parameters.items()]
    return lines + [f"  {name} key: {key}" for name, key in tried.keys.items()]


def _tried_text(value: Any) -> str:
    """Data that would be fetched, by its address; else the value."""
    match value:
        case {"fetch": str(uri), "as": str(kind)}:
            return f"the {kind} at {uri}"
        case [{"fetch": _}, *_] as several:
            return ", ".join(map(_tried_text, several))
        case _:
            return repr(value)


def source_text(spec: TriggerSpec) -> str:
    """What it listens to."""
    match spec.on:
        case AllSource():
            return " and ".join(map(_single, spec.on.of))
        case AnySource():
            return " or ".join(map(_single, spec.on.of))
        case single:
            return _single(single)


def ago(at: int) -> str:
    return age_text((time.time_ns() // 1000 - at) / 1e6)


def moment(at: int) -> str:
    """In UTC."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _single(source: Single) -> str:
    match source:
        case OnEventSource():
            return source.type
        case CronSource():
            return f"{source.schedule} ({source.tz})"
        case OnDataSource():
            return source.uri
        case OnRunSource():
            return f"{source.pipeline} {' or '.join(source.states)}"


def _until(held: HeldView) -> str:
    return "" if held.until is None else f"until {moment(held.until)}"


def _short(text: str, most: int = _SHOWN) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
