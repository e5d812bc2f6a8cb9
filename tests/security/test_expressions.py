"""Expressions, schedules, zones and schemas that want to hang, crash or look around: refused, or done within moments."""

import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.triggers import CronSource
from penstock.engine.events.plain_messages import matches_key
from penstock.engine.triggers.expressions import compiled
from penstock.engine.triggers.schedules import check_schedule, due, next_after
from penstock.engine.triggers.scope import Scope
from penstock.engine.value_schemas import UnusableSchema, first_problem
from penstock.transport.data_addresses import fits
from tests.engine.api.serving import Api, api, plain
from tests.engine.events.bench import SECOND

MOMENT = 5.0
"""What hangs would take minutes; two cores that others use too take their time."""


@contextmanager
def within_a_moment() -> Generator[None]:
    """Fails what would not end, too."""

    def over(_signal: int, _frame: object) -> None:
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, MOMENT * 4)
    began = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - began < MOMENT


LARGE = CloudEvent(
    id="a" * 255,
    source="/evil",
    type="evil",
    data={"s": "x" * 120_000, "l": list(range(9_000)), "t": "ab," * 20_000, "p": "(x+x+)+y", "none": None, "deep": [[[[[[1]]]]]]},
)
EXPRESSIONS = {
    "parentheses": "(" * 2000 + "1" + ")" * 2000,
    "open": "(" * 4000,
    "lists": "[" * 2000 + "1" + "]" * 2000,
    "maps": "{1:" * 1000 + "1" + "}" * 1000,
    "nots": "!" * 4000 + "true",
    "minuses": "-" * 4000 + "1",
    "choices": "true?1:" * 580 + "1",
    "fields": "event" + ".a" * 2000,
    "indices": "event" + "[0]" * 1300,
    "calls": "size(" * 680 + "1" + ")" * 680,
    "has": "has(" * 800 + "event.a" + ")" * 800,
    "quotes": '"' * 4001,
    "comments": "//" * 2000,
    "too long": "1+" * 3000 + "1",
    "huge number": "9" * 4000,
    "huge float": "1e" + "9" * 400,
    "least by -1": "-9223372036854775808 / -1",
    "least modulo -1": "-9223372036854775808 % -1",
    "zero": "1 / 0",
    "infinite": "1.0 / 0.0",
    "duration": 'duration("99999999999999999999h") + duration("99999999999h")',
    "time": 'timestamp("9999-12-31T23:59:59Z") + duration("999999h")',
    "no time": 'timestamp("0000-00-00T00:00:00Z")',
    "surrogate": 'event.id == "\ud800"',
    "escape": 'event.id == "\\ud800"',
    "bytes": 'string(b"\\xff\\xfe")',
    "control": "event\x00.id",
    "right to left": "event\N{RIGHT-TO-LEFT OVERRIDE}.id",
    "sums of texts": "+".join(["event.data.s"] * 315),
    "sums of items": "event.data.l.map(x, " + "+".join(["event.data.s"] * 250) + ")",
    "sums of one": "[event.data.s].map(x, " + "+".join(["x"] * 1500) + ")",
    "nested loops": "[1].map(x, [1].map(y, [1].map(z, 1)))",
    "hidden loop": "event.data.l.all(x, size(event.data.l.filter(y, y == x)) > 0)",
    "many loops": "event.data.l" + ".map(x, [x, x])" * 5,
    "growing loops": "event.data.l" + ".map(x, [x, x, x, x])" * 4,
    "exponential pattern": "event.data.s.matches('(x+x+)+y') ? 1 : 1 / 0",
    "repeated pattern": "event.data.s.matches('((((a{1000}){1000}){1000}){1000})')",
    "large pattern": "event.data.s.matches('" + "(x|y){500}" * 100 + "')",
    "hidden pattern": "event.data.s.matches('\\x28x|y\\x29\\x7b5000\\x7d')",
    "chosen pattern": "event.data.s.matches(event.data.p)",
    "made pattern": "event.data.s.matches('(x|y){50' + '00}')",
    "broken pattern": "event.data.s.matches('(')",
    "growing text": "event.data.s" + '.replace("x", "xxxxxxxx")' * 100 + " == 'x'",
    "joined text": "event.data.l.map(x, 'a').join(event.data.s)",
    "split": "size(event.data.t.split(',')) > 5000 ? 1 : 1 / 0",
    "substring": "event.data.s.substring(-1, 9223372036854775807) + 'x'",
    "python": "__import__('os').system('id')",
    "class": "event.__class__.__mro__[1].__subclasses__()",
    "function": "event.data.s.format(event)",
    "environment": "env.HOME + secrets.token + penstock",
    "assignment": "event.id = 'x'",
    "statement": "1; 2",
    "copies": "[" + ",".join(["event.data.s"] * 300) + "] == 1 ? 1 : 1 / 0",
    "key of a number": "{1: 2}",
    "empty": " ",
}
"""None comes to a value but for these, which come to nothing of note."""
HARMLESS = {"nots", "minuses", "duration", "bytes", "growing text"}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_that_asks_for_too_much_is_refused(name: str) -> None:
    with within_a_moment():
        try:
            value = compiled(EXPRESSIONS[name], "where").value(Scope([LARGE]))
        except ContractError:
            return
    assert name in HARMLESS, str(value)[:200]


SCHEDULES = [
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* * 31 2 *",
    "0 0 30 2 *",
    "@reboot",
    "a b c d e",
    "-1 * * * *",
    "*/0 * * * *",
    "1-0 * * * *",
    "99999999999999999999 * * * *",
    "* * * * 8",
    "1,2,3,,4 * * * *",
    "*\n* * * *\n0 0 1 1 1",
    "\x00 * * * *",
    "0 0 L-40 * *",
    "0 0 * * 1#9",
    "$(id) * * * *",
    "\N{FULLWIDTH DIGIT ONE} * * * *",
    "0/0/0 * * * *",
    "1-2-3 * * * *",
    " ",
]
ZONES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "Europe",
    "Europe/../Europe/../../../../etc/passwd",
    "Europe/Paris\x00",
    "/usr/share/zoneinfo/UTC",
    "\\\\evil\\share",
    "file:///etc/localtime",
    "posixrules/x",
    "zone.tab",
    "tzdata.zi",
    "leapseconds",
    "x" * 64,
    "UTC\n",
    "Europe//Paris",
    "C:\\Windows",
    "~/.profile",
    "europe/paris/..",
    "%2e%2e/etc",
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_that_is_none_is_refused(schedule: str) -> None:
    with within_a_moment(), pytest.raises(InvalidInput):
        check_schedule(CronSource(schedule=schedule))


@pytest.mark.parametrize("zone", ZONES)
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with within_a_moment(), pytest.raises(InvalidInput, match="time zone"):
        check_schedule(CronSource(schedule="0 3 * * *", tz=zone))


@pytest.mark.parametrize("schedule", ["* * * * *", "0 0 29 2 *", "0 0 29 2 1"])
def test_what_was_missed_in_a_thousand_years_is_reckoned_at_once(schedule: str) -> None:
    source = CronSource(schedule=schedule, catch_up="all")
    now = 33_000_000_000 * SECOND
    with within_a_moment():
        assert len(due(source, 0, now).fire) <= 1001
        next_after(source, now)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [("#." * 127 + "x", "a." * 126 + "b"), ("#.*." * 60 + "x", "a." * 126 + "b"), (".".join("#" * 128), "." * 254), ("*" * 255, "a.b")],
)
def test_no_pattern_of_routing_keys_takes_long(pattern: str, key: str) -> None:
    with within_a_moment():
        matches_key(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("s3://lake/" + "*a" * 500 + "b", "s3://lake/" + "a" * 1000),
        ("s3://lake/" + "**/" * 300 + "b", "s3://lake/" + "a/" * 500 + "c"),
        ("s3://lake/" + "**a" * 300 + "b", "s3://lake/" + "a" * 1000),
        ("s3://lake/" + "?*" * 400 + "b", "s3://lake/" + "a" * 1000),
        ("s3://lake/" + "*" * 1000 + "b", "s3://lake/" + "a" * 1000),
    ],
)
def test_no_pattern_of_data_takes_long(pattern: str, uri: str) -> None:
    with within_a_moment():
        assert not fits(pattern, uri)


@pytest.fixture
def witness() -> Iterator[tuple[str, list[str]]]:
    """A server that writes down who comes."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"true")

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(5)


LAUGHS = {"$defs": {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)} | {"a60": False}, "$ref": "#/$defs/a0"}
SCHEMAS: dict[str, tuple[dict[str, Any], Any]] = {
    "elsewhere": ({"$ref": "WITNESS/schema.json"}, 1),
    "elsewhere by name": ({"$id": "WITNESS/a/", "$ref": "b.json"}, 1),
    "elsewhere by another way": ({"$dynamicRef": "WITNESS/schema.json"}, 1),
    "another language": ({"$schema": "WITNESS/dialect", "$ref": "WITNESS/x"}, 1),
    "a file": ({"$ref": "file:///etc/passwd"}, 1),
    "itself": ({"$ref": "#"}, 1),
    "each other": ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, 1),
    "a billion laughs": (LAUGHS, 1),
    "nothing": ({"$ref": "#/nowhere"}, 1),
    "no reference": ({"$ref": 5}, 1),
    "no type": ({"type": "nonsense"}, 1),
    "no pattern": ({"pattern": 5}, "x"),
    "a broken pattern": ({"pattern": "("}, "x"),
    "no properties": ({"properties": 5}, {"x": 1}),
    "no items": ({"prefixItems": 5}, [1]),
    "no numbers": ({"multipleOf": 0}, 1),
    "no bounds": ({"minimum": "x"}, 1),
}


@pytest.mark.parametrize("case", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_that_can_not_be_followed_is_refused_and_nothing_is_fetched(
    case: tuple[dict[str, Any], Any], witness: tuple[str, list[str]]
) -> None:
    address, asked = witness
    schema, value = case
    aimed = {key: part.replace("WITNESS", address) if isinstance(part, str) else part for key, part in schema.items()}

    with within_a_moment(), pytest.raises(UnusableSchema):
        first_problem(aimed, value)
    assert asked == []


SLOW: dict[str, tuple[dict[str, Any], Any, bool]] = {
    "exponential pattern": ({"pattern": "^(a+)+$"}, "a" * 50_000 + "!", False),
    "exponential names": ({"patternProperties": {"^(a|a)*$": {"type": "null"}}}, {"a" * 5000 + "!": 1}, True),
    "names that fit": ({"patternProperties": {"^(a|a)*$": {"type": "null"}}}, {"a" * 5000: 1}, False),
    "all different": ({"uniqueItems": True}, [{str(n): n} for n in range(20_000)], True),
    "two alike": ({"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], False),
    "much": ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "integer"}}}, list(range(15_000)), True),
    "a number of many digits": ({"multipleOf": 0.1}, 10**300, True),
}


@pytest.mark.parametrize("case", SLOW.values(), ids=SLOW)
def test_a_schema_judges_within_a_moment(case: tuple[dict[str, Any], Any, bool]) -> None:
    schema, value, is_fit = case
    with within_a_moment():
        assert (first_problem(schema, value) is None) is is_fit


async def with_trigger(served: Api, schema: dict[str, Any]) -> None:
    parameter = {"name": "x", "type": "Odd", "read": "json", "schema": schema}
    spec = {**plain(), "name": "odd", "parameters": [parameter]}
    assert (await served.http.post("/v1/pipelines/odd/versions", json={"spec": spec})).status_code == 201
    trigger = {"name": "odd", "pipeline": "odd", "on": {"kind": "event", "type": "odd"}, "parameters": {"x": "event.data"}}
    answer = await served.http.put("/v1/triggers/odd", json=trigger)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("case", SCHEMAS.values(), ids=SCHEMAS)
async def test_a_run_and_a_trigger_of_such_a_schema_are_refused(case: tuple[dict[str, Any], Any], witness: tuple[str, list[str]]) -> None:
    address, asked = witness
    schema, value = case
    aimed = {key: part.replace("WITNESS", address) if isinstance(part, str) else part for key, part in schema.items()}
    async with api() as served:
        await with_trigger(served, aimed)
        run = await served.http.post("/v1/pipelines/odd/runs", json={"parameters": {"x": value}})
        told = {"specversion": "1.0", "id": "1", "source": "/e", "type": "odd", "data": value}
        tried = await served.http.post("/v1/triggers/odd/test", json={"event": told})

        assert run.status_code == 422, run.text
        assert (tried.status_code, tried.json().get("outcome")) == (200, "refused"), tried.text
    assert asked == []
