"""Cache entries as engines share them: what a key's outputs are, as immutable JSON beside the artifacts that they name."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.contracts.artifacts import Value
from penstock.contracts.encoding import canonical
from penstock.contracts.errors import ContractError, UnknownVersion
from penstock.contracts.numbers import Count, Seconds


class SharedEntry(BaseModel):
    """`outputs` were made at `made_at` (microseconds since 1970 UTC) in `seconds`, by the run that people call `run_name`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    outputs: dict[str, Value]
    made_at: Count
    seconds: Seconds = 0.0
    run_name: str = ""


def encode_entry(entry: SharedEntry) -> bytes:
    """The canonical bytes of an entry."""
    return canonical({**entry.model_dump(mode="json", exclude_defaults=True), "version": entry.version})


def decode_entry(data: bytes) -> SharedEntry:
    """The entry in bytes that somebody else wrote.

    :raises UnknownVersion: written by a newer Penstock.
    :raises ContractError: no entry.
    """
    try:
        return SharedEntry.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("version",):
            raise UnknownVersion("this cache entry was written by another version of Penstock") from error
        raise ContractError(f"not a cache entry: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
