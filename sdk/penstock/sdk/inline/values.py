"""Bindings evaluated in this process, on plain Python values: what a node of an inline run receives."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.contracts.bindings import (
    Binding,
    Compare,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    RecordOf,
    Select,
    Template,
)
from penstock.contracts.errors import InvalidInput
from penstock.sdk.drawing.constants import Constants
from penstock.sdk.types import Directory
from penstock.sdk.values.codecs import decode

Index = tuple[int, ...]
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a value that never came, and why."""

    reason: str
    is_failure: bool = False


class Absent(Exception):
    """A value that a binding needs never came."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.reason)
        self.missing = missing


@dataclass(slots=True)
class Values:
    """What is known so far. `results` and `items` are by node and the index around it."""

    constants: Constants
    parameters: Mapping[str, Any]
    workdir: Path
    results: dict[tuple[str, Index], Any] = field(default_factory=dict[tuple[str, Index], Any])
    items: dict[tuple[str, Index], Any] = field(default_factory=dict[tuple[str, Index], Any])
    depths: dict[str, int] = field(default_factory=dict[str, int])
    """How many fan-outs are around each node."""

    def read(self, binding: Binding, index: Index, hint: Any = Any, parameter: str = "value") -> Any:
        """The value of a binding for the node at `index`.

        :raises Absent: it never came.
        """
        match binding:
            case Literal_():
                return decode(binding.value, hint, self.constants.local, parameter=parameter, workdir=self.workdir)
            case FromParameter():
                return self.parameters[binding.parameter]
            case FromNode():
                return self._output(binding, index)
            case FromItem():
                return self._item(binding, index)
            case Either():
                return self._either(binding, index)
            case Not():
                return not self.read(binding.negate, index)
            case Compare():
                return _COMPARE[binding.compare](self.read(binding.left, index), self.read(binding.right, index))
            case _:
                return self._composed(binding, index)

    def _composed(self, binding: Binding, index: Index) -> Any:
        match binding:
            case Select():
                return _selected(self.read(binding.of, index), binding.select)
            case Files():
                directory: Directory = self.read(binding.of, index)
                return directory.files(binding.glob) if binding.glob is not None else directory.file(binding.file or "")
            case ListOf():
                return [self.read(item, index) for item in binding.list]
            case RecordOf():
                return {name: self.read(item, index) for name, item in binding.record.items()}
            case Template():
                return "".join(
                    part if isinstance(part, str) else format(self.read(part.of, index), part.format) for part in binding.template
                )
            case _:
                raise InvalidInput(f"an inline run can't read a {type(binding).__name__}")

    def _output(self, binding: FromNode, index: Index) -> Any:
        found = self.results[binding.node, index[: self.depths[binding.node]]]
        if isinstance(found, Missing):
            raise Absent(found)
        return output_of(found, binding.output)

    def _item(self, binding: FromItem, index: Index) -> Any:
        depth = self.depths[binding.item]
        item = self.items[binding.item, index[:depth]][index[depth]]
        return item if binding.field is None else item[binding.field]

    def _either(self, binding: Either, index: Index) -> Any:
        absent: Absent | None = None
        for option in binding.either:
            try:
                return self.read(option, index)
            except Absent as error:
                absent = absent or error
        raise absent or Absent(Missing("no option"))


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a program wrote, or a collected list: by the output's name, so that it is not taken for the fields of a value."""

    by_name: Mapping[str, Any]


def output_of(result: Any, output: str | None) -> Any:
    """One output of what a node gave; all of it where `output` is None."""
    if isinstance(result, Outputs):
        return result.by_name if output is None else result.by_name[output]
    if output is None:
        return result
    return result[int(output)] if output.isdigit() else getattr(result, output)


def _selected(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            value = value[key] if isinstance(key, int) or hasattr(value, "keys") else getattr(value, key)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise InvalidInput(f"there is no {key!r} in a {type(value).__name__}") from error
    return value
