"""Addresses that lead elsewhere: refused for data, parameters, webhooks and artifacts; nobody is called, nothing outside is read."""

import os
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import DataChanged, PenstockError
from penstock.deploy.services.webhook_sender import webhook_sender
from penstock.engine.outgoing.webhook_addresses import Allowed
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.datastore import FoundObject
from penstock.transport.datastores.declared import DeclaredDatastores
from penstock.transport.datastores.folder import FolderPlace
from penstock.transport.datastores.place import Declaration
from tests.engine.api.people import client_with
from tests.engine.api.serving import api, plain
from tests.security.tables import ADDRESSES, ARTIFACTS

SECRET = b"nobody is to read this"
BELOW = [
    "..",
    "../secret.csv",
    "%2e%2e/secret.csv",
    "a/../../secret.csv",
    "./a.csv",
    "//a.csv",
    "a.csv\x00.txt",
    "\\..\\secret.csv",
    "link.csv",
    "folder/secret.csv",
    "pipe",
    "a.csv/..",
    "~/secret.csv",
    "a" * 2000,
    "a.csv?versionId=1",
    "..;/secret.csv",
]
AT_A_SERVER = [
    "../x",
    "%2e%2e/x",
    "%2E%2e/x",
    "a/%2e%2e/%2e%2e/x",
    "..%2fx",
    "a%2f..%2f..%2fx",
    "..%5cx",
    "..;/x",
    "..;a=b/x",
    "%2e%2e;/x",
    ".;/x",
    "a//x",
    "x?y=z",
    "x#y",
    "x\r\nHost: y",
]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a datastore `lake`, and beside it what is nobody's business."""
    lake = tmp_path / "lake"
    lake.mkdir()
    (tmp_path / "secret.csv").write_bytes(SECRET)
    (lake / "a.csv").write_bytes(b"1")
    (lake / "link.csv").symlink_to(tmp_path / "secret.csv")
    (lake / "folder").symlink_to(tmp_path)
    os.mkfifo(lake / "pipe")
    return tmp_path


@contextmanager
def listening(host: str = "127.0.0.1") -> Generator[tuple[int, list[str]]]:
    """A port that answers nothing; who has called."""
    called: list[str] = []
    with socket.create_server((host, 0)) as door:
        door.settimeout(0.05)
        done = threading.Event()

        def wait() -> None:
            while not done.is_set():
                try:
                    came, place = door.accept()
                except TimeoutError:
                    continue
                called.append(str(place))
                came.close()

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield int(door.getsockname()[1]), called
        finally:
            done.set()
            thread.join()


@asynccontextmanager
async def declared(folder: Path, port: int) -> AsyncGenerator[tuple[DeclaredDatastores, Path]]:
    artifacts = folder / "artifacts"
    store = FolderArtifactStore(artifacts)
    places = [Declaration(name="lake", url=f"file://{folder}/lake"), Declaration(name="web", url=f"http://127.0.0.1:{port}/open")]
    yield DeclaredDatastores(places, store), artifacts


@pytest.mark.parametrize("uri", ADDRESSES.values(), ids=ADDRESSES)
async def test_no_datastore_is_left_by_an_address(outside: Path, uri: str) -> None:
    with listening() as (port, called):
        async with declared(outside, port) as (datastores, artifacts):
            for kind in ("file", "directory"):
                with pytest.raises(PenstockError) as refused:
                    await datastores.take(uri, kind)
                assert "password" not in str(refused.value)
            with pytest.raises(PenstockError):
                await datastores.find(f"{uri}/*")
            assert called == []
            assert [path for path in artifacts.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("path", BELOW)
async def test_no_folder_is_left_by_a_path(outside: Path, path: str) -> None:
    async with declared(outside, 9) as (datastores, artifacts):
        with pytest.raises(PenstockError):
            await datastores.take(f"file://{outside}/lake/{path}", "file")
        assert [file for file in artifacts.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("path", AT_A_SERVER)
async def test_no_place_at_a_server_is_left_by_a_path(outside: Path, path: str) -> None:
    with listening() as (port, called):
        async with declared(outside, port) as (datastores, _):
            with pytest.raises(PenstockError):
                await datastores.take(f"http://127.0.0.1:{port}/open/{path}", "file")
        assert called == []


class Exchanged(FolderPlace):
    """Between look and read, and once more between open and read, the folder is something else."""

    def __init__(self, declaration: Declaration, swap: Any) -> None:
        super().__init__(declaration)
        self._swap = swap

    @override
    def look(self, uri: str) -> FoundObject | None:
        found = super().look(uri)
        self._swap()
        return found


async def test_a_folder_that_becomes_a_link_after_the_look_is_not_followed(tmp_path: Path) -> None:
    lake, elsewhere = tmp_path / "lake", tmp_path / "elsewhere"
    (lake / "day").mkdir(parents=True)
    elsewhere.mkdir()
    for folder in (lake / "day", elsewhere):
        (folder / "a.csv").write_bytes(SECRET)  # The same bytes: their digest alone would not tell.

    def swap() -> None:
        (lake / "day").rename(lake / "was")
        (lake / "day").symlink_to(elsewhere)

    place = Exchanged(Declaration(name="lake", url=f"file://{lake}"), swap)
    found = place.look(f"file://{lake}/day/a.csv")

    assert found is not None
    with pytest.raises(DataChanged):
        list(place.pieces(found))


HOOKS = {name: url for name, url in ADDRESSES.items() if name not in ("metadata-name", "user-encoded", "idna", "full-stop")}


async def test_no_webhook_leads_there() -> None:
    async with api(signing_key=b"k" * 32) as served, webhook_sender(Allowed()) as sender:
        for url in HOOKS.values():
            answer = await served.http.post("/v1/subscriptions", json={"name": "hook", "kind": "webhook", "url": url})
            sent = await sender.post(url, {}, b"{}")

            # A name is looked up when something is sent.
            if not url.startswith("https://localhost"):
                assert answer.status_code == 422, url[:200]
                assert (await served.http.get("/v1/subscriptions")).json()["subscriptions"] == []
            await served.http.delete("/v1/subscriptions/hook")
            assert sent.status is None, url[:200]
            assert sent.error


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost", "LOCALHOST.", "[::ffff:7f00:1]", "[::1]", "[0:0:0:0:0:ffff:127.0.0.1]"],
)
async def test_nobody_on_this_machine_is_called_by_another_name(host: str) -> None:
    with listening() as (port, called):
        async with webhook_sender(Allowed()) as sender:
            for scheme in ("http", "https"):
                assert (await sender.post(f"{scheme}://{host}:{port}/x", {}, b"{}")).status is None
        assert called == []


FILES = {"name": "raw", "type": "File", "read": "file"}


async def test_no_run_reads_from_there() -> None:
    spec = {**plain(), "name": "reads", "parameters": [FILES]}
    async with api() as served:
        assert (await served.http.post("/v1/pipelines/reads/versions", json={"spec": spec})).status_code == 201
        for uri in (*ADDRESSES.values(), *ARTIFACTS.values()):
            value = {"uri": uri, "digest": digest_bytes(b"x"), "size": 1}
            for answer in (
                await served.http.post("/v1/pipelines/reads/runs", json={"parameters": {"raw": uri}}),
                await served.http.post("/v1/pipelines/reads/runs", json={"parameters": {"raw": value}}),
                await served.http.post("/v1/runs", json={"run_id": "r", "spec": spec, "parameters": {"raw": value}}),
            ):
                assert answer.status_code == 422, f"{uri[:200]!r}: {answer.text[:300]}"
        assert (await served.http.get("/v1/runs")).json()["runs"] == []


@pytest.mark.parametrize(
    "digest", ["", "sha256:" + "0" * 64, "sha256:" + "f" * 63 + "/", "sha256:../../etc/passwd", "md5:x", "SHA256:" + "0" * 64]
)
async def test_what_another_workspace_holds_is_held_by_no_name_for_it(digest: str) -> None:
    async with api() as served:
        await served.http.post("/v1/workspaces", json={"name": "other"})
        theirs = digest_bytes(b"theirs")
        await served.http.put(f"/v1/artifacts/{theirs}", content=b"theirs")
        stranger = await client_with(served, "author", workspace="other")
        listed = f'{{"files": [{{"path": "x", "digest": "{theirs}", "size": 6}}]}}'.encode()
        await stranger.put(f"/v1/artifacts/{digest_bytes(listed)}", content=listed)

        for wanted in (digest, theirs):
            made = await stranger.post("/v1/named-artifacts/mine/versions", json={"of": wanted})
            assert made.status_code == 422, made.text
        for ref in (
            {"uri": f"cas:{theirs}", "digest": theirs, "size": 6},
            {"uri": f"cas:{digest_bytes(listed)}", "digest": digest_bytes(listed), "size": len(listed), "kind": "directory"},
            {"uri": f"cas:{theirs}", "digest": digest_bytes(listed), "size": 6},
        ):
            run = await stranger.post("/v1/runs", json={"run_id": "r", "spec": plain(), "parameters": {"x": ref}})
            assert run.status_code == 422, run.text
        assert (await stranger.get(f"/v1/artifacts/{theirs}")).status_code == 404


async def test_no_page_or_number_of_another_workspace_leads_there() -> None:
    async with api() as served:
        await served.http.post("/v1/workspaces", json={"name": "other"})
        for number in range(3):
            await served.submit(f"run{number}")
            told = {"specversion": "1.0", "id": str(number), "source": "/lake", "type": "file"}
            await served.http.post("/v1/events", json=told, headers={"Content-Type": "application/cloudevents+json"})
        stranger = await client_with(served, "admin", workspace="other")

        for path, name in (("runs", "runs"), ("events", "events")):
            cursor = (await served.http.get(f"/v1/{path}?limit=1")).json()["next"]
            assert (await stranger.get(f"/v1/{path}?cursor={cursor}")).json()[name] == []
        for number in range(1, 5):
            assert (await stranger.get(f"/v1/events/{number}")).status_code == 404
            assert (await stranger.post(f"/v1/events/{number}/replay")).status_code == 404
            assert (await stranger.post(f"/v1/events/refused/{number}/retry")).status_code == 404
        for headers in (
            [("Penstock-Workspace", "other"), ("Penstock-Workspace", "default")],
            [("Penstock-Workspace", "other, default")],
            [("Penstock-Workspace", "other ")],
            [("Penstock-Workspace", "*")],
            [("Penstock-Workspace", "DEFAULT")],
        ):
            answer = await stranger.get("/v1/runs", headers=headers, params={"workspace": "default"})
            assert answer.status_code in (404, 422) or answer.json()["runs"] == [], answer.text
