"""Values back into Python objects, as the annotation of the parameter that receives them asks."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, TypeVar, get_args, get_origin, overload
from urllib.parse import quote

from typing_extensions import override

from penstock.contracts.artifacts import (
    JSON,
    ArtifactRef,
    DirectoryManifest,
    ListManifest,
    ListValue,
    RecordValue,
    SelectedValue,
    TemplateValue,
    Value,
    inline_json,
)
from penstock.contracts.errors import InvalidInput
from penstock.sdk.drawing.annotations import bare, fields_of, fixed_tuple, is_list, is_union, item_of, text_of
from penstock.sdk.types import Directory, File
from penstock.sdk.values.formats import FILE, PICKLE, read_format
from penstock.sdk.values.json_values import NotJson, class_of, read_json
from penstock.transport.directories import materialise_directory, materialise_file

Local = Callable[[ArtifactRef], Path]


class LazyList(Sequence[Any]):
    """The items of a list value, each read when it is asked for and then let go."""

    def __init__(self, items: Sequence[Value], read: Callable[[int, Value], Any], indexes: range | None = None) -> None:
        self._items = items
        self._read = read
        self._indexes = range(len(items)) if indexes is None else indexes

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyList": ...
    @override
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return LazyList(self._items, self._read, self._indexes[index])
        at = self._indexes[index]
        return self._read(at, self._items[at])

    @override
    def __len__(self) -> int:
        return len(self._indexes)

    @override
    def __iter__(self) -> Iterator[Any]:
        for at in self._indexes:
            yield self._read(at, self._items[at])

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} items, read on access>"


class Decoder:
    """Reads the values of one parameter."""

    def __init__(self, local: Local, parameter: str, workdir: Path | None) -> None:
        self._local = local
        self._parameter = parameter
        self._workdir = workdir

    def value(self, value: Value, annotation: Any) -> Any:
        match value:
            case ArtifactRef():
                return self._ref(value, annotation)
            case ListValue():
                return self._items(value.list, annotation)
            case RecordValue():
                return self._record(value, annotation)
            case SelectedValue():
                return self._selected(value.of, value.select, annotation)
            case TemplateValue():
                parts = (part if isinstance(part, str) else str(self.value(part, Any)) for part in value.template)
                return self._checked("".join(parts), annotation)

    def _ref(self, ref: ArtifactRef, annotation: Any) -> Any:
        if ref.kind == "list":
            return self._items(self._list_items(ref), annotation)
        if ref.kind == "directory":
            return self._as_path(self._directory(ref), annotation)
        plain = bare(annotation)
        if ref.media_type == FILE or (plain is File and not ref.is_inline and ref.media_type != PICKLE):
            return self._as_path(self._file(ref), annotation)
        if ref.media_type != JSON:
            return self._checked(read_format(ref.media_type, self._local(ref)), annotation)
        data = self._bytes(ref)
        try:
            return read_json(data, annotation)
        except NotJson as error:
            return self._misfit(data, annotation, error)

    def _misfit(self, data: bytes, annotation: Any, error: NotJson) -> Any:
        found = json.loads(data)
        if not str(error) and fits(found, annotation):
            return found  # A type that knows nothing of JSON, a protocol say.
        raise self._mismatch(annotation, f"{_shown(found)}{f' ({error})' if str(error) else ''}")

    def _items(self, items: Sequence[Value], annotation: Any) -> Any:
        plain = bare(annotation)
        if is_union(plain):
            plain = next((option for option in get_args(plain) if is_list(option) or fixed_tuple(option)), plain)
        origin: Any = get_origin(plain) or plain
        if (hints := fixed_tuple(plain)) is not None:
            if len(hints) != len(items):
                raise self._mismatch(annotation, f"{len(items)} items")
            return tuple(self._item(i, item, hint) for i, (item, hint) in enumerate(zip(items, hints, strict=True)))
        if origin in (set, frozenset, tuple):
            made: Any = origin
            return made(self._item(i, item, item_of(plain)) for i, item in enumerate(items))
        if is_list(plain) and origin is not list:
            hint = item_of(plain)
            return LazyList(items, lambda i, item: self._item(i, item, hint))
        if origin is list or plain in (Any, object) or isinstance(plain, TypeVar):
            return [self._item(i, item, item_of(plain)) for i, item in enumerate(items)]
        raise self._mismatch(annotation, f"a list of {len(items)} items")

    def _item(self, index: int, item: Value, annotation: Any) -> Any:
        return Decoder(self._local, f"{self._parameter}-{index}", self._workdir).value(item, annotation)

    def _record(self, value: RecordValue, annotation: Any) -> Any:
        plain = bare(annotation)
        origin: Any = get_origin(plain) or plain
        fields = fields_of(plain)
        hints = fields or {}
        parts: dict[str, Any] = {
            name: Decoder(self._local, f"{self._parameter}-{_file_part(name)}", self._workdir).value(
                part, hints.get(name, _dict_hint(plain))
            )
            for name, part in value.record.items()
        }
        if fixed_tuple(plain) is not None:
            return tuple(parts[name] for name in sorted(parts, key=int))
        if fields is None:
            return self._checked(parts, annotation)
        try:
            return origin(**parts)
        except TypeError as error:
            raise self._mismatch(annotation, f"the fields {', '.join(parts)}") from error

    def _selected(self, value: Value, path: tuple[str | int, ...], annotation: Any) -> Any:
        """Goes down through what is stored part by part, so that only the part asked for is read."""
        if not path:
            return self.value(value, annotation)
        match value:
            case RecordValue() if str(path[0]) in value.record:
                return self._selected(value.record[str(path[0])], path[1:], annotation)
            case ListValue() if isinstance(path[0], int):
                return self._selected(self._at(value.list, path[0]), path[1:], annotation)
            case ArtifactRef(kind="list") if isinstance(path[0], int):
                return self._selected(self._at(self._list_items(value), path[0]), path[1:], annotation)
            case SelectedValue():
                return self._selected(value.of, value.select + path, annotation)
            case ArtifactRef(kind="blob", media_type=media_type) if media_type == JSON:
                part = self._walk(json.loads(self._bytes(value)), path)
                return self._ref(inline_json(json.dumps(part).encode()), annotation)
            case _:
                return self._checked(self._walk(self.value(value, Any), path), annotation)

    def _at(self, items: Sequence[Value], index: int) -> Value:
        try:
            return items[index]
        except IndexError:
            raise InvalidInput(f"{self._parameter}: there is no item {index} in a list of {len(items)}") from None

    def _walk(self, found: Any, path: tuple[str | int, ...]) -> Any:
        for key in path:
            try:
                found = _part(found, key)
            except (KeyError, IndexError, TypeError) as error:
                raise InvalidInput(f"{self._parameter}: there is no {key!r} in {_shown(found)}") from error
        return found

    def _list_items(self, ref: ArtifactRef) -> tuple[Value, ...]:
        return ListManifest.model_validate_json(self._bytes(ref)).items

    def _bytes(self, ref: ArtifactRef) -> bytes:
        return ref.inline_bytes() if ref.is_inline else self._local(ref).read_bytes()

    def _directory(self, ref: ArtifactRef) -> Directory:
        found = self._local(ref)
        if found.is_dir():
            return Directory(found)
        manifest = DirectoryManifest.model_validate_json(found.read_bytes())
        if self._workdir is None:
            raise InvalidInput(f"{self._parameter} is a directory; it needs a working directory to be put into")
        target = self._target(ref)
        if not target.exists():
            materialise_directory(manifest, lambda digest: self._local(_blob(digest)), target)
        return Directory(target)

    def _file(self, ref: ArtifactRef) -> File:
        source = self._local(ref)
        if self._workdir is None:
            return File(source)
        target = self._target(ref)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            materialise_file(source, target)
        return File(target)

    def _target(self, ref: ArtifactRef) -> Path:
        workdir = self._workdir or Path()
        name = f"{self._parameter}{ref.suffix}" if ref.name is None else ref.name
        if PurePosixPath(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise InvalidInput(f"{self._parameter}: an artifact can't have the file name {name!r}")
        return workdir / name if ref.name is None else workdir / self._parameter / name

    def _as_path(self, found: File | Directory, annotation: Any) -> Any:
        plain = bare(annotation)
        if isinstance(plain, type) and issubclass(plain, PurePath):
            return found.path
        return self._checked(found, annotation)

    def _checked(self, found: object, annotation: Any) -> Any:
        if fits(found, annotation):
            return found
        raise self._mismatch(annotation, _shown(found))

    def _mismatch(self, annotation: Any, came: str) -> InvalidInput:
        return InvalidInput(f"{self._parameter} takes {text_of(annotation)}, but got {came}")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value may stand where `annotation` is: False only where it surely can't."""
    if is_union(annotation):
        return any(fits(value, option) for option in get_args(annotation))
    if annotation is None:
        return value is None
    plain = bare(annotation)
    if get_origin(plain) is Literal:
        return value in get_args(plain)
    plain = get_origin(plain) or plain
    if not isinstance(plain, type) or plain is Any or getattr(plain, "_is_protocol", False):
        return True
    if plain is float:
        return isinstance(value, float | int)
    return isinstance(value, plain)


def _file_part(key: str) -> str:
    """A key as a part of file names that no other key has, and that leads nowhere else: `-` stands between parts."""
    return quote(key, safe="").replace("-", "%2D")


def _dict_hint(annotation: Any) -> Any:
    arguments = get_args(annotation)
    return arguments[1] if get_origin(annotation) is dict and len(arguments) == 2 else Any


def _part(whole: Any, key: str | int) -> Any:
    kind = class_of(whole)
    return getattr(whole, str(key)) if isinstance(key, str) and kind is not dict and hasattr(whole, key) else whole[key]


def _blob(digest: str) -> ArtifactRef:
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=0, media_type=FILE)


def _shown(value: Any) -> str:
    text = repr(value)
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{type(value).__name__} {short}" if len(text) < 1000 else f"a {type(value).__name__}"
