"""A user's flow over HTTP: the same pipelines, the same results, on services elsewhere."""

import hashlib
import importlib
import linecache
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, EngineUnavailable, InvalidInput, UnknownVersion
from penstock.contracts.messages import LogChunk, encode
from penstock.contracts.states import RunState
from penstock.deploy.embedded.client import connect as connect_embedded
from penstock.deploy.remote.client import HttpClient, connect
from penstock.deploy.remote.connection import Body, Connection
from penstock.sdk.client import EngineClient, Housekeeping
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.remote_inputs import Origins
from penstock.sdk.runs.run import Run
from penstock.sdk.runs.state_home import using_engine
from penstock.sdk.types import Directory, File
from penstock.transport.bus import Envelope, Exchange
from tests.deploy.served_engine import TOKEN, ServedEngine, free_port, served, until
from tests.sdk.written_project import WrittenProject

FLOW = """
    import time
    from collections.abc import Sequence
    from pathlib import Path
    from penstock.sdk import File, collect, each, pipeline, step

    @step
    def read(raw: File) -> list[int]:
        print("reading", raw.path.name)
        return [int(line) for line in raw.path.read_text().split()]

    @step
    def scale(numbers: list[int], *, factor: int) -> float:
        return sum(numbers) * factor / 2

    @step
    def write(totals: Sequence[float]) -> File:
        Path("out.txt").write_text("\\n".join(str(total) for total in totals) * 50_000)
        return File("out.txt")

    @pipeline
    def flow(raw: File, factors: Sequence[int] = (1, 2, 3)) -> File:
        return write(collect(scale(read(raw), factor=each(factors))))

    @step(cache=False)
    def wait(path: str) -> str:
        while not Path(path).exists():
            time.sleep(0.02)
        return "over"

    @pipeline
    def waiting(path: str) -> str:
        return wait(path)

    @step
    def fail() -> int:
        raise ValueError("no such luck")

    @pipeline
    def failing() -> int:
        return fail()
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with served(tmp_path_factory.mktemp("services") / "state") as engine:
        yield engine


@pytest.fixture
def client(engine: ServedEngine, private_home: Path) -> Iterator[HttpClient]:
    client = connect(private_home, engine.url, TOKEN)
    yield client
    client.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenProject]:
    project = WrittenProject(tmp_path / "project", monkeypatch)
    project.write("pipeline.py", FLOW)
    (tmp_path / "project" / "raw.txt").write_text("1\n2\n39\n")
    yield project
    project.forget()


def ran(project: WrittenProject, client: EngineClient, name: str = "flow", **parameters: object) -> Run[object]:
    """A run of the project's pipeline that has ended."""
    project.forget()
    linecache.checkcache()
    found: Pipeline[..., object] = getattr(importlib.import_module("pipeline"), name)
    with using_engine(client):
        return found.submit(**parameters).wait()


def output(run: Run[object]) -> ArtifactRef:
    value = run.view.outputs["result"]
    assert isinstance(value, ArtifactRef)
    return value


def test_the_http_client_offers_all_that_an_engine_does(client: HttpClient) -> None:
    engine: EngineClient = client

    assert isinstance(engine, Housekeeping)


def test_a_pipeline_gives_the_same_digests_on_services_as_here(project: WrittenProject, client: HttpClient, tmp_path: Path) -> None:
    raw = File(tmp_path / "project" / "raw.txt")
    here = connect_embedded(tmp_path / "embedded", slots=2)
    local = ran(project, here, raw=raw)

    remote = ran(project, client, raw=raw)
    again = ran(project, client, raw=raw)

    assert (local.state, remote.state, again.state) == (RunState.SUCCEEDED,) * 3, remote.view.error
    assert output(remote).digest == output(local).digest
    assert [step_run.view.key for step_run in remote.steps["scale"]] == [step_run.view.key for step_run in local.steps["scale"]]
    assert all(step_run.is_hit for step_runs in again.steps.values() for step_run in step_runs if step_run.view.key)
    fetched = client.local(output(remote))
    assert "sha256:" + hashlib.sha256(fetched.read_bytes()).hexdigest() == output(remote).digest
    assert (tmp_path / ".penstock" / "remote") in fetched.parents
    here.close()


def test_what_a_step_printed_is_read_from_the_services(project: WrittenProject, client: HttpClient, tmp_path: Path) -> None:
    run = ran(project, client, raw=File(tmp_path / "project" / "raw.txt"))

    log = client.step_runs(run.run_id, "read")[0].attempts[-1].log

    assert log is not None
    assert client.local(log).read_text() == "reading raw.txt\n"


def test_a_failure_comes_with_the_users_own_traceback(project: WrittenProject, client: HttpClient) -> None:
    run = ran(project, client, "failing")

    assert run.state is RunState.FAILED
    with pytest.raises(Exception, match="no such luck"):
        run.raise_if_failed()


def test_why_spec_cache_and_status_are_answered(project: WrittenProject, client: HttpClient, tmp_path: Path) -> None:
    run = ran(project, client, raw=File(tmp_path / "project" / "raw.txt"))

    assert run.why("scale", 1).index == (1,)
    assert b'"name":"flow"' in client.spec(run.name)
    assert client.cache_stats().entries_by_step["flow.scale"] == 3
    assert client.cache_clear(pipeline="flow", step="scale") == 3
    assert client.health().engine == "http"
    until(lambda: [view.name for view in client.runners()] == ["runner-1"])
    status = client.status()
    assert [(pool.name, pool.slots, pool.demand) for pool in status.pools] == [("cpu", 2, 0)]
    assert client.pools() == list(status.pools)
    client.remove_run(run.run_id)
    with pytest.raises(InvalidInput, match="there is no run"):
        client.run(run.run_id)


class RecordingConnection(Connection):
    """Notes what goes up."""

    def __init__(self, url: str) -> None:
        super().__init__(url, TOKEN)
        self.uploads: list[str] = []

    @override
    def upload(self, path: str, body: Body, size: int) -> None:
        self.uploads.append(path.removeprefix("/artifacts/"))
        super().upload(path, body, size)


def test_only_what_is_missing_goes_up(engine: ServedEngine, private_home: Path, tmp_path: Path) -> None:
    connection = RecordingConnection(engine.url)
    client = HttpClient(private_home, connection)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_text(f"{name} of {tmp_path}")
    first = client.put_path(folder)
    assert len(connection.uploads) == 4  # and the manifest
    connection.uploads.clear()
    (folder / "c").write_text("another")

    second = client.put_path(folder)

    assert sorted(connection.uploads) == sorted([digest_bytes(b"another"), second.digest])
    assert sorted(path.name for path in client.local(first).iterdir()) == ["a", "b", "c"]
    assert (client.local(second) / "c").read_text() == "another"
    client.close()


def test_data_at_a_uri_goes_up_once(client: HttpClient, engine: ServedEngine, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("of a tree")
    drop = tmp_path / "drop.csv"
    drop.write_text("of a drop")
    origins = Origins(client.home)
    named: list[File | Directory] = [File(f"file://{drop}"), Directory(f"file://{tree}")]
    refs = [origins.take(client, one, "raw") for one in named]
    assert all(client.holds(ref) for ref in refs)
    assert [origins.take(client, one, "raw") for one in named] == refs

    engine.artifacts.folder.delete(digest_bytes(b"of a tree"))
    engine.artifacts.folder.delete(refs[0].digest)

    assert not any(client.holds(ref) for ref in refs)
    assert [origins.take(client, one, "raw") for one in named] == refs
    assert all(client.holds(ref) for ref in refs)


def test_a_corrupt_copy_is_fetched_again_and_lost_bytes_are_told(client: HttpClient, engine: ServedEngine) -> None:
    ref = client.put_bytes(b"precious", media_type="text/plain")
    copy = client.local(ref)
    copy.chmod(0o644)
    copy.write_bytes(b"spoiled!")

    assert client.local(ref).read_bytes() == b"precious"
    engine.call(engine.artifacts.delete(ref.digest))
    client.local(ref).unlink()
    with pytest.raises(ArtifactLost, match="gone") as lost:
        client.local(ref)
    assert lost.value.digest == ref.digest


def test_the_commit_and_what_differs_from_it_are_recorded(project: WrittenProject, client: HttpClient, tmp_path: Path) -> None:
    folder = tmp_path / "project"

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "trunk")
    (folder / "private.txt").write_text("before\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    clean = ran(project, client, raw=File(folder / "raw.txt")).view.tags
    project.replace("pipeline.py", "factor / 2", "factor / 4")
    (folder / "private.txt").write_text("a secret that is no code\n")

    dirty = ran(project, client, raw=File(folder / "raw.txt")).view.tags

    assert clean == {"git.commit": git("rev-parse", "HEAD"), "git.branch": "trunk", "git.dirty": "false"}
    assert (dirty["git.commit"], dirty["git.dirty"]) == (clean["git.commit"], "true")
    diff = client.local(ArtifactRef(uri=f"cas:{dirty['git.diff']}", digest=dirty["git.diff"], size=0)).read_text()
    assert "+    return sum(numbers) * factor / 4" in diff
    assert "secret" not in diff


def test_services_that_are_not_there_are_said_to_be_unreachable(private_home: Path) -> None:
    pauses: list[float] = []
    client = HttpClient(private_home, Connection(f"http://127.0.0.1:{free_port()}", None, pause=pauses.append))

    with pytest.raises(EngineUnavailable, match=r"can't be reached.*PENSTOCK_API_URL.*penstock api"):
        client.runs()
    assert len(pauses) == 4
    client.close()


def test_services_that_come_back_in_between_are_not_noticed(tmp_path: Path, private_home: Path) -> None:
    first = ServedEngine(tmp_path / "first", slots=0, has_coordinator=False)
    pauses: list[float] = []

    def start(seconds: float) -> None:
        if not pauses:
            first.start()
        pauses.append(seconds)

    client = HttpClient(private_home, Connection(first.url, TOKEN, pause=start))

    assert client.runs() == []
    assert len(pauses) >= 1
    client.close()
    first.stop()


class Answer(BaseHTTPRequestHandler):
    """Answers every GET with the headers of its server."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in getattr(self.server, "headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b'{"runs": []}')

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering(headers: dict[str, str]) -> Generator[str]:
    """Something on HTTP that is not these services."""
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Answer) as answering:
        setattr(answering, "headers", headers)  # noqa: B010 - it has no such attribute
        thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}"
        answering.shutdown()
        thread.join()


def test_services_that_are_newer_are_named_with_both_versions(private_home: Path) -> None:
    with answering({"Penstock-Contract": "2", "Penstock-Version": "9.9.9"}) as url:
        client = connect(private_home, url, None)
        with pytest.raises(UnknownVersion, match=r"contract 2 \(Penstock 9\.9\.9\), this Penstock .* install the services' version"):
            client.runs()
        client.close()


def test_what_is_no_penstock_is_told_as_such(private_home: Path) -> None:
    with answering({}) as url:
        client = connect(private_home, url, None)
        with pytest.raises(EngineUnavailable, match="no Penstock API"):
            client.runs()
        client.close()


def test_output_is_read_while_a_step_runs(project: WrittenProject, client: HttpClient, engine: ServedEngine, tmp_path: Path) -> None:
    path = tmp_path / "go-on"
    with using_engine(client):
        project.forget()
        waiting: Pipeline[..., object] = importlib.import_module("pipeline").waiting
        run = waiting.submit(path=str(path))
    until(lambda: any(view.attempts for view in client.step_runs(run.run_id, "wait")))

    def printed() -> str:
        chunk = LogChunk(run_id=run.run_id, step="wait", attempt=1, offset=0, text="so far\n")
        engine.call(engine.bus.publish(Envelope(exchange=Exchange.LOGS, key=run.run_id, body=encode(chunk))))
        place = client.step_runs(run.run_id, "wait")[0].attempts[-1].log_path
        return Path(place).read_text() if place else ""

    until(lambda: printed() == "so far\n")
    assert printed() == "so far\n"
    path.touch()
    assert run.wait().state is RunState.SUCCEEDED


def test_a_follower_waits_for_services_that_are_started_anew(tmp_path: Path, private_home: Path, project: WrittenProject) -> None:
    first = ServedEngine(tmp_path / "state", slots=0, has_coordinator=False)
    second = ServedEngine(tmp_path / "state", port=first.port)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            # What rang for the run is lost with the first bus: a coordinator finds it.
            second.start()

    client = HttpClient(private_home, Connection(first.url, TOKEN, pause=pause))
    first.start()
    with using_engine(client):
        project.forget()
        run = importlib.import_module("pipeline").flow.submit(raw=File(project.root / "raw.txt"))
    following = client.follow(run.run_id)
    assert next(following).state is RunState.QUEUED
    first.stop()

    assert list(following)[-1].state is RunState.SUCCEEDED

    assert len(pauses) >= 6
    client.close()
    second.stop()


@pytest.mark.parametrize("url", ["penstock", "ftp://x", "http://", "http://user:secret@host", "http://host/?a=b"])
def test_an_address_that_is_none_is_refused(private_home: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="PENSTOCK_API_URL"):
        connect(private_home, url, None)


def test_a_wrong_token_is_told_as_such(private_home: Path, engine: ServedEngine) -> None:
    client = connect(private_home, engine.url, "another-token-0123456789")

    with pytest.raises(InvalidInput, match="don't know that token"):
        client.runs()
    client.close()


def test_the_services_are_named_by_the_environment_or_nobody(
    private_home: Path, engine: ServedEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"PENSTOCK_API_URL.*not set"):
        connect(private_home)
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
    monkeypatch.setenv("PENSTOCK_API_TOKEN_FILE", str(tmp_path / "token"))

    client = connect(private_home)

    assert client.health().schema_found == client.health().schema_expected
    client.close()
