"""A place: one declared datastore as blocking calls, which come from threads. One module beside this one for each kind of address."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from penstock.transport.datastore import FoundObject

PIECE_BYTES = 8 * 1024 * 1024
"""What is held in memory of an object that is brought in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A datastore as an operator declares it. `url` is its root: nothing outside of it is ever read.

    `credentials` gives what a named secret holds: `ACCESS_KEY_ID:SECRET_ACCESS_KEY` for S3, a bearer token for https. None: the AWS
    variables of the process, or no credentials at all. `workspaces` may read it; None: all.
    """

    name: str
    url: str
    endpoint_url: str | None = None
    region: str | None = None
    credentials: Callable[[], str] | None = field(default=None, repr=False)
    workspaces: frozenset[str] | None = None


class Place(Protocol):
    """What is read of one datastore. Every call may raise `DatastoreUnavailable`; URIs were checked to be below the declaration's."""

    def objects(self, base: str, prefix: str, depth: int | None) -> Iterator[FoundObject]:
        """What is below the folder `base` whose path from there begins with `prefix`, at most `depth` levels down (None: any). It may give
        more than that, in any order."""
        ...

    def look(self, uri: str) -> FoundObject | None:
        """The object there; None where none is."""
        ...

    def pieces(self, found: FoundObject) -> Iterator[bytes]:
        """Its bytes. After the last of them it raises `DataChanged` if they were not all of that very state."""
        ...
