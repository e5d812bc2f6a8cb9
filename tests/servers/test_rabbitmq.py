"""The private broker does what its tests rely on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import aio_pika
import pytest
from typing_extensions import override

from tests.servers.keeper import processes_of
from tests.servers.process import Server, ServerNotStarted, wait_until
from tests.servers.rabbitmq import RabbitServer, VirtualHost


async def test_a_virtual_host_of_its_own_can_be_used(each_vhost: VirtualHost) -> None:
    async with await aio_pika.connect(each_vhost.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("mine", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), queue.name)

        message = await queue.get(timeout=10, fail=True)

    assert message.body == b"hello"


async def test_what_is_durable_outlives_a_kill(rabbitmq: RabbitServer, vhost: VirtualHost) -> None:
    async with await aio_pika.connect(vhost.url) as connection:
        await (await connection.channel()).declare_queue("kept", durable=True)

    rabbitmq.kill()
    rabbitmq.start()

    async with await aio_pika.connect(vhost.url) as connection:
        assert (await (await connection.channel()).declare_queue("kept", passive=True)).name == "kept"


_PROGRAM = """
import sys, time
from tests.servers.process import Server
class Sleeper(Server):
    def command(self): return ["sh", "-c", "setsid sleep 600 & sleep 600"]
    def is_ready(self): return True
server = Sleeper("sleeper").start()
print(server.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_server_whose_owner_is_killed(number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    assert owner.stdout is not None
    folder = owner.stdout.readline().strip()
    wait_until(lambda: len(processes_of(folder)) == 3, seconds=10, what="the shell and both its children run")

    owner.send_signal(number)
    owner.communicate(timeout=10)

    wait_until(lambda: not Path(folder).exists(), seconds=10, what="its folder is gone")
    assert processes_of(folder) == []


def test_a_server_that_is_not_installed_says_what_to_install() -> None:
    class Missing(Server):
        program = "Missing: apt-get install missing"

        @override
        def command(self) -> list[str]:
            return ["/nowhere/missing"]

        @override
        def is_ready(self) -> bool:
            return True

    with Missing("missing") as server, pytest.raises(ServerNotStarted, match="apt-get install missing"):
        server.start()
