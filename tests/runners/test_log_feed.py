"""Live output: those who follow get every byte at its offset, also of what was printed before; nothing goes out while nobody follows."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typing_extensions import override

from penstock.contracts.messages import FollowLogs, LogChunk, decode
from penstock.runners.log_feed import BACKLOG_BYTES, LogFeed
from penstock.runners.log_file import LogFile
from penstock.transport.bus import Envelope, Exchange
from tests.runners.queue_bus import QueueBus
from tests.runners.workbench import Workbench, an_order, until

FOLLOWED = FollowLogs(run_id="run-1", seconds=30.0, is_new=True)


@dataclass
class Followers(QueueBus):
    """What followers hear."""

    chunks: list[LogChunk] = field(default_factory=list[LogChunk])

    def __post_init__(self) -> None:
        super().__init__()

    @override
    async def publish(self, envelope: Envelope) -> None:
        message = decode(envelope.body)
        if isinstance(message, LogChunk):
            assert (envelope.exchange, envelope.key) == (Exchange.LOGS, message.run_id)
            self.chunks.append(message)

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def is_gapless(self) -> bool:
        ends = [0, *(chunk.offset + len(chunk.text.encode()) for chunk in self.chunks)]
        return all(chunk.offset == end for chunk, end in zip(self.chunks, ends, strict=False))


@dataclass
class Scene:
    folder: Path
    bus: Followers = field(default_factory=Followers)
    limit: int = 4 * BACKLOG_BYTES

    def __post_init__(self) -> None:
        self.feed = LogFeed(self.bus, pause=0.01)
        self.log = LogFile(self.folder / "1.log", self.limit, [b"s3cret"])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.feed.run())
        try:
            async with self.feed.showing(an_order(), "train", lambda: self.log):
                try:
                    yield
                finally:
                    self.log.close()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def heard(self, text: str) -> None:
        await until(lambda: self.bus.text == text, 10)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_what_is_printed_is_heard_while_the_step_runs(scene: Scene) -> None:
    async with scene.running():
        scene.feed.follow(FOLLOWED)
        scene.log.write(b"one\n")
        await scene.heard("one\n")
        scene.log.write(b"two\n")
        await scene.heard("one\ntwo\n")

    assert scene.bus.is_gapless
    assert {(chunk.step, chunk.index, chunk.attempt) for chunk in scene.bus.chunks} == {("train", (), 1)}


async def test_nothing_is_sent_while_nobody_follows(scene: Scene) -> None:
    async with scene.running():
        scene.feed.follow(FOLLOWED.model_copy(update={"run_id": "another"}))
        scene.log.write(b"one\n")
        await asyncio.sleep(0)

    assert scene.bus.chunks == []


async def test_nothing_is_sent_any_more_once_nobody_asks(scene: Scene) -> None:
    async with scene.running():
        scene.feed.follow(FOLLOWED.model_copy(update={"seconds": 0.05}))
        scene.log.write(b"one\n")
        await scene.heard("one\n")
        await until(lambda: not scene.feed.is_followed("run-1"), 10)
        scene.log.write(b"two\n")

    assert scene.bus.text == "one\n"


async def test_who_comes_late_gets_what_was_printed_before(scene: Scene) -> None:
    async with scene.running():
        scene.log.write(b"one\n")
        scene.feed.follow(FOLLOWED)
        await scene.heard("one\n")
        scene.feed.follow(FOLLOWED)
        await scene.heard("one\none\n")
        scene.feed.follow(FOLLOWED.model_copy(update={"is_new": False}))
        scene.log.write(b"two\n")
        await scene.heard("one\none\ntwo\n")


async def test_the_end_of_the_output_is_sent_before_the_end_is_told(scene: Scene) -> None:
    async with scene.running():
        scene.feed.follow(FOLLOWED)
        scene.log.write(b"line\n" * 20_000)

    assert scene.bus.text == "line\n" * 20_000
    assert scene.bus.is_gapless


async def test_offsets_are_exact_whatever_was_printed(scene: Scene) -> None:
    printed = "\N{SNOWMAN}é".encode() * 9000 + b"\x00\xff\xfe" + "\N{SNOWMAN}".encode()
    async with scene.running():
        scene.feed.follow(FOLLOWED)
        for piece in (printed[:10_001], printed[10_001:]):
            scene.log.write(piece)
            await asyncio.sleep(0)

    assert scene.bus.is_gapless
    assert scene.bus.text == "\N{SNOWMAN}é" * 9000 + "???\N{SNOWMAN}"


async def test_the_newest_is_sent_where_more_is_printed_than_can_be(tmp_path: Path) -> None:
    scene = Scene(tmp_path, limit=BACKLOG_BYTES // 4)
    async with scene.running():
        scene.log.write(b"first" + b"-" * 2 * BACKLOG_BYTES + b"last")
        scene.feed.follow(FOLLOWED)

    assert scene.bus.chunks[0].offset > 0
    assert scene.bus.text.endswith("-last")
    assert scene.bus.chunks[-1].offset + len(scene.bus.chunks[-1].text) == 2 * BACKLOG_BYTES + 9


async def test_output_that_the_disk_did_not_take_holds_up_nothing(scene: Scene) -> None:
    async with scene.running():
        scene.log.write(b"-" * scene.limit + b"kept\n")
        scene.log.path.unlink()
        scene.feed.follow(FOLLOWED)

    assert scene.bus.text.endswith("kept\n")


async def test_secrets_are_masked_wherever_output_is_cut(scene: Scene) -> None:
    async with scene.running():
        scene.feed.follow(FOLLOWED)
        scene.log.write(b"the token is s3c")
        await scene.heard("the token is ")
        scene.log.write(b"ret!\n")
        await scene.heard("the token is ***!\n")


async def test_a_guest_is_heard_while_it_runs(workbench: Workbench, tmp_path: Path) -> None:
    bus = Followers()
    feed = LogFeed(bus, pause=0.01)
    workbench.settings["feed"] = feed
    feed.follow(FOLLOWED)
    sending = asyncio.create_task(feed.run())
    code = f"""
        from pathlib import Path
        import time

        def main():
            print("begun", flush=True)
            while not Path({str(tmp_path / "go")!r}).exists():
                time.sleep(0.01)
            print("done")
    """
    running = asyncio.create_task(workbench.run(code))
    try:
        await until(lambda: bus.text == "begun\n")
        assert not running.done()
        (tmp_path / "go").touch()
        completed = await running
    finally:
        sending.cancel()

    assert bus.text == await workbench.log(completed) == "begun\ndone\n"
