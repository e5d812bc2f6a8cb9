"""Tables (pandas, polars, pyarrow) in Parquet: the same table gives the same bytes, and comes back with its index and types.

What Parquet would change (units of time, objects of mixed types, labels) is refused, so that it is stored otherwise.
"""

import json
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from penstock.contracts.errors import InvalidInput
from penstock.sdk.values.staged import Unfit

_KIND = b"penstock.table"
_SERIES_NAME = b"penstock.series-name"
_FREQUENCY = b"penstock.index-frequency"
_COLUMN_RANGE = b"penstock.column-range"
_COLUMN = "value"
# Below it, starting threads costs more than it saves.
_THREADS_FROM_BYTES = 32 * 1024 * 1024


def is_table(value: object) -> bool:
    return _kind_of(value) in _WRITERS and find_spec("pyarrow") is not None


def write_table(value: Any, path: Path) -> None:
    """Writes a table to `path`.

    :raises Unfit: Parquet can't hold it and give it back as it is.
    """
    arrow, parquet = _arrow(), _parquet()
    kind = _kind_of(value)
    try:
        table = _WRITERS[kind](value).combine_chunks()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KIND: kind.encode()})
        parquet.write_table(table, path)
        stored = parquet.read_schema(path)
    except (arrow.ArrowException, NotImplementedError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unfit(str(error)) from error
    if [_essence(field.type) for field in stored] != [_essence(field.type) for field in table.schema]:
        raise Unfit("Parquet would change its types")


def read_table(path: Path) -> Any:
    """The table in a file that `write_table` wrote, or any Parquet file (as pandas).

    :raises InvalidInput: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise InvalidInput("this value is a table in Parquet; reading it needs pyarrow, which is not installed here")
    threads = path.stat().st_size >= _THREADS_FROM_BYTES
    table = _parquet().ParquetFile(path).read(use_threads=threads)
    metadata: dict[bytes, bytes] = dict(table.schema.metadata or {})
    kind = metadata.pop(_KIND, b"pandas.DataFrame").decode()
    if kind == "pyarrow.Table":
        return table.replace_schema_metadata(metadata or None)
    if kind == "polars.DataFrame":
        return import_module("polars").from_arrow(table)
    frame = table.to_pandas(use_threads=threads)
    if _FREQUENCY in metadata:
        frame.index.freq = metadata[_FREQUENCY].decode()
    if _COLUMN_RANGE in metadata:
        frame.columns = import_module("pandas").RangeIndex(*json.loads(metadata[_COLUMN_RANGE]), name=frame.columns.name)
    if kind == "pandas.Series":
        name = metadata.get(_SERIES_NAME)
        return frame[_COLUMN].rename(None if name is None else name.decode())
    return frame


def _from_frame(frame: Any) -> Any:
    columns = frame.columns
    if "mixed" in columns.inferred_type:
        raise Unfit("its column labels are of several types")
    table = _arrow().Table.from_pandas(frame, nthreads=1)
    labels = table.schema.empty_table().to_pandas().columns
    if not labels.equals(columns) or labels.dtype != columns.dtype or labels.names != columns.names:
        raise Unfit("Parquet would change its column labels")
    objects = frame[[label for label, dtype in frame.dtypes.items() if str(dtype) == "object"]]
    levels = getattr(frame.index, "levels", [frame.index])
    if len(objects.columns) or any(str(level.dtype) == "object" for level in levels):
        # Not only equal: of the same classes, because 1 equals True.
        back = table.to_pandas()[objects.columns]
        if not (back.equals(objects) and back.map(type).equals(objects.map(type)) and back.index.equals(frame.index)):
            raise Unfit("Parquet would change its objects")
    if type(columns).__name__ == "RangeIndex":
        table = _with_metadata(table, _COLUMN_RANGE, json.dumps([columns.start, columns.stop, columns.step]))
    return _with_metadata(table, _FREQUENCY, getattr(frame.index, "freqstr", None))


def _from_series(series: Any) -> Any:
    if series.name is not None and type(series.name) is not str:
        raise Unfit("its name is not text")
    return _with_metadata(_from_frame(series.to_frame(_COLUMN)), _SERIES_NAME, series.name)


def _from_polars(frame: Any) -> Any:
    return frame.to_arrow()


def _from_arrow(table: Any) -> Any:
    return table


_WRITERS = {
    "pandas.DataFrame": _from_frame,
    "pandas.Series": _from_series,
    "polars.DataFrame": _from_polars,
    "pyarrow.Table": _from_arrow,
}


def _with_metadata(table: Any, key: bytes, text: str | None) -> Any:
    return table if text is None else table.replace_schema_metadata({**(table.schema.metadata or {}), key: text.encode()})


def _essence(kind: Any) -> Any:
    """An Arrow type; of a dictionary what it holds, because Parquet is free in the width of its indexes and texts."""
    if not _arrow().types.is_dictionary(kind):
        return kind
    return (str(kind.value_type).removeprefix("large_"), kind.ordered)


def _kind_of(value: object) -> str:
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"


@cache
def _arrow() -> Any:
    return import_module("pyarrow")


@cache
def _parquet() -> Any:
    return import_module("pyarrow.parquet")
