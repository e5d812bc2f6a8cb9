"""How values that are not JSON become bytes: tables as Parquet, numpy arrays as .npy, all else as pickle.

A library is used only for values of its own types, so none is ever imported here for a value that doesn't need it.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from penstock.sdk.types import File
from penstock.sdk.values.pickles import read_pickle, write_pickle
from penstock.sdk.values.staged import Unfit
from penstock.sdk.values.tables import is_table, read_table, write_table

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
        return read_pickle(path)
    if media_type == NPY:
        return import_module("numpy").load(path, allow_pickle=False)
    return read_table(path) if media_type == PARQUET else File(path)


def is_figure(value: object) -> bool:
    """Whether it is a figure of matplotlib."""
    return any(base.__module__ == "matplotlib.figure" and base.__name__ == "Figure" for base in type(value).__mro__)


def write_figure(value: Any, path: Path) -> None:
    """A figure as PNG, without the version and time that would make equal figures differ."""
    value.savefig(path, format="png", metadata={"Software": None, "Creation Time": None})


def _write_array(value: Any, path: Path) -> None:
    if value.dtype.hasobject:
        raise Unfit("its items are Python objects")
    with path.open("wb") as file:
        import_module("numpy").save(file, value, allow_pickle=False)


_PICKLED = Format(PICKLE, ".pickle", write_pickle)
_ARRAY = Format(NPY, ".npy", _write_array)
_TABLE = Format(PARQUET, ".parquet", write_table)
