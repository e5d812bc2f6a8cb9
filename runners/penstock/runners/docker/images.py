"""The images of containers: which one a name means at this moment, fetched where the engine does not have it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiodocker import Docker, DockerError

from penstock.contracts.states import FailureKind
from penstock.runners.docker.container import NO_ANSWER, reached
from penstock.runners.failures import AttemptFailed, failure

_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Image:
    """`digest` names its content: of its manifest where it was pulled, else of its configuration."""

    id: str
    digest: str
    volumes: tuple[str, ...]


class Images:
    """Looks each name up anew: a tag may have been moved. One pull of a name at a time."""

    def __init__(self, engine: Docker) -> None:
        self._engine = engine
        self._pulling: dict[str, asyncio.Lock] = {}

    async def image(self, name: str, say: Callable[[str], None]) -> Image:
        """The image `name`; `say` is told of each layer of a pull.

        :raises AttemptFailed: there is no such image, and what to do.
        """
        with reached():
            async with self._pulling.setdefault(name, asyncio.Lock()):
                found = await self._found(name)
                if found is None:
                    await self._pull(name, say)
                    found = await self._found(name)
        if found is None:
            raise AttemptFailed(_missing(name, "it was pulled, but is not there"))
        pulled = [reference.partition("@")[2] for reference in found.get("RepoDigests") or ()]
        config: dict[str, Any] = found.get("Config") or {}
        return Image(found["Id"], pulled[0] if pulled else found["Id"], tuple(config.get("Volumes") or ()))

    async def _found(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._engine.images.inspect(name)
        except DockerError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def _pull(self, name: str, say: Callable[[str], None]) -> None:
        say(f"pulling the image {name}\n")
        try:
            async for step in self._engine.images.pull(name, stream=True):
                if "error" in step:
                    raise AttemptFailed(_missing(name, step["error"]))
                if step.get("status") in ("Pull complete", "Already exists", "Download complete"):
                    say(f"{step.get('id', '')}: {step['status']}\n")
        except DockerError as error:
            if error.status >= NO_ANSWER:
                raise
            raise AttemptFailed(_missing(name, error.message)) from error


def _missing(name: str, reason: str) -> dict[str, str]:
    hint = f"does `docker pull {name}` work on the runner's machine? is the name right, and is the engine logged in to its registry?"
    return failure(FailureKind.ENVIRONMENT, f"the image {name!r} is not there, and can't be pulled: {reason}", hint=hint)
