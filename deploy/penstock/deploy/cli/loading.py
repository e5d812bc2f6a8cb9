"""How this program loads its own modules: with as little work as it can."""

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def uncollected() -> Generator[None]:
    """No garbage collection inside the block. What it leaves behind is not looked through again.

    Modules are hundreds of thousands of objects that stay; collecting while they are loaded is a seventh of an all-hits run.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def absent(module: str) -> Generator[None]:
    """Hides a module that is not loaded yet from those who can do without it."""
    hidden = module not in sys.modules
    if hidden:
        # That is how the import system is told that there is no such module.
        sys.modules[module] = cast(ModuleType, None)
    try:
        yield
    finally:
        if hidden:
            del sys.modules[module]
