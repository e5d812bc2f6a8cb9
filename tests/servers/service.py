"""A service of Penstock as a process of its own: `penstock coordinator` and the like, with its health address and its log."""

import http.client
import os
import sys
from collections.abc import Mapping

from typing_extensions import override

from tests.servers.process import Server, free_port

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

    @override
    def environment(self) -> dict[str, str]:
        health = {"PENSTOCK_HEALTH_ADDRESS": f"127.0.0.1:{self.health_port}"} if self.health_port is not None else {}
        # Guests of several runners on few cores: numeric libraries shall not start a thread for each.
        passed = {name: os.environ[name] for name in ("TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START") if name in os.environ}
        return {**super().environment(), **passed, "PENSTOCK_NAME": self.name, "PENSTOCK_LOG_FORMAT": "json", **health, **self.settings}

    @override
    def is_ready(self) -> bool:
        return self.health_port is None or self.page("/readyz")[0] == 200

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
