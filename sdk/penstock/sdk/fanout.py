"""Fan-out and fan-in: `each` opens a dimension, `collect` closes the innermost."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, cast, overload

from penstock.contracts.bindings import FromItem, FromNode
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import CollectSpec
from penstock.sdk.drawing.annotations import item_of, list_of, may_be_list, optional, text_of
from penstock.sdk.drawing.drawing import Drawing, Scoped, bound, needed_drawing
from penstock.sdk.drawing.handles import Handle, Source, handles_in, source_of
from penstock.sdk.drawing.openings import Opening, Scope, joined, names_of
from penstock.sdk.drawing.places import user_place

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Missing = Literal["fail", "drop", "none"]


@overload
def each(items: Iterable[T], /) -> T: ...
@overload
def each(items: Iterable[T], /, *, batch: int) -> list[T]: ...
@overload
def each(a: Iterable[A], b: Iterable[B], /) -> tuple[A, B]: ...
@overload
def each(a: Iterable[A], b: Iterable[B], c: Iterable[C], /) -> tuple[A, B, C]: ...
def each(*lists: Iterable[Any], batch: int | None = None) -> Any:
    """Whatever takes the item runs once for each: `train(data, depth=each(depths))`. Two lists are zipped.

    With `batch`, so many items at a time, as a list.
    """
    drawing = needed_drawing("each(...)")
    if not lists:
        raise GraphError(f"{user_place()}: each(...) needs a list")
    if batch is not None and (batch < 1 or len(lists) > 1):
        raise GraphError(f"{user_place()}: each(..., batch={batch}) takes one list and at least one item at a time")
    given = tuple(_items(items) for items in lists)
    _same_length(given)
    opening = Opening(given, batch, tuple(drawing.conditions))
    labels, types = [_label(items) for items in given], [_item_type(items) for items in given]

    def source(label: str, annotation: Any, field: int | None) -> Source:
        return Source(label=label, annotation=annotation, bind=lambda: FromItem(item=_named(opening), field=field), openings=(opening,))

    if len(given) == 1:
        return Handle(source(f"each({labels[0]})", types[0] if batch is None else list_of(types[0]), None))
    return tuple(Handle(source(f"each({', '.join(labels)})[{i}]", annotation, i)) for i, annotation in enumerate(types))


def _named(opening: Opening) -> str:
    if opening.name is None:
        raise GraphError(f"{opening.place}: the item of this each(...) is used where no step takes it; give it to a step first")
    return opening.name


def _items(items: object) -> object:
    if isinstance(items, Handle):
        source = items.__penstock__
        if not may_be_list(source.annotation):
            raise GraphError(f"{user_place()}: each(...) takes a list, and {source.label} is {text_of(source.annotation)}")
        return items
    if not isinstance(items, Iterable) or isinstance(items, str | bytes | Mapping):
        raise GraphError(f"{user_place()}: each(...) takes a list, not {items!r}")
    return list(cast(Iterable[object], items))


def _same_length(lists: tuple[object, ...]) -> None:
    lengths = {len(cast(list[object], items)) for items in lists if isinstance(items, list)}
    if len(lengths) > 1:
        raise GraphError(f"{user_place()}: each(a, b) zips lists of one length; these have {' and '.join(map(str, sorted(lengths)))}")


def _label(items: object) -> str:
    source = source_of(items)
    return "[...]" if source is None else source.label


def _item_type(items: object) -> Any:
    source = source_of(items)
    if source is not None:
        return item_of(source.annotation)
    kinds = {type(item) for item in cast(list[object], items)}
    return kinds.pop() if len(kinds) == 1 and not handles_in(items) else Any


@overload
def collect(item: T, *, missing: Literal["none"], at_least: float = 1.0, until: bool | None = None) -> list[T | None]: ...
@overload
def collect(item: T, *, missing: Literal["fail", "drop"] = "fail", at_least: float = 1.0, until: bool | None = None) -> list[T]: ...
def collect(item: Any, *, missing: Missing = "fail", at_least: float = 1.0, until: bool | None = None) -> Any:
    """The list of a fan-out's items, in order, once all are there.

    `missing` says what a failed or skipped item does; at least the share `at_least` must be there. The first item for which `until`
    holds cancels the others.
    """
    drawing = needed_drawing("collect(...)")
    handles = handles_in(item)
    if not handles:
        raise GraphError(f"{user_place()}: collect(...) got {item!r}, which is no item of a fan-out")
    if not 0.0 <= at_least <= 1.0:
        raise GraphError(f"{user_place()}: at_least={at_least} is a share between 0 and 1")
    label, annotation = _described(item, handles)
    placed = drawing.place({"item": item} if until is None else {"item": item, "until": until}, f"collect({label})")
    over, outside = _closed(drawing, handles, placed, label)
    collected = handles[0].__penstock__.node or over.name or "items"
    name = drawing.name_for(f"collect-{collected.removeprefix(drawing.prefix).replace('/', '.')}"[:63])
    node = CollectSpec(
        name=name,
        collect=bound(drawing, item),
        over=over.name or "",
        missing=missing,
        at_least=at_least,
        until=None if until is None else bound(drawing, until),
        scope=names_of(outside),
        when=placed.when,
    )
    drawing.add(node)
    found = list_of(optional(annotation) if missing == "none" else annotation)
    return Handle(Source(label=f"collect({label})", annotation=found, bind=lambda: FromNode(node=name), openings=outside[-1:], node=name))


def _closed(drawing: Drawing, handles: list[Handle], placed: Scoped, label: str) -> tuple[Opening, Scope]:
    """The innermost fan-out of the items, and what is around it.

    :raises GraphError: they are no items, or a condition is in the way.
    """
    scope = joined([drawing.base, *(opening.scope for handle in handles for opening in handle.__penstock__.openings)], f"collect({label})")
    if len(scope) == len(drawing.base):
        raise GraphError(
            f"{user_place()}: collect({label}): {label} is no item of a fan-out: it is there once; pass it as it is, or in a list"
        )
    if placed.scope != scope:
        raise GraphError(f"{user_place()}: collect({label}) is under a condition of another fan-out; collect outside of that block")
    if any(scope[-1] in handle.__penstock__.openings for handle in drawing.conditions):
        raise GraphError(
            f"{user_place()}: collect({label}) is under a condition that each item decides for itself; collect outside of the `with` block"
        )
    return scope[-1], scope[:-1]


def _described(item: object, handles: list[Handle]) -> tuple[str, Any]:
    source = source_of(item)
    return (handles[0].__penstock__.label, Any) if source is None else (source.label, source.annotation)
