"""A service of Penstock as a process of its own: `penstock coordinator` and the like, with its health address and its log."""

import http.client
import os
import signal
import sys
from collections.abc import Mapping

from typing_extensions import override

from tests.servers.process import Server, free_port, wait_until

PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'penstock'; from penstock.deploy.main import main; main()"]


class Service(Server):
    """`penstock <arguments>`. Ready when its /readyz says so."""

    program = "the packages of this project: make setup"

    def __init__(self, name: str, arguments: list[str], settings: Mapping[str, str], *, has_health: bool = True) -> None:
        super().__init__(name)
        self.name = name
        self.health_port = free_port() if has_health else None
        self._arguments = arguments
        self.settings = dict(settings)
        """Variables of its environment. What is changed here holds from its next start on."""

    @override
    def command(self) -> list[str]:
        return [*PROGRAM, *self._arguments]

    @staticmethod
    def surroundings() -> dict[str, str]:
        """What commands of this project inherit from the tests."""
        names = ("PATH", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START")
        return {"LANG": "C.UTF-8"} | {name: os.environ[name] for name in names if name in os.environ}

    @override
    def environment(self) -> dict[str, str]:
        health = {"PENSTOCK_HEALTH_ADDRESS": f"127.0.0.1:{self.health_port}"} if self.health_port is not None else {}
        return {
            **super().environment(),
            **self.surroundings(),
            "PENSTOCK_NAME": self.name,
            "PENSTOCK_LOG_FORMAT": "json",
            **health,
            **self.settings,
        }

    @override
    def is_ready(self) -> bool:
        return self.health_port is None or self.page("/readyz")[0] == 200

    def signal(self, number: signal.Signals) -> None:
        """To the service alone, as an orchestrator sends it."""
        if self.is_running:
            os.kill(self.process_id, number)

    def wait(self, seconds: float = 30.0) -> int:
        """Its exit code, once it has ended by itself."""
        wait_until(lambda: not self.is_running, seconds=seconds, what=f"{self.name} ends")
        assert self._process is not None
        return self._process.returncode

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of its health address; 0 where nobody answers."""
        assert self.health_port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric: the sum over all its series that have these labels."""
        total = 0.0
        for line in self.page("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            found, _, rest = series.partition("{")
            if found == name and all(f'{label}="{wanted}"' in rest for label, wanted in labels.items()):
                total += float(value)
        return total
