"""Pickle, the last resort, with two rules of ours: no file hides in it, and classes of a script or notebook are found on either side.

A pickle is loaded only from bytes whose digest was verified, in guests and in the user's own process.
"""

import pickle
import sys
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any

from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.sdk.identity.project import NOTEBOOK_MODULE, Project, module_source_file
from penstock.sdk.types import Directory, File


def write_pickle(value: Any, path: Path) -> None:
    """:raises InvalidInput: it can't be pickled, or a file is hidden in it."""
    try:
        with path.open("wb") as file:
            _Pickler(file, protocol=5).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        mend = "use plain data, a File, or an object of a class defined at the top of a module"
        raise InvalidInput(f"a value of type {type(value).__qualname__} can't be stored: {error}; {mend}") from error


def read_pickle(path: Path) -> Any:
    """:raises InvalidInput: it needs code that is not here."""
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"reading this value needs code that is not here: {error}; install it, or read the value in a step") from error


class _Pickler(pickle.Pickler):
    @override
    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, File | Directory):
            raise InvalidInput(f"{obj!r} is inside an object that is stored as a whole; give it on its own or in a list or dict")

    @override
    def reducer_override(self, obj: Any) -> Any:
        # `__main__` is another module in a guest, so what is defined there goes by the name that guests know.
        if not isinstance(obj, type | FunctionType) or "<" in obj.__qualname__:
            # What is made inside a function has no name to be found by: the pickler says so.
            return NotImplemented
        from penstock.sdk.identity.named_code import code_digest  # noqa: PLC0415 -- guests that pickle nothing need no analysis of code

        module = _name_of_main() if obj.__module__ == "__main__" else obj.__module__
        digest = code_digest(obj)
        if module is None or (digest is None and obj.__module__ != "__main__"):
            return NotImplemented
        # With the code in the bytes, an edited method is another value for those who read it.
        return imported, (module, obj.__qualname__, digest)


class _Unpickler(pickle.Unpickler):
    @override
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return imported(module_name, global_name) if _may_be_main(module_name) else super().find_class(module_name, global_name)


def imported(module: str, qualified_name: str, _code: str | None = None) -> Any:
    """A class or function by the module that guests import; in the script or notebook that is that module, its own."""
    if _may_be_main(module) and module == _name_of_main():
        try:
            return attrgetter(qualified_name)(sys.modules["__main__"])
        except AttributeError:
            pass  # It is not defined in this part of the script.
    return attrgetter(qualified_name)(import_module(module))


def _may_be_main(module: str) -> bool:
    """A cheap test before the thorough one."""
    stem = Path(getattr(sys.modules["__main__"], "__file__", None) or NOTEBOOK_MODULE).stem
    return module.rpartition(".")[2] in (stem, NOTEBOOK_MODULE)


@cache
def _name_of_main() -> str | None:
    """The name by which guests import what is `__main__` here."""
    main = sys.modules["__main__"]
    if module_source_file(main) is None or "_ih" in vars(main):
        return NOTEBOOK_MODULE
    return Project.of(main).module_name(main)
