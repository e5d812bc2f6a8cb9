"""The drawing in progress: the nodes that a pipeline's body has made so far, in order, and the blocks that it is in."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from penstock.contracts.bindings import Binding, ListOf, Literal_, RecordOf
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import CollectSpec, EachSpec, Node, StepSpec
from penstock.sdk.drawing.annotations import fields_of, is_named_tuple
from penstock.sdk.drawing.constants import Constants
from penstock.sdk.drawing.handles import Handle, bind_constant, bind_template, handles_in, source_of
from penstock.sdk.drawing.openings import Opening, Scope, joined, names_of
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.templates import has_marker, marking
from penstock.sdk.options import StepOptions

# 63 as every name that ends in a routing key.
_STEP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Scoped:
    """Where a node stands: its scope and its conditions."""

    scope: Scope
    when: tuple[Binding, ...]


class Drawing:
    """`makers` says by step name what made it: a `Step` or a command. `returned` is what the body gave back. `components` are the
    published components that were taken in, by the reference to them: within a drawing it means one version."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.makers: dict[str, Any] = {}
        self.constants = Constants()
        self.conditions: list[Handle] = []
        self.last_blocks: dict[int, tuple[Handle, ...]] = {}
        self.base: Scope = ()
        self.prefix = ""
        self.notes: list[str] = []
        self.components: dict[str, Any] = {}
        self.defaults: StepOptions = {}
        self.returned: Any = None
        self._names: set[str] = set()

    def name_for(self, wanted: str) -> str:
        """`wanted` inside the sub-pipelines around it, with a number where it is taken."""
        if has_marker(wanted):
            raise GraphError(f"{user_place()}: the name of a step can't depend on a value of the run; use constants in it")
        if not _STEP_NAME.fullmatch(wanted):
            raise GraphError(f"{user_place()}: the step name {wanted!r} must hold letters, digits, '_', '.' and '-' only, 63 at most")
        return self._unique(self.prefix + wanted)

    def inner_name(self, wanted: str) -> str:
        """As `name_for`, of a name that was checked before, and may be in sub-pipelines of its own."""
        return self._unique(self.prefix + wanted)

    def _unique(self, full: str) -> str:
        name, number = full, 1
        while name in self._names:
            number += 1
            name = f"{full}-{number}"
        self._names.add(name)
        return name

    def place(self, arguments: Mapping[str, object], what: str) -> Scoped:
        """Where a node that takes `arguments` stands; their fan-outs are opened, in order, one inside the other."""
        scope = self.open(arguments, what)
        return Scoped(scope, tuple(bound(self, condition) for condition in self.conditions))

    def open(self, arguments: Mapping[str, object], what: str) -> Scope:
        """The scope of what takes `arguments`."""
        named = {**arguments, **{f"when-{i}": condition for i, condition in enumerate(self.conditions)}}
        openings = {opening: f"{what}.{key}" for key, value in reversed(named.items()) for opening in _openings(value)}
        ordered = [opening for value in named.values() for opening in _openings(value)]
        fresh = list(dict.fromkeys(opening for opening in ordered if opening.name is None))
        for opening in fresh:
            self._open_sources(opening, openings[opening])
        settled = [opening.scope for opening in ordered if opening.name is not None]
        around = [inner.scope for opening in fresh for inner in _openings(opening.lists)]
        scope = joined([self.base, *settled, *around], what)
        for opening in fresh:
            if opening.name is None:
                scope = self._open(opening, scope, openings[opening])
        return scope

    def _open_sources(self, opening: Opening, label: str) -> None:
        inner = [source for source in _openings(opening.lists) if source.name is None]
        if inner:
            self.open({"items": opening.lists}, label)

    def _open(self, opening: Opening, around: Scope, label: str) -> Scope:
        opening.around = around
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "-", f"each-{label}")[:63]
        opening.name = self._unique(self.prefix + wanted)
        node = EachSpec(
            name=opening.name,
            each=tuple(bound(self, items, list[Any]) for items in opening.lists),
            batch=opening.batch,
            scope=names_of(around),
            when=tuple(bound(self, condition) for condition in opening.conditions),
        )
        self.nodes.append(node)
        return (*around, opening)

    def add(self, node: StepSpec | CollectSpec, maker: object = None) -> None:
        self.nodes.append(node)
        if maker is not None:
            self.makers[node.name] = maker

    @contextmanager
    def inside(self, sub_pipeline: str, scope: Scope) -> Generator[None]:
        """What is made meanwhile belongs to a call of a sub-pipeline.

        :raises GraphError: it is called by itself.
        """
        if self.prefix.count("/") >= _DEEPEST:
            raise GraphError(
                f"{user_place()}: {sub_pipeline} calls itself, by way of {self.prefix[:120]}...; a pipeline is drawn to its end"
            )
        before = self.prefix, self.base
        self.prefix, self.base = self._unique(self.prefix + sub_pipeline) + "/", scope
        try:
            yield
        finally:
            self.prefix, self.base = before

    @contextmanager
    def under(self, conditions: tuple[Handle, ...]) -> Generator[None]:
        """What is made meanwhile happens only if all `conditions` hold."""
        depth = len(self.conditions)
        self.conditions += conditions
        try:
            yield
        finally:
            del self.conditions[depth:]

    @contextmanager
    def drawn(self) -> Generator[None]:
        """While it lasts, calls of steps add nodes here."""
        token, constant = _current.set(self), bind_constant.set(lambda value: bound(self, value))
        try:
            with marking():
                yield
        finally:
            _current.reset(token)
            bind_constant.reset(constant)


_DEEPEST = 30
"""Sub-pipelines in each other; far more than people write."""

_current: ContextVar[Drawing | None] = ContextVar("drawing", default=None)


def current_drawing() -> Drawing | None:
    return _current.get()


def needed_drawing(what: str) -> Drawing:
    """The drawing in progress.

    :raises GraphError: there is none; `what` was called outside of a pipeline.
    """
    drawing = _current.get()
    if drawing is None:
        raise GraphError(f"{user_place()}: {what} has a meaning only in the body of a function under @pipeline")
    return drawing


def _openings(value: object) -> list[Opening]:
    found: list[Opening] = []
    for handle in handles_in(value):
        source = source_of(handle)
        found += source.openings if source is not None else ()
    return found


def bound(drawing: Drawing, value: object, annotation: Any = Any) -> Binding:
    """Where a value comes from: a handle, something put together from handles, or a constant."""
    source = source_of(value)
    if source is not None:
        return source.bind()
    if isinstance(value, str) and has_marker(value):
        return bind_template(value)
    if not handles_in(value):
        return Literal_(value=drawing.constants.value(value, annotation))
    if isinstance(value, dict):
        return RecordOf(record={key: bound(drawing, item) for key, item in cast(dict[str, object], value).items()})
    if is_named_tuple(type(value)):
        fields = fields_of(type(value)) or {}
        return RecordOf(record={name: bound(drawing, getattr(value, name), field) for name, field in fields.items()})
    return ListOf(list=tuple(bound(drawing, item) for item in cast(Sequence[object], value)))
