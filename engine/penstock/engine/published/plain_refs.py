"""Every artifact that plain data refers to: a spec, parameters, what a client sent."""

from collections.abc import Iterator
from typing import Any

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import ContractError


def refs_in_plain(data: Any) -> Iterator[ArtifactRef]:
    """The refs in order.

    :raises ContractError: one is malformed.
    """
    match data:
        case {"uri": str(), "digest": str()}:
            try:
                yield ArtifactRef.model_validate(data)
            except ValueError as error:
                raise ContractError("an artifact ref is malformed") from error
        case {**parts}:
            for part in parts.values():
                yield from refs_in_plain(part)
        case [*items]:
            for item in items:
                yield from refs_in_plain(item)
        case _:
            return
