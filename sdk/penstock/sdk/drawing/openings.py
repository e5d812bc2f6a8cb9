"""Fan-outs while a pipeline is drawn. An opening is one `each(...)`; a scope is a path of openings, outermost first."""

from typing import Any

from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.places import user_place


class Opening:
    """One `each(...)`. It gets its name and its place among the others (`around`) when its item is first used."""

    def __init__(self, lists: tuple[Any, ...], batch: int | None, conditions: tuple[Any, ...]) -> None:
        self.lists = lists
        self.batch = batch
        self.conditions = conditions
        self.place = user_place()
        self.name: str | None = None
        self.around: Scope = ()

    @property
    def scope(self) -> "Scope":
        """The path of what runs once for each of its items."""
        return (*self.around, self)


Scope = tuple[Opening, ...]


def names_of(scope: Scope) -> tuple[str, ...]:
    return tuple(opening.name or "" for opening in scope)


def joined(scopes: list[Scope], what: str) -> Scope:
    """The longest of several scopes, of which every other must be the beginning.

    :raises GraphError: two are independent fan-outs.
    """
    longest: Scope = ()
    for scope in scopes:
        shorter, longer = sorted((longest, scope), key=len)
        if longer[: len(shorter)] != shorter:
            raise GraphError(
                f"{user_place()}: {what} gets items of two independent fan-outs ({_places(longest)} and {_places(scope)}), "
                "which don't line up. "
                "Zip the lists with each(a, b) where the items belong together, or collect(...) one of the two"
            )
        longest = longer
    return longest


def _places(scope: Scope) -> str:
    return " / ".join(f"{opening.name} at {opening.place}" for opening in scope)
