"""From publishing to a webhook, with a step and a fetch that fail on the way: no secret that had a part in it is found anywhere after."""

import base64
import json
import secrets
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import s3fs  # type: ignore[import-untyped]  # it ships no types

from penstock.contracts.access import Role
from penstock.contracts.approvals import DecisionRequest
from penstock.contracts.states import RunState
from penstock.contracts.subscriptions import SubscriptionRequest
from penstock.deploy.areas.access import Access
from penstock.deploy.areas.approvals import Approvals
from penstock.deploy.areas.events import Events
from penstock.deploy.areas.subscriptions import Subscriptions
from penstock.deploy.remote.client import HttpClient
from tests.engine.webhook_receiver import WebhookReceiver, verified
from tests.servers.cluster import Cluster
from tests.servers.s3 import S3Bucket
from tests.services.test_secrets import overheard, places, spelled

FLOW = """
    from penstock.sdk import File, OnEvent, Secret, approval, current_run, pipeline, step, when

    @step(cache=False, env_vars={"GIVEN": Secret("given")})
    def read(raw: File, fails: bool) -> int:
        import os
        print("given", os.environ["GIVEN"], flush=True)
        current_run().emit("was.read", {"given": os.environ["GIVEN"]})
        if fails:
            raise ValueError(os.environ["GIVEN"])
        return len(raw.path.read_bytes())

    @step(cache=False)
    def keep(rows: int) -> int:
        return rows

    @pipeline(triggers=[OnEvent("lake.came", parameters={"raw": "event.data.uri", "fails": "event.data.fails"})])
    def canary(raw: File, fails: bool) -> int:
        rows = read(raw, fails)
        decision = approval("Keep it?", evidence=[rows])
        with when(decision.approved):
            kept = keep(rows)
        return rows
"""
PATIENCE_SECONDS = 60.0
Lake = tuple[S3Bucket, dict[str, str]]


def canary(what: str) -> str:
    return f"c4n-{what}-{secrets.token_hex(12)}"


@pytest.fixture
def lake(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A bucket with a file, which services know as a datastore; another one is declared with a secret that is wrong."""
    known = bucket.environment
    for name in known:
        monkeypatch.delenv(name)  # Services are to know it by its named secret only.
    where = {"endpoint_url": known["AWS_ENDPOINT_URL_S3"], "region": known["AWS_REGION"]}
    tables = {
        "lake": {"url": f"s3://{bucket.name}/in", "secret": "lake", **where},
        "closed": {"url": f"s3://{bucket.name}/closed", "secret": "closed", **where},
    }
    files: Any = s3fs.S3FileSystem(
        key=known["AWS_ACCESS_KEY_ID"], secret=known["AWS_SECRET_ACCESS_KEY"], endpoint_url=where["endpoint_url"]
    )
    files.pipe_file(f"{bucket.name}/in/a.csv", b"decoy,1\n")
    return (
        bucket,
        {
            "PENSTOCK_DATASTORES": json.dumps(tables),
            "PENSTOCK_SECRET_LAKE": f"{known['AWS_ACCESS_KEY_ID']}:{known['AWS_SECRET_ACCESS_KEY']}",
            "PENSTOCK_SECRET_CLOSED": f"stranger:{canary('closed')}",
            "PENSTOCK_SECRET_GIVEN": canary("given"),
            "PENSTOCK_WEBHOOK_ALLOW": "127.0.0.1",
            "PENSTOCK_API_TOKEN": canary("bootstrap"),
            "PENSTOCK_SIGNING_KEY": canary("signing") + "-" * 16,
        },
    )


def arrived(identity: str, uri: str, *, fails: bool = False) -> dict[str, Any]:
    return {"specversion": "1.0", "id": identity, "source": "/lake", "type": "lake.came", "data": {"uri": uri, "fails": fails}}


def made_up_logins() -> list[str]:
    """What somebody shows by mistake, or on purpose: a refresh token, a client's secret, a login that nobody signed."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, {"sub": canary("login")})
    ]
    return [canary("refresh"), canary("client"), ".".join([*parts, canary("signature")])]


def test_no_secret_of_the_way_from_an_event_to_a_webhook_is_found(lake: Lake, tmp_path: Path) -> None:
    bucket, settings = lake
    with (
        WebhookReceiver(statuses=[500]) as receiver,
        Cluster(tmp_path / "cluster", coordinators=1, runners=[{"cpu": 2}], has_api=True, settings=settings) as cluster,
        overheard(cluster.settings["PENSTOCK_BROKER_URL"]) as heard,
    ):
        assert isinstance(cluster.engine, HttpClient)
        connection = cluster.engine.connection
        token = Access(connection).create_token("upstream", Role.ADMIN).token
        shown = Subscriptions(connection).create(SubscriptionRequest(name="hook", kind="webhook", url=receiver.url())).secret
        told: list[str] = []

        def command(*arguments: str, expected: int = 0) -> None:
            told.append(cluster.command(*arguments, expected=expected, settings={"PENSTOCK_API_TOKEN": token}))

        (tmp_path / "flow.py").write_text(textwrap.dedent(FLOW))
        command("publish", str(tmp_path / "flow.py"), "--triggers", "on")
        logins = made_up_logins()
        for login in logins:
            refused = httpx.get(f"{cluster.settings['PENSTOCK_API_URL']}/v1/runs", headers={"Authorization": f"Bearer {login}"})
            assert refused.status_code == 401
            assert login not in refused.text

        sent = Events(connection)
        sent.emit(arrived("good", f"s3://{bucket.name}/in/a.csv"))
        sent.emit(arrived("failing", f"s3://{bucket.name}/in/a.csv", fails=True))
        sent.emit(arrived("missing", f"s3://{bucket.name}/in/none.csv"))
        sent.emit(arrived("closed", f"s3://{bucket.name}/closed/a.csv"))
        approvals = Approvals(connection)
        cluster.until(lambda: len(approvals.list()) == 1, "the run asks", PATIENCE_SECONDS)
        asked = approvals.list()[0]
        approvals.decide(asked, DecisionRequest(approved=True, comment="decoy-comment"))
        cluster.until(lambda: cluster.engine.run(asked.run_id).state is RunState.SUCCEEDED, "it ends", PATIENCE_SECONDS)
        receiver.wait(3, PATIENCE_SECONDS)
        log = cluster.services["coordinator-1"].log_text
        cluster.until(lambda: f"s3://{bucket.name}/closed/a.csv" in log(), "the closed datastore was asked", PATIENCE_SECONDS)
        assert shown is not None
        assert all(verified(shown, came.headers, came.body) for came in receiver.received)
        states = {one.id: one.decisions[0].outcome for one in sent.list(kind="lake.came") if one.decisions}
        for arguments in (
            ["events", "ls"],
            ["triggers", "ls"],
            ["tokens", "ls"],
            ["subscriptions", "ls"],
            ["runs", "ls"],
            ["pipelines", "ls"],
        ):
            command(*arguments)
        found = places(cluster, heard, [cluster.folder])
        found["receiver"] = b"\n".join(came.body for came in receiver.received)
        found["commands"] = "\n".join(told).encode()

    assert states == {"good": "started", "failing": "started", "missing": "failed", "closed": "waiting"}
    assert b"decoy-comment" in found["store"], "the search of the store would find nothing"
    assert b"lake.came" in found["commands"]
    assert b"given ***" in found["files"] + found["store"], "the step printed it"
    parts = [
        part
        for name, text in settings.items()
        if "SECRET" in name or name in ("PENSTOCK_API_TOKEN", "PENSTOCK_SIGNING_KEY")
        for part in text.split(":")
    ]
    hidden = [part for part in parts if part not in ("stranger", "penstock-tests")]
    passwords = [urlsplit(cluster.settings[f"PENSTOCK_{name}_URL"]).password for name in ("BROKER", "DATABASE")]
    hidden += [
        token,
        shown,
        base64.b64decode(shown.removeprefix("whsec_")).hex(),
        *logins,
        *(word for word in passwords if word and len(word) > 12),
    ]
    for where, data in found.items():
        for secret in hidden:
            for needle in spelled(secret):
                assert needle not in data, f"{needle!r} is in {where}: {data[max(0, data.index(needle) - 200) :][:300]!r}"
