"""One container on the engine: made, started, listened to, ended, removed."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer
from aiodocker.stream import Stream

from penstock.contracts.errors import InfrastructureError
from penstock.contracts.states import FailureKind
from penstock.runners.docker.owner import Owner
from penstock.runners.failures import AttemptFailed, failure

_log = structlog.get_logger(__name__)
_GONE = (404, 409)
"""What the engine answers where a container has ended or was removed meanwhile."""
NO_ANSWER = 900
"""From here on statuses are the client's own."""
_SIGNALLED = 128
_LAST_SIGNAL = 64


@dataclass(frozen=True, slots=True)
class End:
    """How the program ended. `out_of_memory`: the kernel ended a process of it for that."""

    status: int
    out_of_memory: bool

    @property
    def signal(self) -> int | None:
        """The signal that ended it, as shells and the engine tell it."""
        return self.status - _SIGNALLED if _SIGNALLED < self.status <= _SIGNALLED + _LAST_SIGNAL else None


@contextmanager
def reached() -> Generator[None]:
    """:raises InfrastructureError: the engine did not answer inside the block, or refused."""
    try:
        yield
    except DockerError as error:
        if error.status < NO_ANSWER:
            raise InfrastructureError(f"the Docker engine refused: {error.message}") from error
        raise _unreached(error.message) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _unreached(str(error)) from error


def _unreached(reason: str) -> InfrastructureError:
    return InfrastructureError(f"the Docker engine can't be reached: {reason}; is it running, and may this user use its socket?")


class Container:
    """A container that has been started. `ended` is done once it has ended and all its output was handed over."""

    def __init__(self, container: DockerContainer, output: Stream, on_output: Callable[[bytes], None]) -> None:
        self._container = container
        self._output = output
        self._on_output = on_output
        self._signals: set[asyncio.Task[None]] = set()
        self.ended = asyncio.get_running_loop().create_task(self._watched())

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to its program, soon."""
        task = asyncio.get_running_loop().create_task(self._sent(number))
        self._signals.add(task)
        task.add_done_callback(self._signal_sent)

    async def stop(self, grace_seconds: float) -> None:
        """Asks it to end, then makes it; returns when it has ended."""
        for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, None)):
            if not self.ended.done():
                await self._sent(number)
                await asyncio.wait([self.ended], timeout=seconds)

    def _signal_sent(self, task: "asyncio.Task[None]") -> None:
        self._signals.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Where the engine can't be reached, waiting for the container tells so too.
            _log.warning("container.not_signalled", container=self._container.id, reason=str(error))

    async def _sent(self, number: signal.Signals) -> None:
        try:
            await self._container.kill(signal=number.name)
        except DockerError as error:
            if error.status not in _GONE:
                raise

    async def _watched(self) -> End:
        listening = asyncio.get_running_loop().create_task(self._listen())
        try:
            await self._container.wait()  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
            # Processes that it left behind may hold its output open no longer than it lives.
            await listening
        finally:
            listening.cancel()
        state: dict[str, Any] = (await self._container.show())["State"]  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
        return End(int(state["ExitCode"]), bool(state["OOMKilled"]))

    async def _listen(self) -> None:
        while (message := await self._output.read_out()) is not None:
            self._on_output(message.data)


@asynccontextmanager
async def started(
    engine: Docker, config: dict[str, Any], on_output: Callable[[bytes], None], grace_seconds: float
) -> AsyncGenerator[Container]:
    """A container that runs inside the block; after it nothing of it is left.

    :raises AttemptFailed: it can't be started: its command, image or limits are not as the engine can have them.
    :raises InfrastructureError: the engine can't be reached.
    """
    with reached():
        made = await _created(engine, config)
        try:
            async with made.attach(stdout=True, stderr=True) as output:
                try:
                    await made.start()  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
                except DockerError as error:
                    if error.status >= NO_ANSWER:
                        raise
                    raise AttemptFailed(_not_started(error.message)) from error
                container = Container(made, output, on_output)
                try:
                    yield container
                finally:
                    await _ended(container, grace_seconds)
        finally:
            await asyncio.shield(_removed(made))


async def _created(engine: Docker, config: dict[str, Any]) -> DockerContainer:
    """Cancelled, it removes what the engine has made by then."""
    creating = asyncio.get_running_loop().create_task(engine.containers.create(config))
    try:
        return await asyncio.shield(creating)
    except DockerError as error:
        if error.status >= NO_ANSWER:
            raise
        raise AttemptFailed(_not_started(error.message)) from error
    except asyncio.CancelledError:
        with contextlib.suppress(DockerError, aiohttp.ClientError, OSError):
            await _removed(await creating)
        raise


async def _ended(container: Container, grace_seconds: float) -> None:
    """Even where whoever asked for it is cancelled: user code is stopped first."""
    stopping = asyncio.get_running_loop().create_task(container.stop(grace_seconds))
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise
    finally:
        container.ended.cancel()


async def _removed(container: DockerContainer) -> None:
    with contextlib.suppress(DockerError, aiohttp.ClientError, OSError):
        await container.delete(force=True, v=True)


def _not_started(reason: str) -> dict[str, str]:
    return failure(FailureKind.ENVIRONMENT, f"the container can't be started: {reason}", traceback_text=reason)


async def clear_containers(engine: Docker, owner: Owner) -> int:
    """Removes what other incarnations of the runner left; returns how many there were.

    :raises InfrastructureError: the engine can't be reached.
    """
    with reached():
        labels = {"label": [f"penstock.runner={owner.runner}"]}
        found = await engine.containers.list(all=True, filters=labels)  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
        left = [container for container in found if owner.has_lost(container["Labels"].get("penstock.incarnation", ""))]
        for container in left:
            await _removed(container)
    return len(left)
