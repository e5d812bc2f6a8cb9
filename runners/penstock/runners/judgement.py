"""Whether a process that has imported the user's code may fork: threads, OpenMP, CUDA and sockets don't survive it.

Native threads that a third-party package started while it was imported (a BLAS pool) handle forks themselves; threads
that the user's own top-level statements started, and Python threads of anybody, don't.
"""

import builtins
import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TASKS = Path("/proc/self/task")
_CUDA_DEVICE = "/dev/nvidia-uvm"
"""Open wherever CUDA was started, by whichever library; asking NVML does not open it."""
_OPENMP = ("libgomp", "libomp", "libiomp")


class ThreadWatch:
    """Counts the native threads that imports of third-party packages start, while the user's modules are imported."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._depth = 0
        self._last_line = ""
        self.by_packages = 0
        self.begun_below = ""
        """The last import of a user's module before other threads were seen."""

    @contextmanager
    def watching(self) -> Generator[None]:
        """Replaces `__import__` inside the block."""
        original = builtins.__import__
        builtins.__import__ = self._wrapped(original)
        try:
            yield
        finally:
            builtins.__import__ = original
            self._look()

    @property
    def by_users(self) -> int:
        """Native threads that nobody's import explains, Python threads among them."""
        return native_threads() - 1 - max(0, self.by_packages)

    def _look(self) -> None:
        if not self.begun_below and self.by_users > threading.active_count() - 1:
            self.begun_below = self._last_line

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(name: str, globals: dict[str, Any] | None = None, *rest: Any, **named: Any) -> Any:  # noqa: A002  # as __import__ has it
            file = str((globals or {}).get("__file__", ""))
            if self._depth or not file.startswith(self._root):
                return original(name, globals, *rest, **named)
            self._look()
            self._last_line = f"{file.removeprefix(self._root)}:{sys._getframe(1).f_lineno}"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # whose import it is
            if self._is_users(name):
                return original(name, globals, *rest, **named)
            before = self.by_users - threading.active_count()
            self._depth += 1
            try:
                return original(name, globals, *rest, **named)
            finally:
                self._depth -= 1
                self.by_packages += self.by_users - threading.active_count() - before

        return watched

    def _is_users(self, name: str) -> bool:
        top = name.partition(".")[0]
        module = sys.modules.get(top)
        if module is not None:
            return str(getattr(module, "__file__", "") or "").startswith(self._root)
        return (Path(self._root) / top).is_dir() or (Path(self._root) / f"{top}.py").is_file()


def native_threads() -> int:
    """Threads of this process as the kernel counts them; 0 where it does not say."""
    try:
        return sum(1 for _ in _TASKS.iterdir())
    except OSError:
        return 0


def verdict(watch: ThreadWatch, own_descriptors: set[int]) -> str:
    """Why this process must not fork; empty where it may."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        return "CUDA is initialised while it is imported"
    if _has_open(_CUDA_DEVICE):
        return "CUDA is started while it is imported"
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        names = ", ".join(_described(thread) for thread in others[:3])
        return f"a thread is running after it is imported ({names})"
    if watch.by_users > 0:
        kind = "OpenMP" if uses_openmp() else "native"
        place = f" (begun below {watch.begun_below})" if watch.begun_below else ""
        return f"a team of {kind} threads is alive after it is imported{place}"
    if sockets := _sockets(own_descriptors):
        return f"{sockets} open socket{'s' if sockets > 1 else ''} after it is imported"
    return ""


def _described(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    code = getattr(target, "__code__", None)
    return f"{thread.name} at {Path(code.co_filename).name}:{code.co_firstlineno}" if code else thread.name


def uses_openmp() -> bool:
    """Whether an OpenMP runtime is loaded."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return False
    return any(name in maps for name in _OPENMP)


def _has_open(place: str) -> bool:
    descriptors = Path("/proc/self/fd")
    for entry in descriptors.iterdir() if descriptors.is_dir() else ():
        with contextlib.suppress(OSError):
            if str(entry.readlink()) == place:
                return True
    return False


def _sockets(own: set[int]) -> int:
    count = 0
    descriptors = Path("/proc/self/fd")
    for entry in descriptors.iterdir() if descriptors.is_dir() else ():
        # The one that lists them is closed by now.
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:") and int(entry.name) not in own
    return count
