"""Conditions: blocks of steps that happen only if values allow it, and values of one branch or the other."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

from penstock.contracts.bindings import Binding, Compare, Either, ListOf, Not
from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.drawing import Drawing, bound, needed_drawing
from penstock.sdk.drawing.handles import Handle, Source, handles_in, source_of
from penstock.sdk.drawing.places import user_place

T = TypeVar("T")


def when(*conditions: bool) -> AbstractContextManager[None]:
    """The steps called in the block happen only if all conditions hold: `with when(score >= floor, approved):`."""
    drawing = needed_drawing("when(...)")
    return _block(drawing, _checked("when", conditions))


def otherwise() -> AbstractContextManager[None]:
    """The other branch of the `when` block just before, at the same depth."""
    drawing = needed_drawing("otherwise()")
    before = drawing.last_blocks.pop(len(drawing.conditions), None)
    if before is None:
        raise GraphError(f"{user_place()}: otherwise() has no `with when(...):` block before it at the same depth")
    return _block(drawing, (_negated(drawing, before),))


def not_(condition: bool) -> bool:
    """The opposite of a condition."""
    drawing = needed_drawing("not_(...)")
    return cast(bool, _negated(drawing, _checked("not_", (condition,))))


def either(*options: T) -> T:
    """The first of the options that was not skipped: the value of whichever branch was taken."""
    drawing = needed_drawing("either(...)")
    if len(options) < 2:
        raise GraphError(f"{user_place()}: either(a, b) needs two values or more")
    handles = handles_in(list(options))
    first = next((source for option in options if (source := source_of(option)) is not None), None)
    if first is None:
        raise GraphError(f"{user_place()}: either(...) chooses among results of steps, and none of these is one")
    source = Source(
        label=f"either({', '.join(_label(option) for option in options)})",
        annotation=first.annotation,
        bind=lambda: Either(either=tuple(bound(drawing, option) for option in options)),
        openings=tuple(opening for handle in handles for opening in handle.__penstock__.openings),
    )
    return cast(T, Handle(source))


@contextmanager
def _block(drawing: Drawing, conditions: tuple[Handle, ...]) -> Generator[None]:
    depth = len(drawing.conditions)
    with drawing.under(conditions):
        yield
    drawing.last_blocks = {level: block for level, block in drawing.last_blocks.items() if level < depth}
    drawing.last_blocks[depth] = conditions


def _checked(what: str, conditions: tuple[Any, ...]) -> tuple[Handle, ...]:
    if not conditions:
        raise GraphError(f"{user_place()}: {what}() needs a condition")
    for condition in conditions:
        source = source_of(condition)
        if source is None:
            raise GraphError(
                f"{user_place()}: {what}(...) got the constant {condition!r}, which is known now: use a plain `if`, "
                "or compare a result of a step (score >= floor)"
            )
        if source.annotation not in (bool, Any):
            raise GraphError(
                f"{user_place()}: {what}(...) got {source.label}, which is no condition: "
                f"compare it ({source.label} >= ...), or return a bool from a step"
            )
    return conditions


def _negated(drawing: Drawing, conditions: tuple[Handle, ...]) -> Handle:
    sources = [handle.__penstock__ for handle in conditions]

    def bind() -> Binding:
        bindings = tuple(source.bind() for source in sources)
        if len(bindings) == 1:
            return Not(negate=bindings[0])
        return Compare(compare="!=", left=ListOf(list=bindings), right=bound(drawing, [True] * len(bindings)))

    label = f"not ({' and '.join(source.label for source in sources)})"
    openings = tuple(opening for source in sources for opening in source.openings)
    return Handle(Source(label=label, annotation=bool, bind=bind, openings=openings, is_condition=True))


def _label(option: object) -> str:
    source = source_of(option)
    return repr(option) if source is None else source.label
