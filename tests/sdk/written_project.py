"""A user's project that a test writes, imports and asks for closures."""

import importlib
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from penstock.sdk.identity.closure import Closure, closure_of


def prepend_to_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()


class WrittenProject:
    """Modules in a folder of their own, which is first on the path."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        prepend_to_path(monkeypatch, self.root)
        # Bytecode is told apart by whole seconds, and tests write a module twice in one.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(self, path: str, source: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))

    def replace(self, path: str, old: str, new: str) -> None:
        source = (self.root / path).read_text()
        assert old in source, f"{path} has no {old!r}"
        (self.root / path).write_text(source.replace(old, new))

    def closure(self, function: str, module: str = "pipeline") -> Closure:
        """The closure of a function of a freshly imported module."""
        self.forget()
        found: object = importlib.import_module(module)
        for name in function.split("."):
            found = getattr(found, name)
        found = getattr(found, "fn", found)
        assert callable(found)
        return closure_of(found)

    def digest(self, function: str, module: str = "pipeline") -> str:
        return self.closure(function, module).identity.digest

    def forget(self) -> None:
        """Takes the project's modules out of the interpreter."""
        importlib.invalidate_caches()
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if file.startswith(str(self.root)):
                del sys.modules[name]
