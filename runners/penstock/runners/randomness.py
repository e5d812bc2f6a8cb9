"""Seeds random, numpy and torch from the cache key: the same inputs draw the same numbers, and other inputs draw others."""

import hashlib
import importlib.abc
import random
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from typing_extensions import override

_LATE = ("numpy.random", "torch")


def seed_everything(key: str) -> int:
    """Seeds what is imported already, and what will be as soon as it is. Returns the seed, 32 bits.

    Without this, forked guests would all draw the numbers that come next in the zygote's state.
    """
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    random.seed(seed)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _SeedsWhenImported)]
    late = [name for name in _LATE if not _seed_imported(name, seed)]
    if late:
        sys.meta_path.insert(0, _SeedsWhenImported(late, seed))
    return seed


def _seed_imported(name: str, seed: int) -> bool:
    module = sys.modules.get(name)
    if module is None:
        return False
    _seed(module, seed)
    return True


def _seed(module: ModuleType, seed: int) -> None:
    for function in ("seed", "manual_seed"):
        if callable(seeder := getattr(module, function, None)):
            seeder(seed)
            break
    # Where `numpy.random.default_rng()` gets its entropy from when it is given none.
    entropy: Any = getattr(module, "bit_generator", None)
    if hasattr(entropy, "randbits"):
        entropy.randbits = random.Random(seed).getrandbits  # noqa: S311 - repeatable is what it is to be


class _SeedsWhenImported(importlib.abc.MetaPathFinder):
    """Seeds a module right after its own code was executed."""

    def __init__(self, names: list[str], seed: int) -> None:
        self._names = names
        self._seed = seed

    @override
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        self._names.remove(fullname)
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                _seed_after(spec.loader, self._seed)
                return spec
        return None


def _seed_after(loader: importlib.abc.Loader, seed: int) -> None:
    execute = loader.exec_module

    def executed(module: ModuleType) -> None:
        execute(module)
        _seed(module, seed)

    # The loader is this module's own: no other module is executed by it.
    loader.exec_module = executed  # type: ignore[method-assign]  # that is how one hears of the end of an import
