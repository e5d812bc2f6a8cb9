"""The items of a list value, in whichever of its forms it travels."""

from collections.abc import Callable
from pathlib import Path

from penstock.contracts.artifacts import ArtifactRef, ListManifest, ListValue, Value, inline
from penstock.contracts.errors import ContractError


def list_items(value: Value, local: Callable[[ArtifactRef], Path]) -> list[Value]:
    """`local` gives the file of an artifact, for a list that is one.

    :raises ContractError: the value is no list.
    """
    match value:
        case ListValue():
            return list(value.list)
        case ArtifactRef(kind="list"):
            return list(ListManifest.model_validate_json(local(value).read_bytes()).items)
        case ArtifactRef() if (items := value.json_list()) is not None:
            return [inline(item) for item in items]
        case _:
            raise ContractError("the value is not a list")
