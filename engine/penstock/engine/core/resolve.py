"""From bindings to values: what a node receives, given the step runs and items around it. None stands for a value that never came."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from penstock.contracts.artifacts import (
    JSON,
    NULL,
    ArtifactRef,
    DirectoryManifest,
    ListValue,
    RecordValue,
    SelectedValue,
    TemplateValue,
    Value,
    inline,
)
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
from penstock.contracts.errors import ContractError
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import StepState
from penstock.engine.core.plan import Plan
from penstock.engine.core.rows import ItemRow, Key, StepRow, unpack_value
from penstock.engine.core.wants import ManifestsNeeded

Position = tuple[int, ...]
"""The item at each level, from the outermost (always 0) to a node's own."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The rows that bindings look at."""

    plan: Plan
    parameters: Mapping[str, Value]
    steps: Mapping[Key, StepRow]
    items: Mapping[Key, ItemRow]
    manifests: Mapping[str, DirectoryManifest | str]
    """Or why one can't be had."""

    def resolve(self, binding: Binding, at: Position) -> Value | None:
        """The value of `binding` for the node at that position.

        :raises ManifestsNeeded: directory manifests must be read first.
        :raises ContractError: the value can't be what the binding makes of it.
        """
        match binding:
            case Literal_():
                return binding.value
            case FromParameter():
                return self.parameters[binding.parameter]
            case FromNode():
                return self._output(binding, at)
            case FromItem():
                return self._item(binding, at)
            case Select():
                of = self.resolve(binding.of, at)
                return None if of is None else select(of, binding.select)
            case Files():
                of = self.resolve(binding.of, at)
                return None if of is None else self._files(binding, of)
            case Either():
                options = (self.resolve(option, at) for option in binding.either)
                return next((option for option in options if option is not None), None)
            case Compare():
                return self._compare(binding, at)
            case Not():
                of = self.resolve(binding.negate, at)
                return None if of is None else inline(not plain_value(of))
            case ListOf() | RecordOf() | Template():
                return self._composed(binding, at)

    def _output(self, binding: FromNode, at: Position) -> Value | None:
        number = self.plan.numbers[binding.node]
        node = self.plan.nodes[number]
        row = self.steps[number, at[len(node.chain)]]
        if row.state is not StepState.SUCCEEDED:
            return None
        values = row.values()
        if binding.output is None:
            returns_nothing = isinstance(node.spec, StepSpec) and not node.spec.outputs
            return NULL if returns_nothing else RecordValue(record=values)
        if binding.output not in values:
            return None
        return values[binding.output]

    def _item(self, binding: FromItem, at: Position) -> Value:
        number = self.plan.numbers[binding.item]
        value = unpack_value(self.items[number, at[len(self.plan.nodes[number].chain) + 1]].value)
        if binding.field is None:
            return value
        if isinstance(value, ListValue):
            return value.list[binding.field]
        raise ContractError(f"the items of {binding.item!r} are not zipped")

    def _compare(self, binding: Compare, at: Position) -> Value | None:
        left, right = self.resolve(binding.left, at), self.resolve(binding.right, at)
        if left is None or right is None:
            return None
        return inline(compare(binding.compare, plain_value(left), plain_value(right)))

    def _composed(self, binding: ListOf | RecordOf | Template, at: Position) -> Value | None:
        match binding:
            case ListOf():
                items = [self.resolve(item, at) for item in binding.list]
                return None if None in items else _folded(ListValue(list=tuple(item for item in items if item is not None)))
            case RecordOf():
                fields = {name: self.resolve(item, at) for name, item in binding.record.items()}
                present = {name: value for name, value in fields.items() if value is not None}
                return None if len(present) < len(fields) else _folded(RecordValue(record=present))
            case Template():
                return self._template(binding, at)

    def _template(self, binding: Template, at: Position) -> Value | None:
        parts: list[str | Value] = []
        for part in binding.template:
            if isinstance(part, str):
                parts.append(part)
                continue
            value = self.resolve(part.of, at)
            if value is None:
                return None
            parts.append(_formatted(value, part.format) if is_plain(value) else value)
        if all(isinstance(part, str) for part in parts):
            return inline("".join(part for part in parts if isinstance(part, str)))
        return TemplateValue(template=tuple(parts))

    def _files(self, binding: Files, of: Value) -> Value:
        if not isinstance(of, ArtifactRef) or of.kind != "directory":
            raise ContractError("files are looked for in something that is not a directory")
        if of.digest not in self.manifests:
            raise ManifestsNeeded({of.digest})
        manifest = self.manifests[of.digest]
        if isinstance(manifest, str):
            raise ContractError(manifest)
        entries = manifest.files
        if binding.file is not None:
            for entry in entries:
                if entry.path == binding.file:
                    return file_ref(entry.path, entry.digest, entry.size)
            raise ContractError(f"the directory has no file {binding.file!r}")
        pattern = binding.glob or "*"
        found = [entry for entry in entries if _matches(entry.path, pattern)]
        return ListValue(list=tuple(file_ref(entry.path, entry.digest, entry.size) for entry in found))


def file_ref(path: str, digest: str, size: int) -> ArtifactRef:
    """The ref of one file of a directory artifact; its name matters, since that is how it was asked for."""
    name = path.rsplit("/", 1)[-1]
    suffix = "." + name.rsplit(".", 1)[-1] if "." in name.lstrip(".") else ""
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=size, media_type="application/octet-stream", suffix=suffix, name=name)


def plain_value(value: Value) -> Any:
    """The plain data of a small value, for conditions.

    :raises ContractError: it is not small plain data.
    """
    match value:
        case ArtifactRef() if is_plain(value):
            return value.json_value()
        case ListValue():
            return [plain_value(item) for item in value.list]
        case RecordValue():
            return {name: plain_value(item) for name, item in value.record.items()}
        case _:
            raise ContractError("a condition can look at small plain values only (numbers, text, booleans, and lists and records of them)")


def select(value: Value, path: tuple[str | int, ...]) -> Value:
    """The part of `value` at `path`, taken out here where the value is plain, else left to the reader."""
    for depth, part in enumerate(path):
        match value:
            case RecordValue() if part in value.record:
                value = value.record[str(part)]
            case ListValue() if isinstance(part, int) and -len(value.list) <= part < len(value.list):
                value = value.list[part]
            case ArtifactRef() if is_plain(value):
                data = value.json_value()
                try:
                    value = inline(data[part])
                except (KeyError, IndexError, TypeError) as error:
                    raise ContractError(f"the value has no part {part!r}: {json.dumps(data)[:200]}") from error
            case _:
                return SelectedValue(select=path[depth:], of=value)
    return value


def compare(operator: str, left: Any, right: Any) -> bool:
    """`left <operator> right` over plain data.

    :raises ContractError: the two can't be compared.
    """
    try:
        match operator:
            case "==":
                return bool(left == right)
            case "!=":
                return bool(left != right)
            case "<":
                return bool(left < right)
            case "<=":
                return bool(left <= right)
            case ">":
                return bool(left > right)
            case _:
                return bool(left >= right)
    except TypeError as error:
        raise ContractError(f"a condition compares {left!r} with {right!r}: {error}") from error


def is_plain(value: Value) -> bool:
    """Whether it is small plain data that travels as it is."""
    return isinstance(value, ArtifactRef) and value.is_inline and value.media_type == JSON


def _folded(value: ListValue | RecordValue) -> Value:
    """Small plain parts become one small plain value."""
    parts = value.list if isinstance(value, ListValue) else tuple(value.record.values())
    if not all(is_plain(part) for part in parts):
        return value
    try:
        return inline(plain_value(value))
    except ContractError:  # larger than what travels inline
        return value


def _formatted(value: Value, spec: str) -> str:
    data = plain_value(value)
    try:
        return format(data, spec)
    except (ValueError, TypeError) as error:
        raise ContractError(f"{data!r} can't be formatted with {spec!r}: {error}") from error


def _matches(path: str, pattern: str) -> bool:
    """Shell patterns where `*` stays inside one folder, and `**/` is any number of them."""
    if "**/" in pattern:
        head, tail = pattern.split("**/", 1)
        return path.startswith(head) and any(_matches(rest, tail) for rest in _tails(path[len(head) :]))
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
