"""Runners as containers of a Docker engine."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import structlog
from aiodocker import Docker, DockerError
from typing_extensions import override

from penstock.contracts.pools import PoolSpec
from penstock.deploy.autoscaler.definitions import RunnerTemplate
from penstock.deploy.autoscaler.gpu_choice import gpus_for, runner_arguments
from penstock.deploy.autoscaler.hosts import HostedRunner, HostUnavailable, RunnerHost, RunnerNotStarted

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.autoscaler")

OWNER, POOL, GPUS = "penstock.autoscaler", "penstock.pool", "penstock.gpus"
"""Labels of the containers."""
_STOP_SECONDS = 86_400
"""So long `docker stop` waits for a runner that drains, whoever says it."""
_LAST_LINES = 20
_GONE = (404, 409)
_NO_ANSWER = 900
"""From here on statuses are the client's own."""
_ENDED = ("exited", "dead")


class DockerHost(RunnerHost):
    """`owner` labels the containers: each autoscaler of an engine needs its own. `gpus` are the UUIDs of the engine's machine."""

    def __init__(
        self,
        template: RunnerTemplate,
        environment: Mapping[str, str],
        *,
        owner: str = "default",
        gpus: Sequence[str] = (),
        url: str | None = None,
    ) -> None:
        try:
            self._engine = Docker(url=url)
        except ValueError as error:
            raise HostUnavailable(
                f"no Docker engine is found ({error}): is one installed and running here? else name it by DOCKER_HOST"
            ) from error
        self._template = template
        self._environment = {**environment, **template.environment}
        self._owner = owner
        self._gpus = gpus
        self._asked: set[str] = set()
        """Those that drain: a second signal would end them at once."""

    @override
    async def runners(self) -> Sequence[HostedRunner]:
        return [await self._hosted(container) for container in await self._containers()]

    @override
    async def start(self, pool: PoolSpec, name: str) -> None:
        if not pool.image:
            raise RunnerNotStarted(f"the pool {pool.name!r} names no image for its runners; give its definition `image: ...`")
        taken = [gpu for container in await self._containers() for gpu in container["Labels"].get(GPUS, "").split(",")]
        config = self._config(pool, name, gpus_for(pool, self._gpus, taken))
        async with _reached():
            await self._fetched(pool.image)
            try:
                made = await self._engine.containers.create(config, name=name)
            except DockerError as error:
                raise _not_started(pool, error) from error
            try:
                await made.start()  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
            except DockerError as error:
                await made.delete(force=True, v=True)
                raise _not_started(pool, error) from error

    @override
    async def drain(self, name: str) -> None:
        if name in self._asked:
            return
        async with _reached(unless=_GONE):
            container = await self._engine.containers.get(name)  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
            await container.kill(signal="SIGTERM")
        self._asked.add(name)

    @override
    async def remove(self, name: str) -> None:
        async with _reached(unless=_GONE):
            container = await self._engine.containers.get(name)  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
            await container.delete(v=True)
        self._asked.discard(name)

    @override
    async def close(self) -> None:
        await self._engine.close()

    async def _containers(self) -> list[Any]:
        filters = {"label": [f"{OWNER}={self._owner}"]}
        async with _reached():
            return list(await self._engine.containers.list(all=True, filters=filters))  # pyright: ignore[reportUnknownMemberType]  # its keywords have no types
        return []

    async def _hosted(self, container: Any) -> HostedRunner:
        name, pool = str(container["Names"][0]).removeprefix("/"), str(container["Labels"][POOL])
        if container["State"] not in _ENDED:
            return HostedRunner(name=name, pool=pool)
        code, words = 0, ""
        async with _reached(unless=_GONE):
            code = int((await container.show())["State"]["ExitCode"])
            words = "".join(await container.log(stdout=True, stderr=True, tail=_LAST_LINES))
        return HostedRunner(name=name, pool=pool, exit_code=code, last_words=words)

    async def _fetched(self, image: str) -> None:
        """Pulls the image where the engine does not have it."""
        try:
            await self._engine.images.inspect(image)
        except DockerError as error:
            if error.status != _GONE[0]:
                raise
        else:
            return
        log.info("image.pulled", image=image)
        reason = ""
        try:
            async for step in self._engine.images.pull(image, stream=True):
                reason = str(step.get("error", "")) or reason
        except DockerError as error:
            if error.status >= _NO_ANSWER:
                raise
            reason = error.message
        if reason:
            raise RunnerNotStarted(f"the image {image!r} is not on the Docker engine, and can't be pulled: {reason}")

    def _config(self, pool: PoolSpec, name: str, gpus: Sequence[str]) -> dict[str, Any]:
        variables = {**self._environment, "PENSTOCK_NAME": name}
        host: dict[str, Any] = {
            "NetworkMode": self._template.network,
            "Binds": list(self._template.mounts),
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        }
        if self._template.network == "host":
            # All would listen at the same port.
            variables.setdefault("PENSTOCK_HEALTH_ADDRESS", "")
        if gpus:
            host["DeviceRequests"] = [{"Driver": "nvidia", "Capabilities": [["gpu"]], "DeviceIDs": list(gpus)}]
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return {
            "Image": pool.image,
            "Cmd": runner_arguments(pool),
            "Env": [f"{key}={value}" for key, value in variables.items()],
            "Labels": {OWNER: self._owner, POOL: pool.name, GPUS: ",".join(gpus)},
            "StopSignal": "SIGTERM",
            "StopTimeout": _STOP_SECONDS,
            "HostConfig": host,
        }


def _not_started(pool: PoolSpec, error: DockerError) -> Exception:
    if error.status >= _NO_ANSWER:
        return error
    return RunnerNotStarted(f"the Docker engine does not start a runner of the pool {pool.name!r}: {error.message}")


@asynccontextmanager
async def _reached(unless: Sequence[int] = ()) -> AsyncGenerator[None]:
    """:raises HostUnavailable: the engine did not answer inside the block, or refused. Statuses of `unless` are as good."""
    try:
        yield
    except DockerError as error:
        if error.status not in unless:
            raise HostUnavailable(f"the Docker engine refused, or can't be reached: {error.message}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise HostUnavailable(f"the Docker engine can't be reached: {error}; is it running, and may this user use its socket?") from error
