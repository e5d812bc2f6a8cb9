"""Who uses and who changes an environment, among all processes of this machine: locks on a file that end with their process."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_LOOKING_SECONDS = 0.1


@contextmanager
def in_use(file: Path) -> Generator[bool]:
    """Whether it may be used: nobody changes it. While it lasts, nobody does. The file's time says when it was used last."""
    with _opened(file) as descriptor:
        is_ours = _locked(descriptor, fcntl.LOCK_SH)
        if is_ours:
            os.utime(descriptor)
        yield is_ours


@contextmanager
def if_unused(file: Path) -> Generator[bool]:
    """Whether nobody uses it; while it lasts, nobody does."""
    with _opened(file) as descriptor:
        yield _locked(descriptor, fcntl.LOCK_EX)


@asynccontextmanager
async def alone(file: Path, must_wait: Callable[[], None]) -> AsyncGenerator[None]:
    """Waits until nobody uses or changes it; while it lasts, nobody does. `must_wait` is called where that is not at once."""
    with _opened(file) as descriptor:
        if not _locked(descriptor, fcntl.LOCK_EX):
            must_wait()
            # Waiting inside of the system call could not be cancelled.
            while not _locked(descriptor, fcntl.LOCK_EX):  # noqa: ASYNC110  # what another process does has no event
                await asyncio.sleep(_LOOKING_SECONDS)
        yield


@contextmanager
def _opened(file: Path) -> Generator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
