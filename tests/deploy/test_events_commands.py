"""Events and triggers from the command line, on a laptop: sent, looked at, tried, replayed."""

import asyncio
import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock.contracts.event_views import Tried
from penstock.deploy.cli.application import app
from penstock.deploy.cli.event_lines import tried_lines
from penstock.deploy.embedded.incarnation import DEV, Incarnation
from penstock.engine.events.deciding import decide_new
from penstock.engine.events.refusals import keep_refused
from penstock.engine.stores.sqlite import SqliteStore
from tests.engine.events.test_received import Delivered

Penstock = Callable[..., Result]
FLOW = """
    from penstock.sdk import OnEvent, pipeline, step

    @step
    def double(x: int) -> int:
        return 2 * x

    @pipeline(triggers=[OnEvent("day.closed", where="event.data.rows > 5", parameters={"x": "event.data.rows"}, name="closed")])
    def flow(x: int = 1) -> int:
        return double(x)
"""
TRIGGERS = """
    name: joined
    pipeline: flow
    on:
      kind: all
      of:
        - {kind: event, type: a}
        - {kind: event, type: b}
      key: event.data.day
      within: 6h
    parameters: {x: "1"}
    ---
    triggers:
      - name: burst
        pipeline: flow
        on: {kind: event, type: burst.*}
        debounce: {seconds: 5m}
    """
EVENT = {"specversion": "1.0", "id": "a", "source": "/lake", "type": "day.closed", "data": {"rows": 7}}


@pytest.fixture
def penstock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Penstock:
    """The command line in a project of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))

    def invoke(*arguments: object, given: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)

    return invoke


@pytest.fixture
def published(penstock: Penstock) -> Penstock:
    told(penstock("publish", "flow.py", "--triggers", "on"))
    return penstock


def told(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def decoded(result: Result) -> Any:
    return json.loads(told(result).splitlines()[-1])


def in_rows(home: Path, function: Callable[[Any], Any]) -> None:
    """As `penstock dev` does it beside the command line."""

    (state,) = home.glob("*.sqlite")

    async def act() -> None:
        store = SqliteStore(state)
        await store.transaction(function)
        await store.close()

    asyncio.run(act())


def decide(folder: Path) -> None:
    in_rows(folder / "home", lambda connection: decide_new(connection, time.time_ns() // 1000))


def test_an_event_is_sent_decided_and_told_of(published: Penstock, tmp_path: Path) -> None:
    assert "event 1" in told(published("emit", "day.closed", "rows=7", "note=a b", "deep.x=true"))
    assert "event 2" in told(published("emit", "day.closed", "rows=1"))
    assert "event 3" in told(
        published("emit", "other", "--data", "[1]", "--source", "/lake", "--subject", "s", "--time", "2026-03-01T06:30:00Z")
    )
    assert "not decided yet" in told(published("events", "show", "1"))
    decide(tmp_path)

    table = told(published("events", "ls"))
    assert "closed: flow-1" in table
    assert "nothing: no trigger matched" in table
    assert [line.split()[0] for line in told(published("events", "ls", "--type", "day.*", "-n", "1")).splitlines()] == ["event", "2"]
    shown = decoded(published("events", "show", "1", "--json"))
    assert shown["event"]["data"] == {"rows": 7, "note": "a b", "deep": {"x": True}}
    assert shown["decisions"][0]["outcome"] == "started"
    assert "event.data.rows > 5" in told(published("events", "show", "2"))
    assert '"note": "a b"' in told(published("events", "show", "1"))


def test_the_same_event_again_changes_nothing_and_another_content_is_said(published: Penstock, tmp_path: Path) -> None:
    (tmp_path / "day.json").write_text('{"rows": 7}')
    told(published("emit", "day.closed", "--data", "@day.json", "--id", "x"))

    assert "nothing has changed" in told(published("emit", "day.closed", "--data", "@-", "--id", "x", given='{"rows": 7}'))
    assert "kept as a conflict" in told(published("emit", "day.closed", "rows=8", "--id", "x"))
    assert decoded(published("emit", "day.closed", "rows=8", "--id", "x", "--json"))["is_conflict"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("rows",), "KEY=VALUE"),
        (("a=1", "a.b=2"), "has a value already"),
        (("--data", "{"), "--data can't be read"),
        (("--data", "@nowhere.json"), "--data can't be read"),
        (("--data", "[1]", "a=1"), "need data that is an object"),
        (("--time", "today"), "RFC 3339"),
    ],
)
def test_what_is_no_event_is_refused_before_it_is_sent(penstock: Penstock, arguments: tuple[str, ...], why: str) -> None:
    assert why in told(penstock("emit", "day.closed", *arguments), 2)


def test_whoever_sends_is_told_when_nobody_serves(penstock: Penstock, tmp_path: Path) -> None:
    assert "`penstock dev`" in told(penstock("emit", "day.closed"))
    serving = Incarnation(tmp_path / "home", DEV)
    try:
        assert "`penstock dev`" not in told(penstock("emit", "day.closed"))
    finally:
        serving.close()


def test_a_run_says_which_trigger_started_it(published: Penstock, tmp_path: Path) -> None:
    told(published("emit", "day.closed", "rows=7"))
    decide(tmp_path)

    assert "started by the trigger closed, for event 1\n" in told(published("runs", "show"))


def test_waiting_for_decisions_ends_with_what_to_do_where_nobody_decides(published: Penstock) -> None:
    refused = told(published("emit", "day.closed", "rows=7", "--wait", "--timeout", "0"), 2)

    assert "penstock dev" in refused
    assert "not decided yet" in refused


def test_an_event_is_replayed(published: Penstock, tmp_path: Path) -> None:
    told(published("emit", "day.closed", "rows=7"))
    decide(tmp_path)
    assert "decided once more" in told(published("events", "replay", "1"))
    decide(tmp_path)

    assert [one["replay"] for one in decoded(published("events", "show", "1", "--json"))["decisions"]] == [0, 1]
    assert "there is no event 9" in told(published("events", "replay", "9"), 2)
    assert told(published("events", "dead")).strip() == "none is dead"
    assert "has failed" in told(published("events", "retry", "1"), 2)


def test_a_trigger_of_a_file_is_tried_without_an_engine(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    fits = told(penstock("triggers", "test", "flow.py", "--event", "event.json"))
    assert "closed: would start a run" in fits
    assert "x = 7" in fits

    (tmp_path / "event.json").write_text(json.dumps({**EVENT, "data": {"rows": 1}}))
    assert decoded(penstock("triggers", "test", "flow.py", "--event", "event.json", "--json"))["outcome"] == "not_matched"
    assert "no trigger 'other'" in told(penstock("triggers", "test", "flow.py", "--event", "event.json", "--trigger", "other"), 2)
    assert not list((tmp_path / "home").glob("*.sqlite"))

    (tmp_path / "event.json").write_text("[]")
    assert "holds no CloudEvent" in told(penstock("triggers", "test", "flow.py", "--event", "event.json"), 2)
    (tmp_path / "event.json").write_text('{"specversion": "1.0"}')
    assert "event.json is no CloudEvent: " in told(penstock("triggers", "test", "flow.py", "--event", "event.json"), 2)
    assert "can't be read" in told(penstock("triggers", "test", "flow.py", "--event", "nowhere.json"), 2)


def test_data_that_would_be_fetched_is_shown_by_its_address() -> None:
    one, other = ({"fetch": f"s3://lake/{name}", "as": "file"} for name in "ab")

    lines = tried_lines("closed", Tried(outcome="started", parameters={"raw": one, "all": [one, other], "x": 7}))

    assert lines[1:] == ["  raw = the file at s3://lake/a", "  all = the file at s3://lake/a, the file at s3://lake/b", "  x = 7"]


def test_a_declared_trigger_is_tried_on_events_that_are_kept_or_not(published: Penstock, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    told(published("emit", "day.closed", "rows=3"))

    assert "would start a run" in told(published("triggers", "test", "closed", "--event", "event.json"))
    assert "would not match" in told(published("triggers", "test", "closed", "--event", "1"))
    assert "would not match" in told(published("triggers", "test", "flow.py", "--event", "1"))
    assert "no trigger 'nothing'" in told(published("triggers", "test", "nothing", "--event", "1"), 2)


def test_triggers_are_declared_in_yaml_listed_shown_paused_and_ended(published: Penstock, tmp_path: Path) -> None:
    (tmp_path / "triggers.yaml").write_text(textwrap.dedent(TRIGGERS))
    assert "joined: version 1, on; a and b -> flow" in told(published("triggers", "apply", "triggers.yaml"))
    assert "burst: version 1" in told(published("triggers", "apply", "triggers.yaml"))

    joined = decoded(published("triggers", "show", "joined", "--json"))
    assert (joined["spec"]["on"]["within_seconds"], joined["decisions"], joined["holds"]) == (21600.0, [], [])
    assert decoded(published("triggers", "show", "burst", "--json"))["spec"]["debounce"]["seconds"] == 300.0
    names = [line.split()[0] for line in told(published("triggers", "ls")).splitlines()[1:]]
    assert names == ["burst", "closed", "joined"]

    assert "is paused" in told(published("triggers", "pause", "burst"))
    assert "paused" in told(published("triggers", "ls"))
    assert "is on" in told(published("triggers", "resume", "burst"))
    assert "is gone" in told(published("triggers", "rm", "burst"))
    assert "no trigger 'burst' (there is closed, joined)" in told(published("triggers", "show", "burst"), 2)
    assert "did you mean 'joined'?" in told(published("triggers", "pause", "joind"), 2)
    assert "publish without it" in told(published("triggers", "rm", "closed"), 2)


def test_triggers_of_a_file_are_tried_against_published_pipelines(published: Penstock, tmp_path: Path) -> None:
    (tmp_path / "triggers.yaml").write_text(textwrap.dedent(TRIGGERS))
    (tmp_path / "event.json").write_text(json.dumps({**EVENT, "type": "a", "data": {"day": "monday"}}))

    text = told(published("triggers", "test", "triggers.yaml", "--event", "event.json", "--trigger", "joined"))

    assert "joined: would wait" in text


def test_half_joined_events_are_shown_with_what_is_missing(published: Penstock, tmp_path: Path) -> None:
    (tmp_path / "triggers.yaml").write_text(textwrap.dedent(TRIGGERS))
    told(published("triggers", "apply", "triggers.yaml"))
    told(published("emit", "a", "day=monday"))
    decide(tmp_path)

    held = told(published("events", "held"))
    assert "monday" in held
    assert "b" in held.splitlines()[1].split()
    assert told(published("events", "held", "--trigger", "closed")).strip() == "nothing is held"
    assert "held for" in told(published("triggers", "show", "joined"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "declares nothing"),
        ("[1]", "must be a mapping"),
        ("name: x", "pipeline"),
        ("{name: x, pipeline: flow, on: {kind: event, type: a}, debounce: {seconds: 5 weeks}}", "weeks"),
        ("{name: x, pipeline: flow, on: {kind: evnt, type: a}}", "kind"),
        ("a: [", "can't be read"),
    ],
)
def test_a_file_with_triggers_that_can_not_be_is_refused_with_the_place(penstock: Penstock, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "triggers.yaml").write_text(text)

    refused = told(penstock("triggers", "apply", "triggers.yaml"), 2)

    assert "triggers.yaml" in refused
    assert why in refused


def test_a_message_that_nobody_could_read_is_read_once_its_mapping_is_declared(published: Penstock, tmp_path: Path) -> None:
    assert "everything could be read" in told(published("events", "refused"))
    message = Delivered(b'{"number": 5, "rows": 9}', "application/json", key="default.orders")
    in_rows(tmp_path / "home", lambda connection: keep_refused(connection, [(message, "no mapping")], 1, "default"))
    assert "no mapping" in told(published("events", "refused"))
    (tmp_path / "mappings.yaml").write_text(
        "mappings:\n- {name: orders, source: '\"/shop\"', type: '\"day.closed\"', id: message.number, routing_key: default.orders}\n"
    )

    assert "orders: declared" in told(published("events", "mappings", "apply", "mappings.yaml"))
    assert "default.orders" in told(published("events", "mappings", "ls"))
    assert "it is event 1" in told(published("events", "refused", "--retry", "1"))
    decide(tmp_path)

    assert "closed: flow-1" in told(published("events", "ls"))
    assert "everything could be read" in told(published("events", "refused"))
    told(published("events", "mappings", "rm", "orders"))
    assert "no mapping is declared" in told(published("events", "mappings", "ls"))
