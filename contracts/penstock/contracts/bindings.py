"""Bindings: where a value of a pipeline comes from, in plain data."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator

from penstock.contracts.artifacts import Value
from penstock.contracts.encoding import fields_of

RESULT = "result"
"""The name of a single unnamed output."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Literal_(_Model):  # noqa: N801 - typing.Literal is needed beside it
    """A constant: `value` is known when the pipeline is built."""

    value: Value


class FromParameter(_Model):
    """The pipeline's parameter of that name."""

    parameter: str


class FromNode(_Model):
    """The output of another node. `output` None is the whole of a step with several outputs, as a record."""

    node: str
    output: str | None = RESULT


class FromItem(_Model):
    """The current item of the fan-out that the `each` node `item` opens; `field` picks one of zipped lists."""

    item: str
    field: int | None = None


class Select(_Model):
    """A part of a value: fields, keys and indexes in turn. `{"glob": p}` and `{"file": p}` look into a directory."""

    select: tuple[str | int, ...]
    of: "Binding"


class Files(_Model):
    """Files of a directory: all that match `glob` in path order (a list), or the one at `file`."""

    of: "Binding"
    glob: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.glob is None) == (self.file is None):
            raise ValueError("either glob or file")
        return self


class ListOf(_Model):
    list: tuple["Binding", ...]


class RecordOf(_Model):
    record: dict[str, "Binding"]


class Template(_Model):
    """Text with values in it, after an f-string; a part is text or a binding, with its format spec."""

    template: tuple["str | TemplatePart", ...]


class TemplatePart(_Model):
    of: "Binding"
    format: str = ""


class Either(_Model):
    """The first of the options that was not skipped."""

    either: tuple["Binding", ...]


class Compare(_Model):
    """A condition over two small JSON values."""

    compare: Literal["==", "!=", "<", "<=", ">", ">="]
    left: "Binding"
    right: "Binding"


class Not(_Model):
    negate: "Binding"


_BINDING_KEYS = (
    "value",
    "parameter",
    "node",
    "item",
    "select",
    "glob",
    "file",
    "list",
    "record",
    "template",
    "either",
    "compare",
    "negate",
)


def _binding_shape(value: Any) -> str:
    keys = fields_of(value)
    for key in _BINDING_KEYS:
        if key in keys:
            return "files" if key in ("glob", "file") else key
    return "value"


Binding = Annotated[
    Annotated[Literal_, Tag("value")]
    | Annotated[FromParameter, Tag("parameter")]
    | Annotated[FromNode, Tag("node")]
    | Annotated[FromItem, Tag("item")]
    | Annotated[Select, Tag("select")]
    | Annotated[Files, Tag("files")]
    | Annotated[ListOf, Tag("list")]
    | Annotated[RecordOf, Tag("record")]
    | Annotated[Template, Tag("template")]
    | Annotated[Either, Tag("either")]
    | Annotated[Compare, Tag("compare")]
    | Annotated[Not, Tag("negate")],
    Discriminator(_binding_shape),
]
for _model in (Select, Files, ListOf, RecordOf, Template, TemplatePart, Either, Compare, Not):
    _model.model_rebuild()


def walk(binding: Binding) -> Iterator[Binding]:
    """`binding` and every binding inside it."""
    yield binding
    for part in _parts(binding):
        yield from walk(part)


def _parts(binding: Binding) -> list[Binding]:
    match binding:
        case Select() | Files():
            return [binding.of]
        case ListOf():
            return list(binding.list)
        case RecordOf():
            return list(binding.record.values())
        case Template():
            return [part.of for part in binding.template if isinstance(part, TemplatePart)]
        case Either():
            return list(binding.either)
        case Compare():
            return [binding.left, binding.right]
        case Not():
            return [binding.negate]
        case Literal_() | FromParameter() | FromNode() | FromItem():
            return []
