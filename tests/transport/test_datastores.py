"""Datastores against those who would have the server read something else, and against servers that are away or lead elsewhere."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typing_extensions import override

from penstock.contracts.errors import DataChanged, DatastoreUnavailable, InvalidInput, PenstockError
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from penstock.transport.datastores.declared import DeclaredDatastores, open_place
from penstock.transport.datastores.memory import MemoryDatastores, MemoryPlace
from penstock.transport.datastores.place import PIECE_BYTES, Declaration
from tests.servers.s3 import S3Bucket

CANARY = "canary-4f1b9d"
HOSTILE = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/x",
    "https://evil.example/x",
    "file:///etc/passwd",
    "file://lake/x",
    "FILE:///etc/passwd",
    "/etc/passwd",
    "s3://lake/../secret/x",
    "s3://lake/a/../../secret/x",
    "s3://lake//x",
    "s3://lake/./x",
    "s3://lake/a\\..\\b",
    "s3://lake-of-others/x",
    "s3://lake@evil.example/x",
    "s3://user:password@lake/x",
    "s3://lake/x\x00.csv",
    "s3://lake/x\n.csv",
    "s3://lake/x?versionId=1",
    f"s3://lake/{'x' * 2000}",
    "s3://",
    "s3://*/x",
    "gs://lake/x",
    "data:,x",
    "",
]


@pytest.fixture
def artifacts(tmp_path: Path) -> FolderArtifactStore:
    return FolderArtifactStore(tmp_path / "artifacts")


@pytest.mark.parametrize("uri", HOSTILE)
async def test_what_is_below_no_declared_datastore_is_refused(artifacts: FolderArtifactStore, uri: str) -> None:
    datastores = MemoryDatastores(artifacts)

    with pytest.raises(InvalidInput):
        await datastores.find(uri)
    with pytest.raises(InvalidInput) as refused:
        await datastores.take(uri, "file")
    assert "password" not in str(refused.value)


@pytest.mark.parametrize("uri", ["https://host/open/%2e%2e/secret", "https://host/open/a%2fb", "https://host/open/x?list"])
async def test_a_web_address_hides_no_other_path(artifacts: FolderArtifactStore, uri: str) -> None:
    datastores = DeclaredDatastores([Declaration(name="web", url="https://host/open")], artifacts)

    with pytest.raises(InvalidInput):
        await datastores.take(uri, "file")


@pytest.mark.parametrize(
    "declaration",
    [
        Declaration(name="metadata", url="http://169.254.169.254/latest"),
        Declaration(name="metadata", url="https://[fe80::1]/latest"),
        Declaration(name="lake", url="s3://lake", endpoint_url="http://169.254.169.254"),
        Declaration(name="lake", url="ftp://lake"),
        Declaration(name="lake", url="s3://user:password@lake"),
    ],
)
def test_some_places_cant_even_be_declared(declaration: Declaration) -> None:
    with pytest.raises(InvalidInput):
        open_place(declaration)


async def test_no_link_leads_out_of_a_folder(artifacts: FolderArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.csv").write_text("secret")
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "link.csv").symlink_to(tmp_path / "secret" / "a.csv")
    (lake / "folder").symlink_to(tmp_path / "secret")
    datastores = DeclaredDatastores([Declaration(name="lake", url=f"file://{lake}")], artifacts)

    assert await datastores.find(f"file://{lake}/**") == []
    assert await datastores.find(f"file://{lake}/folder/*.csv") == []
    for name in ("link.csv", "folder/a.csv"):
        with pytest.raises(InvalidInput):
            await datastores.take(f"file://{lake}/{name}", "file")


async def test_a_directory_that_changed_since_it_was_found_is_not_taken(artifacts: FolderArtifactStore) -> None:
    datastores = MemoryDatastores(artifacts)
    datastores.place.contents["s3://lake/a/x"] = b"1"

    with pytest.raises(DataChanged):
        await datastores.take("s3://lake/a/", "directory", "sha256:other")


async def test_the_nearest_declaration_reads_an_object(artifacts: FolderArtifactStore) -> None:
    places = {"outer": MemoryPlace(), "inner": MemoryPlace()}
    for place in places.values():
        place.contents["s3://lake/inner/a.csv"] = b""
    places["outer"].is_away = True
    declarations = [Declaration(name="outer", url="s3://lake"), Declaration(name="inner", url="s3://lake/inner")]
    datastores = DeclaredDatastores(declarations, artifacts, lambda one: places[one.name])

    assert len(await datastores.find("s3://lake/inner/a.csv")) == 1
    with pytest.raises(DatastoreUnavailable):
        await datastores.find("s3://lake/b.csv")


async def test_a_workspace_reads_its_own_datastores_and_those_of_all(artifacts: FolderArtifactStore) -> None:
    place = MemoryPlace()
    place.contents |= {"s3://sales/a": b"1", "s3://open/a": b"2"}
    declarations = [Declaration(name="sales", url="s3://sales", workspaces=frozenset({"sales"})), Declaration(name="open", url="s3://open")]
    datastores = DeclaredDatastores(declarations, artifacts, lambda _: place)

    assert len(await datastores.of("sales").find("s3://sales/a")) == 1
    assert len(await datastores.of("other").find("s3://open/a")) == 1
    with pytest.raises(InvalidInput, match="no declared") as refused:
        await datastores.of("other").take("s3://sales/a", "file")
    assert "sales (" not in str(refused.value)


async def test_a_server_that_is_away_is_told_apart_from_data_that_is_not_there(artifacts: FolderArtifactStore) -> None:
    declaration = Declaration(name="lake", url="s3://lake", endpoint_url="http://127.0.0.1:9", credentials=lambda: f"key:{CANARY}")
    datastores = DeclaredDatastores([declaration], artifacts)

    with pytest.raises(DatastoreUnavailable, match="lake") as away:
        await datastores.find("s3://lake/a.csv")
    assert CANARY not in _told(away.value)
    assert CANARY not in repr(declaration)


async def test_wrong_credentials_are_told_and_never_shown(artifacts: FolderArtifactStore, bucket: S3Bucket) -> None:
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    declaration = Declaration(name="lake", url=f"s3://{bucket.name}", endpoint_url=endpoint, credentials=lambda: f"wrong:{CANARY}")
    datastores = DeclaredDatastores([declaration], artifacts)

    for pattern in ("*.csv", "a*.csv", "*/a.csv", "**/a.csv", "a/", "a.csv"):
        with pytest.raises(DatastoreUnavailable) as refused:
            await datastores.find(f"s3://{bucket.name}/{pattern}")
        assert CANARY not in _told(refused.value)


@pytest.mark.usefixtures("bucket")
async def test_a_bucket_that_is_not_there_is_no_empty_one(artifacts: FolderArtifactStore) -> None:
    datastores = DeclaredDatastores([Declaration(name="lake", url="s3://no-such-bucket-here")], artifacts)

    for pattern in ("*.csv", "a*.csv", "**/a.csv", "a/"):
        with pytest.raises(DatastoreUnavailable, match="no such bucket"):
            await datastores.find(f"s3://no-such-bucket-here/{pattern}")


async def test_credentials_come_from_a_named_secret(
    artifacts: FolderArtifactStore, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ":".join(bucket.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    for name in bucket.environment:
        monkeypatch.delenv(name, raising=False)
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    declaration = Declaration(name="lake", url=f"s3://{bucket.name}", endpoint_url=endpoint, region="us-east-1", credentials=lambda: given)

    assert await DeclaredDatastores([declaration], artifacts).find(f"s3://{bucket.name}/*.csv") == []


def test_a_secret_of_another_form_is_refused_without_its_text() -> None:
    place = open_place(Declaration(name="lake", url="s3://lake", endpoint_url="http://127.0.0.1:9", credentials=lambda: CANARY))

    with pytest.raises(DatastoreUnavailable, match="ACCESS_KEY_ID:SECRET_ACCESS_KEY") as refused:
        place.look("s3://lake/a.csv")
    assert CANARY not in _told(refused.value)


def _told(error: BaseException | None) -> str:
    """All that a log could show of an error and its causes."""
    text = ""
    while error is not None:
        text += f"{error!r} {error}\n"
        error = error.__cause__ or error.__context__
    return text


class _Web(http.server.BaseHTTPRequestHandler):
    folder: Path

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]  # whatever the server gives

    def do_GET(self) -> None:
        name = self.path.removeprefix("/open/")
        if name == "elsewhere.csv":
            self.send_response(302)
            self.send_header("Location", "/open/a.csv")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not (self.folder / name).is_file():
            self.send_error(404)
            return
        data = (self.folder / name).read_bytes()
        self.send_response(200)
        if name != "nameless.csv":
            self.send_header("ETag", f'"{hash(data)}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "web"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Web, folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/open", folder
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_file_on_the_web_is_taken_at_its_etag(artifacts: FolderArtifactStore, web: tuple[str, Path]) -> None:
    root, folder = web
    (folder / "a.csv").write_bytes(b"1" * (PIECE_BYTES + 1))
    datastores = DeclaredDatastores([Declaration(name="web", url=root)], artifacts)
    (found,) = await datastores.find(f"{root}/a.csv")

    assert (await datastores.take(found.uri, "file", found.mark)).size == PIECE_BYTES + 1
    (folder / "a.csv").write_bytes(b"2")

    with pytest.raises(DataChanged):
        await datastores.take(found.uri, "file", found.mark)
    assert await datastores.find(f"{root}/b.csv") == []


@pytest.mark.parametrize(("name", "told"), [("elsewhere.csv", "redirection"), ("nameless.csv", "neither ETag"), ("*.csv", "lists nothing")])
async def test_the_web_is_not_followed_anywhere(artifacts: FolderArtifactStore, web: tuple[str, Path], name: str, told: str) -> None:
    root, folder = web
    (folder / "nameless.csv").write_bytes(b"1")
    (folder / "a.csv").write_bytes(b"1")
    datastores = DeclaredDatastores([Declaration(name="web", url=root)], artifacts)

    with pytest.raises(PenstockError, match=told):
        await datastores.find(f"{root}/{name}")
