"""Handles: what stands for a value while a pipeline is drawn. To type checkers a handle is the value itself.

A handle has no public attributes of its own. What it supports makes other handles; everything else raises `GraphError` with the mend.
"""

import keyword
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NoReturn, cast, get_args

from typing_extensions import override

from penstock.contracts.bindings import Binding, Compare, Files, Select, Template, TemplatePart
from penstock.contracts.errors import GraphError
from penstock.sdk.drawing.annotations import bare, fields_of, fixed_tuple, is_list, is_named_tuple, item_of, text_of
from penstock.sdk.drawing.openings import Opening
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.templates import has_marker, marker, split_template
from penstock.sdk.types import Directory, File

Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a handle knows. `label` is how errors name it; `openings` are the fan-outs whose item it is.

    `part` gives the binding of a field where that is more than a selection: the output of a step with several.
    """

    label: str
    annotation: Any
    bind: Callable[[], Binding]
    openings: tuple[Opening, ...] = ()
    node: str | None = None
    part: Callable[[str], Binding] | None = None
    is_condition: bool = False


class Handle:
    """Stands for a value that a run will have."""

    __slots__ = ("__penstock__",)
    __penstock__: Source

    def __init__(self, source: Source) -> None:
        object.__setattr__(self, "__penstock__", source)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        source = self.__penstock__
        if bare(source.annotation) is Directory and name in ("files", "file"):
            return _directory_method(source, name)
        fields = fields_of(source.annotation)
        if fields is None or name not in fields or fixed_tuple(source.annotation):
            _refuse_attribute(source, name, fields)
        return part_of(self, name, fields[name])

    @override
    def __setattr__(self, name: str, value: object) -> None:
        _refuse(self.__penstock__, f"can't be given an attribute {name!r}", "make the changed value in a step")

    def __getitem__(self, key: object) -> Any:
        source = self.__penstock__
        if not isinstance(key, str | int) or isinstance(key, bool):
            _refuse(source, f"can't be indexed by {key!r}", "use a constant text or number, or index it in a step")
        fields = fields_of(source.annotation)
        if isinstance(key, int) and fields is not None and (is_named_tuple(bare(source.annotation)) or fixed_tuple(source.annotation)):
            if not -len(fields) <= key < len(fields):
                _refuse(source, f"has {len(fields)} parts and no part {key}", "look at its annotation")
            name = list(fields)[key]
            return part_of(self, name, fields[name])
        return _selected(self, key, item_of(source.annotation) if is_list(source.annotation) else _value_type(source.annotation))

    def __iter__(self) -> Iterator[Any]:
        source = self.__penstock__
        fields = fields_of(source.annotation)
        if fields is None or not (is_named_tuple(bare(source.annotation)) or fixed_tuple(source.annotation)):
            _refuse(source, "can't be looped over: its length is not known before the run", "use each(...) to run steps once per item")
        return iter([part_of(self, name, annotation) for name, annotation in fields.items()])

    @override
    def __format__(self, format_spec: str) -> str:
        return marker(self, format_spec)

    @override
    def __str__(self) -> str:
        _refuse(self.__penstock__, "is not text yet", "put it in an f-string: f'{x}'")

    @override
    def __repr__(self) -> str:
        return f"<{self.__penstock__.label}: {text_of(self.__penstock__.annotation)}>"

    @override
    def __eq__(self, other: object) -> Any:
        return _compared(self, "==", other)

    @override
    def __ne__(self, other: object) -> Any:
        return _compared(self, "!=", other)

    def __lt__(self, other: object) -> Any:
        return _compared(self, "<", other)

    def __le__(self, other: object) -> Any:
        return _compared(self, "<=", other)

    def __gt__(self, other: object) -> Any:
        return _compared(self, ">", other)

    def __ge__(self, other: object) -> Any:
        return _compared(self, ">=", other)

    @override
    def __hash__(self) -> int:
        _refuse(self.__penstock__, "can't be in a set or the key of a dict", "keep it in a list")

    def __bool__(self) -> bool:
        source = self.__penstock__
        _refuse(
            source,
            "has no truth value while the pipeline is drawn",
            f"use `with when({source.label if not source.is_condition else 'condition'}):` around the steps, commas for `and`, "
            "not_(...) for `not`, either(a, b) for a value of one branch, or decide inside a step",
        )

    def __len__(self) -> int:
        _refuse(self.__penstock__, "has no length before the run", "call len(...) in a step")

    def __contains__(self, item: object) -> bool:
        _refuse(self.__penstock__, "can't be searched before the run", "use `in` in a step")

    def __call__(self, *arguments: object, **named: object) -> Any:
        _refuse(self.__penstock__, "can't be called", "call it in a step")


def _refuse_operator(symbol: str) -> Callable[..., Any]:
    def operate(self: Handle, *_: object) -> Any:
        _refuse(self.__penstock__, f"can't be computed with ({symbol}) while the pipeline is drawn", "write a step that computes it")

    return operate


for _symbol, _words in {
    "+": "add radd", "-": "sub rsub", "*": "mul rmul", "/": "truediv rtruediv", "//": "floordiv rfloordiv", "%": "mod rmod",
    "**": "pow rpow", "@": "matmul rmatmul", "&": "and rand", "|": "or ror", "^": "xor rxor", "<<": "lshift rlshift",
    ">>": "rshift rrshift",
    "-x": "neg pos abs invert", "int(...)": "int float index round complex bytes", "open(...)": "fspath", "with": "enter", "await": "await",
    "x[k] =": "setitem delitem",
}.items():  # fmt: skip
    for _word in _words.split():
        setattr(Handle, f"__{_word}__", _refuse_operator(_symbol))


def source_of(value: object) -> Source | None:
    """What a handle knows; None for anything that is no handle."""
    return value.__penstock__ if isinstance(value, Handle) else None


def part_of(handle: Handle, name: str, annotation: Any) -> Handle:
    """The field `name` of a value, or that output of a step."""
    source = handle.__penstock__
    if source.part is None:
        return _selected(handle, name, annotation)
    part = source.part
    label = f"{source.label}.{name}"
    return Handle(Source(label=label, annotation=annotation, bind=lambda: part(name), openings=source.openings, node=source.node))


def _selected(handle: Handle, key: str | int, annotation: Any) -> Handle:
    source = handle.__penstock__

    def bind() -> Binding:
        whole = source.bind()
        if isinstance(whole, Select):
            return Select(select=(*whole.select, key), of=whole.of)
        return Select(select=(key,), of=whole)

    label = (
        f"{source.label}.{key}"
        if isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)
        else f"{source.label}[{key!r}]"
    )
    return Handle(Source(label=label, annotation=annotation, bind=bind, openings=source.openings, node=source.node))


def _value_type(annotation: Any) -> Any:
    arguments = get_args(bare(annotation))
    return arguments[1] if len(arguments) == 2 else Any


def _directory_method(source: Source, name: str) -> Callable[..., Any]:
    def files(glob: str = "**") -> Any:
        return _inside(source, f"{source.label}.files({glob!r})", list[File], glob=glob)

    def file(name: str) -> Any:
        return _inside(source, f"{source.label}.file({name!r})", File, file=name)

    return files if name == "files" else file


def _inside(source: Source, label: str, annotation: Any, *, glob: str | None = None, file: str | None = None) -> Handle:
    given: object = glob if file is None else file
    if not isinstance(given, str) or has_marker(given):
        _refuse(source, "can be searched for constant names only", "choose the files in a step")
    bind = source.bind
    return Handle(
        Source(
            label=label,
            annotation=annotation,
            bind=lambda: Files(of=bind(), glob=glob, file=file),
            openings=source.openings,
            node=source.node,
        )
    )


def _compared(left: Handle, operator: Operator, right: object) -> Handle:
    source = left.__penstock__
    openings = (*source.openings, *(opening for handle in handles_in(right) for opening in handle.__penstock__.openings))
    label = f"{source.label} {operator} {right!r}"
    bind = source.bind
    return Handle(
        Source(
            label=label,
            annotation=bool,
            bind=lambda: Compare(compare=operator, left=bind(), right=_bind_constant()(right)),
            openings=openings,
            is_condition=True,
        )
    )


# How a value that is no handle becomes a binding: set by the drawing in progress.
bind_constant: ContextVar[Callable[[object], Binding] | None] = ContextVar("bind_constant", default=None)


def _bind_constant() -> Callable[[object], Binding]:
    bind = bind_constant.get()
    if bind is None:
        raise GraphError("a handle was used after its pipeline had been drawn")
    return bind


def bind_template(text: str) -> Template:
    """The binding of a text that came out of an f-string over handles."""
    return Template(template=tuple(part if isinstance(part, str) else _template_part(*part) for part in split_template(text)))


def _template_part(handle: object, format_spec: str) -> TemplatePart:
    return TemplatePart(of=cast(Handle, handle).__penstock__.bind(), format=format_spec)


def handles_in(value: object) -> list[Handle]:
    """Every handle in a value: itself, inside lists, tuples and dicts, and in the texts of f-strings."""
    if isinstance(value, Handle):
        return [value]
    if isinstance(value, str):
        parts = split_template(value) if has_marker(value) else []
        return [part[0] for part in parts if not isinstance(part, str) and isinstance(part[0], Handle)]
    if isinstance(value, list | tuple):
        return [handle for item in cast(Sequence[object], value) for handle in handles_in(item)]
    if isinstance(value, dict):
        return [handle for item in cast(dict[object, object], value).values() for handle in handles_in(item)]
    return []


def _refuse_attribute(source: Source, name: str, fields: dict[str, Any] | None) -> NoReturn:
    if fields:
        near = get_close_matches(name, list(fields), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
        _refuse(source, f"has no field {name!r}", hint)
    kind = text_of(source.annotation)
    _refuse(
        source,
        f"is a {kind}, whose attribute {name!r} is not known before the run",
        "read it in a step, or return a NamedTuple with that field",
    )


def _refuse(source: Source, what: str, mend: str) -> NoReturn:
    raise GraphError(f"{user_place()}: {source.label} {what}. Instead: {mend}")
