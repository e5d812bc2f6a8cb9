"""How values that are not JSON become bytes: tables as Parquet, numpy arrays as .npy, all else as pickle.

A library is used only for values of its own types, so none is ever imported here for a value that doesn't need it. Pickle is loaded only
from bytes whose digest was verified, in guests and in the user's own process.
"""

import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.sdk.staged import Unfit
from penstock.sdk.tables import is_table, read_table, write_table
from penstock.sdk.types import Directory, File

PARQUET = "application/vnd.apache.parquet"
NPY = "application/x-npy"
PICKLE = "application/x-python-pickle"
FILE = "application/octet-stream"
PNG = "image/png"


class Format(NamedTuple):
    """A way to write values to a file. `write` may raise `Unfit`: then the next format is tried."""

    media_type: str
    suffix: str
    write: Callable[[Any, Path], None]


def formats_for(value: object) -> list[Format]:
    """The formats to try for `value`, best first; the last one takes it or says why nothing can."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        return [_ARRAY, _PICKLED]
    return [_TABLE, _PICKLED] if is_table(value) else [_PICKLED]


def read_format(media_type: str, path: Path) -> Any:
    """The value in a file of one of the formats, whose digest was verified; a `File` for any other.

    :raises InvalidInput: it can't be read here, and what is missing.
    """
    if media_type == PICKLE:
        return _read_pickle(path)
    if media_type == NPY:
        return import_module("numpy").load(path, allow_pickle=False)
    return read_table(path) if media_type == PARQUET else File(path)


def is_figure(value: object) -> bool:
    """Whether it is a figure of matplotlib."""
    return any(base.__module__ == "matplotlib.figure" and base.__name__ == "Figure" for base in type(value).__mro__)


def write_figure(value: Any, path: Path) -> None:
    """A figure as PNG, without the version and time that would make equal figures differ."""
    value.savefig(path, format="png", metadata={"Software": None, "Creation Time": None})


class _Pickler(pickle.Pickler):
    @override
    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, File | Directory):
            raise InvalidInput(f"{obj!r} is inside an object that is stored as a whole; give it on its own or in a list or dict")


def _write_pickle(value: Any, path: Path) -> None:
    try:
        with path.open("wb") as file:
            _Pickler(file, protocol=5).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        mend = "use plain data, a File, or an object of a class defined at the top of a module"
        raise InvalidInput(f"a value of type {type(value).__qualname__} can't be stored: {error}; {mend}") from error


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  # verified bytes, made by a step of the same workspace
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"reading this value needs code that is not here: {error}; install it, or read the value in a step") from error


def _write_array(value: Any, path: Path) -> None:
    if value.dtype.hasobject:
        raise Unfit("its items are Python objects")
    with path.open("wb") as file:
        import_module("numpy").save(file, value, allow_pickle=False)


_PICKLED = Format(PICKLE, ".pickle", _write_pickle)
_ARRAY = Format(NPY, ".npy", _write_array)
_TABLE = Format(PARQUET, ".parquet", write_table)
