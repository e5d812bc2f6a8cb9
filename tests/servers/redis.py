"""A private Redis, for peers of the benchmark that keep results in it. Penstock itself uses none."""

from pathlib import Path

from typing_extensions import override

from tests.servers.process import Server, accepts, free_port


class RedisServer(Server):
    """In memory only."""

    program = "redis-server (apt-get install redis-server)"

    def __init__(self) -> None:
        super().__init__("redis")
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @override
    def command(self) -> list[str]:
        return ["redis-server", "--port", str(self._port), "--save", "", "--dir", str(Path(self.folder))]

    @override
    def is_ready(self) -> bool:
        return accepts(self._port)
