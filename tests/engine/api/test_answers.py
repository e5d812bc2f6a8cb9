"""What the API answers: runs that are durable when it says so, followers, logs stored and live, artifacts, demand."""

import asyncio
import json
from math import isnan
from typing import Any

import pytest
from sqlalchemy import Connection

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import canonical, digest_bytes
from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import CancelRun, FollowLogs, Heartbeat, LogChunk, Message, Metric, Progress, SubmitRun, decode, encode
from penstock.contracts.spec import encode_spec
from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import RunView, StepRunView
from penstock.engine import tables
from penstock.engine.api.live_logs import KEPT_BYTES, Tail
from penstock.engine.api.services import answer_all
from penstock.engine.statement import Statement
from penstock.transport.bus import INBOX, Envelope, Exchange
from tests.engine.api.serving import FLOW, Api, api
from tests.engine.cluster import Cluster
from tests.engine.cluster import cluster as cluster_at_work

_insert_step = Statement.insert(tables.step_run)
_insert_attempt = Statement.insert(tables.attempt)
_ended = Statement("UPDATE attempt SET ended_at = 9, log = :log, state = 'succeeded' WHERE run_no = 1")
_cancelled_at = Statement("SELECT fire_at FROM timer WHERE kind = 'cancel'")
_cancel_timers = Statement("SELECT count(*) FROM timer WHERE kind = 'cancel'")
_progressed = Statement("UPDATE run SET state = 'running', started_at = 7 WHERE run_no = 1")


def make_step_run(connection: Connection) -> None:
    """The only step of run 1, as its first attempt is being executed."""
    place: dict[str, Any] = {"run_no": 1, "node": 0, "item": 0}
    step: dict[str, Any] = {column.name: None if column.nullable else 0 for column in tables.step_run.columns}
    _insert_step(connection, **{**step, **place, "state": "running", "attempts": 1})
    attempt: dict[str, Any] = {column.name: None if column.nullable else 0 for column in tables.attempt.columns}
    _insert_attempt(
        connection,
        **{
            **attempt,
            **place,
            "number": 1,
            "state": "running",
            "workspace": "default",
            "pool": "cpu",
            "incarnation": "",
            "runner": "r",
            "started_at": 5,
        },
    )


async def next_in_inbox(served: Api) -> Message:
    async with served.bus.consume(INBOX, prefetch=1) as deliveries:
        async for delivery in deliveries:
            await delivery.acknowledge()
            return decode(delivery.body)
    raise AssertionError


class BrokenBus:
    """A bus that is away."""

    async def publish(self, envelope: Envelope) -> None:
        raise BusUnavailable("it is away")


def lose_bus(served: Api) -> None:
    object.__setattr__(served.app.state.services, "bus", BrokenBus())


@pytest.mark.usefixtures("each_store")
async def test_a_run_is_durable_with_its_name_when_the_answer_comes_and_the_bell_is_small() -> None:
    async with api() as served:
        answer = await served.submit(
            "run1", parameters={"x": {"uri": "data:application/json;base64,Mg==", "digest": digest_bytes(b"2"), "size": 1}}
        )
        again = await served.submit("run1")

        view = RunView.model_validate_json(answer.content)
        assert (answer.status_code, again.status_code) == (201, 200)
        assert (view.name, view.state, view.spec_digest) == ("flow-1", RunState.QUEUED, digest_bytes(encode_spec(FLOW)))
        assert RunView.model_validate_json(again.content).parameters == view.parameters
        assert [run["name"] for run in (await served.http.get("/v1/runs")).json()["runs"]] == ["flow-1"]
        assert (await served.http.get("/v1/runs/flow-1/spec")).content == encode_spec(FLOW)
        assert await next_in_inbox(served) == SubmitRun(run_id="run1", spec=b"")


async def test_a_run_is_accepted_while_the_bus_is_away() -> None:
    async with api() as served:
        lose_bus(served)

        assert (await served.submit()).status_code == 201
        assert (await served.http.get("/v1/runs/last")).json()["state"] == "queued"


async def test_a_coordinator_begins_what_the_api_accepted() -> None:
    async with api() as served, cluster_at_work(lambda _: 42) as cluster:
        await joined(served, cluster)
        await served.submit()

        version = None
        async with asyncio.timeout(20):
            while True:
                answer = await served.http.get("/v1/runs/run1", params={"after": version or "", "wait": 5})
                version = answer.headers["Penstock-Run-Version"]
                if answer.status_code == 200 and (view := RunView.model_validate_json(answer.content)).state.is_terminal:
                    break
        assert view.state is RunState.SUCCEEDED
        step_runs = (await served.http.get("/v1/runs/run1/steps", params={"step": "first"})).json()["step_runs"]
        assert [(step_run["state"], len(step_run["attempts"])) for step_run in step_runs] == [("succeeded", 1)]
        why = (await served.http.get("/v1/runs/flow-1/why", params={"step": "first"})).json()
        assert why["verdict"].startswith("executed")


async def joined(served: Api, cluster: Cluster) -> None:
    """Has the API work on a cluster's store and bus."""
    object.__setattr__(served.app.state.services, "store", cluster.store)
    object.__setattr__(served.app.state.services, "bus", cluster.bus)


@pytest.mark.usefixtures("each_store")
async def test_a_follower_waits_for_a_change_and_no_longer() -> None:
    async with api() as served:
        version = (await served.submit()).headers.get("Penstock-Run-Version")
        first = await served.http.get("/v1/runs/run1")
        version = first.headers["Penstock-Run-Version"]

        assert (await served.http.get("/v1/runs/run1", params={"after": version, "wait": 0.1})).status_code == 304
        waiting = asyncio.create_task(served.http.get("/v1/runs/run1", params={"after": version, "wait": 20}))
        await served.store.transaction(_progressed)
        changed = await asyncio.wait_for(waiting, 10)
        assert (changed.status_code, changed.json()["state"]) == (200, "running")
        assert changed.headers["Penstock-Run-Version"] != version


@pytest.mark.usefixtures("each_store")
async def test_cancelling_is_asked_of_coordinators_and_left_in_the_rows_in_case_nobody_hears() -> None:
    async with api() as served:
        await served.submit()
        await next_in_inbox(served)

        assert (await served.http.post("/v1/runs/flow-1/cancel", json={"reason": "enough"})).status_code == 202
        assert await next_in_inbox(served) == CancelRun(run_id="run1", reason="enough")
        assert await served.store.read(_cancel_timers.number) == 1
        later = await served.store.read(_cancelled_at.number)
        lose_bus(served)
        assert (await served.http.post("/v1/runs/flow-1/cancel", json={})).status_code == 202
        assert await served.store.read(_cancel_timers.number) == 1
        assert await served.store.read(_cancelled_at.number) < later


@pytest.mark.usefixtures("each_store")
async def test_resume_is_nothing_to_do_and_only_ended_runs_are_forgotten() -> None:
    async with api() as served:
        await served.submit()

        assert (await served.http.post("/v1/runs/flow-1/resume")).json()["name"] == "flow-1"
        refused = await served.http.delete("/v1/runs/flow-1")
        assert (refused.status_code, "cancel it first" in refused.json()["detail"]) == (422, True)


@pytest.mark.usefixtures("each_store")
async def test_a_stored_log_is_read_in_pieces_that_cut_no_character() -> None:
    async with api() as served:
        await served.submit()
        text = "ä" * 200_000
        digest = await served.artifacts.write(text.encode())
        log = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(text) * 2).model_dump_json().encode()
        await served.store.transaction(make_step_run)
        await served.store.transaction(lambda connection: _ended(connection, log=log))

        read, place, is_complete = "", 0, False
        while not is_complete:
            piece = (await served.http.get("/v1/runs/run1/logs", params={"step": "first", "after": place})).json()
            read, place, is_complete = read + piece["text"], piece["next"], piece["is_complete"]

        assert read == text
        beyond = (await served.http.get("/v1/runs/run1/logs", params={"step": "first", "after": 10**9})).json()
        assert (beyond["text"], beyond["is_complete"]) == ("", True)


async def test_a_live_log_comes_from_whoever_executes_the_attempt() -> None:
    async with api() as served, served.bus.listen(Exchange.CONTROL) as asked:
        await served.submit()
        await served.store.transaction(make_step_run)

        waiting = asyncio.create_task(served.http.get("/v1/runs/run1/logs", params={"step": "first", "wait": 20}))
        async with asyncio.timeout(10):
            assert decode(await anext(asked.__aiter__())) == FollowLogs(run_id="run1", seconds=30.0, is_new=True)
        chunk = LogChunk(run_id="run1", step="first", attempt=1, offset=0, text="hello\n")
        for message in (chunk, chunk.model_copy(update={"offset": 3, "text": "lo\nthere"})):
            await served.bus.publish(Envelope(exchange=Exchange.LOGS, key="run1", body=encode(message)))
        first = (await asyncio.wait_for(waiting, 10)).json()
        assert first["text"] in ("hello\n", "hello\nthere")
        rest = (await served.http.get("/v1/runs/run1/logs", params={"step": "first", "after": first["next"], "wait": 1})).json()
        assert first["text"] + rest["text"] == "hello\nthere"
        assert not rest["is_complete"]


async def test_without_live_pieces_there_is_no_text_yet() -> None:
    async with api() as served:
        await served.submit()
        await served.store.transaction(make_step_run)

        piece = (await served.http.get("/v1/runs/run1/logs", params={"step": "first"})).json()

        assert (piece["text"], piece["next"], piece["is_complete"]) == ("", 0, False)
        missing = await served.http.get("/v1/runs/run1/logs", params={"step": "first", "attempt": 2})
        assert (missing.status_code, missing.json()["detail"]) == (404, "first has no attempt 2 (there are: 1)")


def test_a_tail_keeps_the_newest_and_leaves_out_what_it_knows() -> None:
    tail = Tail()
    tail.add(0, b"abc")
    tail.add(2, b"cd")
    tail.add(0, b"a")
    assert tail.after(0) == (0, b"abcd")
    assert tail.after(3) == (3, b"d")
    tail.add(10, b"xyz")
    assert tail.after(0) == (10, b"xyz")
    tail.add(13, b"-" * KEPT_BYTES)
    assert tail.after(0) == (13, b"-" * KEPT_BYTES)
    assert tail.after(10**9) == (13 + KEPT_BYTES, b"")


async def test_artifacts_go_up_and_come_down_and_what_is_missing_is_known() -> None:
    data = b"0123456789" * 300_000
    digest, other = digest_bytes(data), digest_bytes(b"other")
    async with api() as served:
        assert (await served.http.put(f"/v1/artifacts/{digest}", content=data)).status_code == 204
        assert (await served.http.put(f"/v1/artifacts/{digest}", content=data)).status_code == 204
        missing = (await served.http.post("/v1/missing-artifacts", json={"digests": [digest, other]})).json()
        whole = await served.http.get(f"/v1/artifacts/{digest}")
        part = await served.http.get(f"/v1/artifacts/{digest}", headers={"Range": "bytes=10-14"})
        served.artifacts.blobs[digest] = b"spoiled"
        lost = await served.http.get(f"/v1/artifacts/{digest}")

        assert missing == {"missing": [other]}
        assert whole.content == data
        assert whole.headers["content-disposition"] == "attachment"
        assert (part.status_code, part.content) == (206, b"01234")
        assert (lost.status_code, lost.json()["code"], lost.json()["digest"]) == (404, "ArtifactLost", digest)


@pytest.mark.usefixtures("each_store")
async def test_pools_runners_and_progress_are_those_that_were_heard() -> None:
    async with api() as served:
        await served.submit()
        await served.store.transaction(make_step_run)
        key = {"run_no": 1, "step_no": 0, "item_no": 0, "attempt_no": 1}
        told = Progress.model_validate({"attempt": key, "done": 3, "total": 4, "text": "epoch"})
        beat = Heartbeat(
            runner="r", incarnation="1", pools={"cpu": 2, "flow/first": 1}, attempts=(told.attempt,), progress=(told,), host="h"
        )
        gone = Heartbeat(runner="s", incarnation="1", pools={"cpu": 7}, is_draining=True)
        async with asyncio.timeout(10):
            while len((await served.http.get("/v1/runners")).json()["runners"]) < 2:  # until it listens
                for message in (beat, gone):
                    await served.bus.publish(Envelope(exchange=Exchange.VITALS, body=encode(message)))
                await asyncio.sleep(0.01)

        runners = (await served.http.get("/v1/runners")).json()["runners"]
        assert [(one["name"], one["attempts"], one["is_draining"]) for one in runners] == [("r", 1, False), ("s", 0, True)]
        pools = (await served.http.get("/v1/pools")).json()["pools"]
        assert [(one["name"], one["slots"], one["runners"], one["executing"], one["waiting"]) for one in pools] == [
            ("cpu", 2, 1, 1, 0),
            ("flow/first", 1, 1, 0, 0),
        ]
        assert (await served.http.get("/v1/status")).json()["runs"] == {"queued": 1}
        steps = (await served.http.get("/v1/runs/run1")).json()["steps"]
        assert [step["progress"] for step in steps if step["name"] == "first"] == [[3.0, 4.0, "epoch"]]


@pytest.mark.usefixtures("each_store")
async def test_the_cache_is_counted_and_forgotten() -> None:
    async with api() as served:
        assert (await served.http.get("/v1/cache")).json()["entries"] == 0
        assert (await served.http.delete("/v1/cache", params={"pipeline": "flow"})).json() == {"entries": 0}
        health = (await served.http.get("/v1/health")).json()
        assert health["schema_found"] == health["schema_expected"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_no_number_is_still_json_and_comes_back(value: float) -> None:
    view = StepRunView(step="a", state=StepState.SUCCEEDED, metrics=(Metric(name="loss", value=value),))

    body = bytes(answer_all("step_runs", [view]).body)

    assert b"NaN," not in body
    back = StepRunView.model_validate_json(canonical_part(body)).metrics[0].value
    assert isnan(back) if isnan(value) else back == value


def canonical_part(body: bytes) -> bytes:
    """The only view in an answer."""
    return body[len(b'{"step_runs":[') : -len(b"]}")]


def test_a_spec_keeps_its_digest_through_json() -> None:
    data = encode_spec(FLOW)

    assert canonical(json.loads(data)) == data
