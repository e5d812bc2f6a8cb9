"""Triggers over HTTP: declared, tried, paused, and every decision with its reason; events looked at, replayed and tried again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from penstock.contracts.spec import ParameterSpec
from penstock.engine.api.services import now
from penstock.engine.events.deciding import decide_new
from penstock.engine.events.records import TRIES, note_failure
from tests.engine.api.serving import Api, api
from tests.engine.api.test_pipelines import plain
from tests.engine.cluster import pipeline, step

FLOW = pipeline(step("first"), name="small", parameters=(ParameterSpec(name="rows", type="int", read="json", schema={"type": "integer"}),))
ON = {"kind": "event", "type": "data.ready", "where": "event.data.rows > 5"}
TRIGGER = {"name": "nightly", "pipeline": "small", "on": ON, "parameters": {"rows": "event.data.rows"}}
READY = {"specversion": "1.0", "id": "a", "source": "/lake", "type": "data.ready", "data": {"rows": 7}}


@pytest.fixture
async def served(each_store: None) -> AsyncIterator[Api]:
    async with api() as served:
        answer = await served.http.post("/v1/pipelines/small/versions", json={"spec": plain(FLOW)})
        assert answer.status_code == 201, answer.text
        yield served


async def declared(served: Api, **fields: Any) -> httpx.Response:
    spec = {**TRIGGER, **fields}
    return await served.http.put(f"/v1/triggers/{spec['name']}", json=spec)


async def emitted(served: Api, **fields: Any) -> int:
    """An event that is kept and decided; its number."""
    answer = await served.http.post("/v1/events", json={**READY, **fields})
    await decided(served)
    return int(answer.json()["events"][0]["event_no"])


async def decided(served: Api) -> None:
    await served.store.transaction(lambda connection: decide_new(connection, now()))


async def got(served: Api, path: str, **parameters: Any) -> Any:
    answer = await served.http.get(f"/v1{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def reason(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


async def test_a_declared_trigger_starts_runs_and_tells_why(served: Api) -> None:
    view = (await declared(served)).json()
    assert (view["state"], view["version"], view["updated_by"]) == ("on", 1, "bootstrap")

    started, left = await emitted(served), await emitted(served, id="b", data={"rows": 1})

    event = await got(served, f"/events/{started}")
    (decision,) = event["decisions"]
    assert (event["state"], event["event"]["data"], decision["outcome"], decision["trigger"]) == ("done", {"rows": 7}, "started", "nightly")
    assert decision["run_id"]
    (decision,) = (await got(served, f"/events/{left}"))["decisions"]
    assert decision["outcome"] == "not_matched"
    assert [one["event_no"] for one in (await got(served, "/triggers/nightly/decisions"))["decisions"]] == [left, started]
    (only,) = (await got(served, "/triggers/nightly/decisions", outcome="started"))["decisions"]
    assert only["event_no"] == started
    page = await got(served, "/triggers/nightly/decisions", limit=1)
    (rest,) = (await got(served, "/triggers/nightly/decisions", limit=1, cursor=page["next"]))["decisions"]
    assert rest["event_no"] == started
    assert (await got(served, "/triggers/nightly"))["counts"] == {"started": 1, "not_matched": 1}


async def test_a_changed_trigger_is_a_new_version_and_the_same_again_is_not(served: Api) -> None:
    versions = [(await declared(served, **fields)).json()["version"] for fields in ({}, {}, {"tags": {"why": "test"}})]

    assert versions == [1, 1, 2]
    assert [one["spec"]["name"] for one in (await got(served, "/triggers"))["triggers"]] == ["nightly"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"pipeline": "nothing"}, "nothing"),
        ({"parameters": {"depth": "1"}}, "depth"),
        ({"parameters": {}}, "rows"),
        ({"on": {**ON, "where": "event.data.rows >"}}, "where"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_trigger_that_could_never_work_is_refused(served: Api, fields: dict[str, Any], why: str) -> None:
    assert why in reason(await declared(served, **fields))


async def test_the_address_and_the_trigger_have_one_name(served: Api) -> None:
    assert "the address says" in reason(await served.http.put("/v1/triggers/other", json=TRIGGER))


async def test_a_paused_trigger_decides_so_and_goes_on_when_it_is_resumed(served: Api) -> None:
    await declared(served)
    assert (await served.http.post("/v1/triggers/nightly/pause")).json()["state"] == "paused"
    (decision,) = (await got(served, f"/events/{await emitted(served)}"))["decisions"]
    assert decision["outcome"] == "paused"

    assert (await served.http.post("/v1/triggers/nightly/resume")).json()["state"] == "on"
    (decision,) = (await got(served, f"/events/{await emitted(served, id='b')}"))["decisions"]
    assert decision["outcome"] == "started"


async def test_a_trigger_that_is_gone_is_gone_and_its_decisions_stay(served: Api) -> None:
    await declared(served)
    event_no = await emitted(served)

    assert (await served.http.delete("/v1/triggers/nightly")).status_code == 204

    assert (await got(served, f"/events/{event_no}"))["decisions"][0]["outcome"] == "started"
    for method, path in (("GET", ""), ("GET", "/held"), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")):
        assert "no trigger 'nightly'" in reason(await served.http.request(method, f"/v1/triggers/nightly{path}"), 404)


async def test_a_trigger_is_tried_without_keeping_anything(served: Api) -> None:
    await declared(served)
    event_no = await emitted(served)

    async def tried(**body: Any) -> Any:
        answer = await served.http.post("/v1/triggers/nightly/test", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    fits = await tried(event={**READY, "id": "new"})
    assert (fits["outcome"], fits["parameters"]) == ("started", {"rows": 7})
    assert (await tried(event_no=event_no))["outcome"] == "started"
    assert (await tried(event={**READY, "type": "other"}))["outcome"] == "not_matched"
    assert (await tried(event={**READY, "data": {"rows": "many"}}))["outcome"] in ("not_matched", "refused")
    assert (await tried(event=READY, spec={**TRIGGER, "name": "undeclared", "on": {"kind": "event", "type": "x"}}))[
        "outcome"
    ] == "not_matched"
    assert len((await got(served, "/events"))["events"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({}, 422, "say which event"),
        ({"event": {}, "event_no": 1}, 422, "say which event"),
        ({"event": {"id": 1}}, 404, "no trigger"),
        ({"event": {"id": 1}, "spec": TRIGGER}, 422, "specversion"),
        ({"event_no": 9, "spec": TRIGGER}, 422, "no event 9"),
        ({"event": READY, "spec": {**TRIGGER, "parameters": {}}}, 422, "rows"),
    ],
)
async def test_what_can_not_be_tried_is_refused(served: Api, body: dict[str, Any], status: int, why: str) -> None:
    assert why in reason(await served.http.post("/v1/triggers/nightly/test", json=body), status)


async def test_a_replayed_event_is_decided_once_more(served: Api) -> None:
    await declared(served)
    event_no = await emitted(served)

    answer = await served.http.post(f"/v1/events/{event_no}/replay")
    assert (answer.status_code, answer.json()["state"]) == (202, "new")
    assert "being decided" in reason(await served.http.post(f"/v1/events/{event_no}/replay"))
    await decided(served)

    decisions = (await got(served, f"/events/{event_no}"))["decisions"]
    assert [(one["replay"], one["outcome"]) for one in decisions] == [(0, "started"), (1, "started")]
    assert len({one["run_id"] for one in decisions}) == 2


async def test_an_event_that_could_not_be_decided_is_tried_again(served: Api) -> None:
    answer = await served.http.post("/v1/events", json=READY)
    event_no = answer.json()["events"][0]["event_no"]
    for _ in range(TRIES):
        await served.store.transaction(lambda connection: note_failure(connection, event_no, "it broke"))
    (dead,) = (await got(served, "/events", state="dead"))["events"]
    assert dead["error"] == "it broke"

    assert (await served.http.post(f"/v1/events/{event_no}/retry")).json()["state"] == "new"
    await decided(served)

    assert (await got(served, f"/events/{event_no}"))["state"] == "done"
    assert "has failed" in reason(await served.http.post(f"/v1/events/{event_no}/retry"))


async def test_events_are_listed_page_by_page_and_by_what_they_are(served: Api) -> None:
    numbers = [await emitted(served, id=str(number), type=f"data.{'even' if number % 2 == 0 else 'odd'}") for number in range(5)]

    first = await got(served, "/events", limit=3)
    rest = await got(served, "/events", limit=3, cursor=first["next"])

    assert [one["event_no"] for one in (*first["events"], *rest["events"])] == numbers[::-1]
    assert rest["next"] is None
    assert len((await got(served, "/events", type="data.odd"))["events"]) == 2
    assert len((await got(served, "/events", type="data.*"))["events"]) == 5
    assert (await got(served, "/events", source="/other"))["events"] == []
    assert (await got(served, "/events", since=now() + 10**9))["events"] == []


async def test_half_joined_events_show_what_is_missing(served: Api) -> None:
    both = {"kind": "all", "of": [{"kind": "event", "type": "a"}, {"kind": "event", "type": "b"}], "key": "event.data.day"}
    await declared(served, on=both, parameters={"rows": "1"})

    event_no = await emitted(served, type="a", data={"day": "monday"})

    (held,) = (await got(served, "/events/held"))["held"]
    assert (held["why"], held["event_nos"], held["key"]) == ("join", [event_no], "monday")
    assert "b" in held["missing"][0]
    assert (await got(served, "/triggers/nightly/held"))["held"] == [held]


async def test_what_is_not_there_is_not_found(served: Api) -> None:
    for method, path in (("GET", ""), ("POST", "/replay"), ("POST", "/retry")):
        assert "no trigger" in reason(await served.http.get("/v1/triggers/nothing/decisions"), 404)
        assert "no event 77" in reason(await served.http.request(method, f"/v1/events/77{path}"), 404)


async def test_a_trigger_on_data_is_told_of_what_is_there(served: Api) -> None:
    await declared(served)
    assert "looks at no data" in reason(await served.http.post("/v1/triggers/nightly/existing"))
    assert (await served.http.post("/v1/triggers/other/existing")).status_code == 404

    on = {"kind": "data", "uri": "s3://lake/*.csv", "per": "object"}
    answer = await declared(served, name="by-data", on=on, parameters={"rows": "event.data.size"})
    assert answer.status_code == 200, answer.text
    assert (await served.http.post("/v1/triggers/by-data/existing")).status_code == 200
