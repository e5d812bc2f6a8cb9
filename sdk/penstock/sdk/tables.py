"""Tables (pandas, polars, pyarrow) in Parquet: the same table gives the same bytes, and comes back with its index and types."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.sdk.formats import Unfit

_KIND = b"penstock.table"
_NAME = b"penstock.name"
_THREADS_FROM_BYTES = 32 * 1024 * 1024
_OBJECTS_KEPT = ("string", "empty", "date", "decimal", "bytes")


def write_table(value: Any, path: Path) -> None:
    """Writes a table.

    :raises Unfit: Parquet can't hold it and give it back as it is.
    """
    library = type(value).__module__.partition(".")[0]
    kind = f"{library}.{type(value).__name__}"
    try:
        table = _arrow(value, kind)
        metadata = {**(table.schema.metadata or {}), _KIND: kind.encode()}
        pq.write_table(table.replace_schema_metadata(metadata).combine_chunks(), path)
    except (pa.ArrowException, NotImplementedError, ValueError, TypeError, KeyError) as error:
        raise Unfit from error


def read_table(path: Path) -> Any:
    threads = path.stat().st_size >= _THREADS_FROM_BYTES
    table = pq.ParquetFile(path).read(use_threads=threads)
    metadata = dict(table.schema.metadata or {})
    kind = metadata.pop(_KIND, b"pandas.DataFrame").decode()
    if kind == "pyarrow.Table":
        return table.replace_schema_metadata(metadata or None)
    frame = table.to_pandas(use_threads=threads)
    return frame


def _arrow(value: Any, kind: str) -> Any:
    if kind == "pyarrow.Table":
        return value
    if kind == "pandas.DataFrame":
        return _from_pandas(value)
    raise Unfit


def _from_pandas(frame: Any) -> Any:
    return pa.Table.from_pandas(frame, nthreads=1)
