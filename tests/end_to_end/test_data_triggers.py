"""Data that arrives starts runs: on exactly that data, once, and the same data under another name is all hits."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.views import RunView
from penstock.deploy.embedded.client import EmbeddedClient, connect
from tests.deploy.processes import penstock, started
from tests.end_to_end.user_project import until
from tests.servers.process import free_port
from tests.servers.s3 import S3Bucket

PIPELINE = """
from penstock.sdk import Directory, File, OnData, pipeline, step

@step
def train(raw: File) -> float:
    numbers = [float(line) for line in raw.path.read_text().splitlines()]
    return sum(numbers) / len(numbers)

@step
def report(mean: float) -> str:
    return f"mean {mean}"

@pipeline(triggers=[OnData("ROOT/daily/*.csv", poll="1s", settle="1s")])
def retrain(raw: File) -> str:
    return report(train(raw))
"""


class Project:
    """A project whose `penstock dev` is running, with a datastore."""

    def __init__(self, folder: Path, root: str) -> None:
        self.folder = folder
        self.client: EmbeddedClient = connect(folder / "home")
        (folder / "pipeline.py").write_text(PIPELINE.replace("ROOT", root))

    def publish(self) -> None:
        done = penstock(self.folder, "publish", "pipeline.py", "--triggers", "on")
        assert done.returncode == 0, done.stdout + done.stderr

    def runs(self) -> list[RunView]:
        """Those that have ended, the first one first."""
        return [self.client.run(view.run_id) for view in reversed(self.client.runs()) if view.state.is_terminal]

    def result(self, view: RunView) -> Any:
        ref = view.outputs["result"]
        return ref.json_value()  # type: ignore[union-attr]  # a text

    def executed(self, view: RunView) -> int:
        steps = [count for count in view.steps if count.kind == "step"]
        return sum(count.total or 0 for count in steps) - sum(count.hits for count in steps)


@pytest.fixture
def lake(bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Project, Any]]:
    """The project, and a client of the bucket that its datastore is. The secret is known by name alone, and is nowhere afterwards."""
    key, secret = (bucket.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    for name in bucket.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_SECRET_LAKE_KEY", f"{key}:{secret}")
    (tmp_path / "penstock.toml").write_text(
        f'[datastores.lake]\nurl = "s3://{bucket.name}"\nendpoint_url = "{endpoint}"\nregion = "us-east-1"\nsecret = "lake-key"\n'
    )
    client: Any = botocore.session.Session().create_client(
        "s3", region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret
    )
    with started(tmp_path, "dev", "--port", str(free_port())) as dev:
        try:
            assert dev.stdout is not None
            next(line for line in dev.stdout if line.startswith("slots"))
            project = Project(tmp_path, f"s3://{bucket.name}")
            yield project, (client, bucket.name)
            project.client.close()
        finally:
            dev.terminate()
        assert secret not in dev.stdout.read()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == []


def test_a_file_that_a_bucket_receives_is_what_the_pipeline_retrains_on(lake: tuple[Project, Any]) -> None:
    project, (s3, bucket) = lake
    s3.put_object(Bucket=bucket, Key="daily/old.csv", Body=b"1\n")
    written = s3.head_object(Bucket=bucket, Key="daily/old.csv")["LastModified"].timestamp()
    # Buckets tell whole seconds: what came in the second in which the trigger is switched on counts as new.
    until(lambda: time.time() > written + 1)
    project.publish()

    s3.put_object(Bucket=bucket, Key="daily/monday.csv", Body=b"1\n2\n")
    until(lambda: len(project.runs()) == 1, 30)
    (first,) = project.runs()
    assert project.result(first) == "mean 1.5"
    assert first.parameters["raw"].digest == digest_bytes(b"1\n2\n")  # type: ignore[union-attr]  # a file
    assert project.executed(first) == 2

    s3.put_object(Bucket=bucket, Key="daily/copy.csv", Body=b"1\n2\n")
    until(lambda: len(project.runs()) == 2, 30)
    second = project.runs()[1]
    assert project.result(second) == "mean 1.5"
    assert project.executed(second) == 0

    s3.delete_object(Bucket=bucket, Key="daily/copy.csv")
    s3.put_object(Bucket=bucket, Key="daily/monday.csv", Body=b"3\n")
    until(lambda: len(project.runs()) == 3, 30)
    assert project.result(project.runs()[2]) == "mean 3.0"
    assert len(project.runs()) == 3
