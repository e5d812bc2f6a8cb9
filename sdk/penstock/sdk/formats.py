"""How values that are not JSON become bytes: tables as Parquet, numpy arrays as .npy, all else as pickle.

A library is used only for values of its own types, so none is ever imported here for a value that doesn't need it. Pickle is loaded only
from bytes whose digest was verified, in guests and in the user's own process.
"""

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from penstock.contracts.errors import InvalidInput
from penstock.sdk.types import Directory, File

PARQUET = "application/vnd.apache.parquet"
NPY = "application/x-npy"
PICKLE = "application/x-python-pickle"
FILE = "application/octet-stream"
PNG = "image/png"


class Format(NamedTuple):
    media_type: str
    suffix: str
    write: Callable[[Any, Path], None]
    """May raise `Unfit`: then the next format is tried."""


class Unfit(Exception):
    """A format can't hold this value and give it back as it is."""


def formats_for(value: object) -> list[Format]:
    """The formats to try for `value`, best first."""
    formats = [Format(PICKLE, ".pickle", write_pickle)]
    library = type(value).__module__.partition(".")[0]
    if library == "numpy" and type(value).__name__ == "ndarray":
        formats.insert(0, Format(NPY, ".npy", _write_array))
    elif library in ("pandas", "polars", "pyarrow") and type(value).__name__ in ("DataFrame", "Series", "Table"):
        tables = importlib.import_module("penstock.sdk.tables") if _has_pyarrow() else None
        if tables is not None:
            formats.insert(0, Format(PARQUET, ".parquet", tables.write_table))
    return formats


def read_format(media_type: str, path: Path) -> Any:
    """The value in a file of one of the formats; the file's digest was verified.

    :raises InvalidInput: it can't be read here, and what is missing.
    """
    match media_type:
        case "application/x-python-pickle":
            return _read_pickle(path)
        case "application/x-npy":
            return importlib.import_module("numpy").load(path, allow_pickle=False)
        case "application/vnd.apache.parquet":
            if not _has_pyarrow():
                raise InvalidInput("this value is a table in Parquet; reading it needs pyarrow, which is not installed here")
            return importlib.import_module("penstock.sdk.tables").read_table(path)
        case _:
            return File(path)


def write_pickle(value: Any, path: Path) -> None:
    """:raises InvalidInput: it can't be pickled, or holds a `File` or `Directory`, whose path would mean nothing to a reader."""
    try:
        with path.open("wb") as file:
            _Pickler(file, protocol=5).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        hint = "return plain data, a File, or an object of a class defined at the top of a module"
        raise InvalidInput(f"a value of type {type(value).__qualname__} can't be stored: {error}; {hint}") from error


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, File | Directory):
            raise InvalidInput(f"{obj!r} is inside an object that is stored as a whole; return it on its own, in a list, dict or NamedTuple")


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  # its digest was verified: these bytes a step of this workspace made
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"this value needs a module or class that is not here: {error}; import it, or read the value in a step") from error


def _write_array(value: Any, path: Path) -> None:
    if value.dtype.hasobject:
        raise Unfit
    with path.open("wb") as file:
        importlib.import_module("numpy").save(file, value, allow_pickle=False)


def _has_pyarrow() -> bool:
    return "pyarrow" in sys.modules or importlib.util.find_spec("pyarrow") is not None
