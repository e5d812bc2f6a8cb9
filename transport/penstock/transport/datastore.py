"""Datastores: users' named places outside (a bucket, a folder, a web server), from which data is read. Adapters are in `datastores/`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import digest_of

Kind = Literal["file", "directory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object in a datastore. `mark` is its ETag, or the digest of a local file: other content has another mark.

    `changed_at` is in microseconds since 1970 UTC, by the datastore's clock; 0 where it does not say.
    """

    uri: str
    mark: str
    size: int
    changed_at: int


class Datastores(Protocol):
    """All that are declared, whatever workspace they are for; ask for those `of` a workspace first.

    Promised: nothing is read but what is below a datastore that the operator declared; what `take` stores is one state of the object,
    never a mixture of two. Not promised: that an object is still as it was found.
    """

    def of(self, workspace: str) -> "Datastores":
        """Those that this workspace may read; of the others it is not even told."""
        ...

    async def find(self, uri: str) -> list[FoundObject]:
        """The objects at `uri`, in order: one object, those that its wildcards fit (`s3://lake/daily/*.csv`; `**` for any depth), or all
        below a prefix that ends in `/`. Nothing there: an empty list.

        :raises InvalidInput: it is below no declared datastore, or can't be read as a URI.
        :raises DatastoreUnavailable: the datastore can't be reached, or refuses us.
        """
        ...

    async def take(self, uri: str, kind: Kind, mark: str | None = None) -> ArtifactRef:
        """Brings a file, or all below a prefix as one directory, into the artifact store; the suffix of its name is kept.

        :param mark: of the file, or `mark_of` all below the prefix: no other state is taken
        :raises DataChanged: it is not at `mark` any more, or changed while it was read; nothing is stored.
        :raises InvalidInput: nothing is there, or as `find`.
        :raises DatastoreUnavailable: as `find`.
        :raises StoreUnavailable: the artifact store can't take it now.
        """
        ...


def mark_of(objects: Iterable[FoundObject]) -> str:
    """Of several objects together: another one, one less, or one that changed, and the mark is another."""
    return digest_of(sorted([one.uri, one.mark] for one in objects))
