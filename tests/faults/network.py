"""Hosts of a network of our own: network namespaces, each with one cable to this machine, which can be cut as a broken switch does."""

import os
import secrets
import subprocess
from collections.abc import Mapping
from typing import Self

from typing_extensions import override

from tests.servers.process import ServerNotStarted, free_port
from tests.servers.rabbitmq import RabbitServer
from tests.servers.service import Service

IS_OPTIONAL = os.environ.get("PENSTOCK_TEST_WITHOUT_NETNS") == "1"
"""Read before tests clear their surroundings."""
_NEEDED = (
    "These tests need network namespaces: root, and `apt-get install iproute2 nftables`. "
    "PENSTOCK_TEST_WITHOUT_NETNS=1 leaves them out where that can't be had"
)
_CUT = "table inet cut {{ chain {direction} {{ type filter hook {direction} priority 0; policy drop; }}; }}"


class Host:
    """A namespace with a network of its own. `gateway` is this machine as the host sees it."""

    def __init__(self, number: int) -> None:
        self.name = f"penstock-{secrets.token_hex(3)}"
        self._cable = f"pk{secrets.token_hex(4)}"
        network = f"10.{200 + number}.{secrets.randbelow(256)}"
        self.gateway, self._address = f"{network}.1", f"{network}.2"
        self._make()

    def _make(self) -> None:
        try:
            _run("ip", "netns", "add", self.name)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ServerNotStarted(f"no network namespace can be made: {error}. {_NEEDED}") from error
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
        _run("ip", "address", "add", f"{self.gateway}/24", "dev", self._cable)
        _run("ip", "link", "set", self._cable, "up")
        _run(*self.inside, "ip", "address", "add", f"{self._address}/24", "dev", "cable")
        for device in ("lo", "cable"):
            _run(*self.inside, "ip", "link", "set", device, "up")

    @property
    def inside(self) -> list[str]:
        """What stands before a command that is to be run on this host."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Everything is swallowed in both directions, and nobody is told."""
        for direction in ("input", "output"):
            _run(*self.inside, "nft", _CUT.format(direction=direction))

    def heal(self) -> None:
        _run(*self.inside, "nft", "delete table inet cut")

    def listen(self, broker: RabbitServer) -> int:
        """Has the broker serve this host too; at which port of the gateway."""
        port = free_port()
        broker.rabbitmqctl("eval", f'rabbit_networking:start_tcp_listener({{"{self.gateway}", {port}}}, 2).')
        return port

    def close(self) -> None:
        # The cable goes with the namespace that one of its ends is in.
        _run("ip", "netns", "delete", self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HostedService(Service):
    """A service on a host of its own. Its health can't be asked from here."""

    def __init__(self, host: Host, name: str, arguments: list[str], settings: Mapping[str, str]) -> None:
        super().__init__(name, arguments, settings, has_health=False)
        self._host = host

    @override
    def command(self) -> list[str]:
        return [*self._host.inside, *super().command()]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
