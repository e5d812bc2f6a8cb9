"""Requests side by side."""

import asyncio
from collections.abc import Callable, Coroutine


async def in_parallel(worker: Callable[[], Coroutine[None, None, None]], count: int) -> None:
    """Runs `worker` so many times at once; they share their work. The first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
