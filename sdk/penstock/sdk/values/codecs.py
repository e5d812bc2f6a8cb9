"""How Python values become artifacts and back: `encode` and `decode`.

JSON first (by the type annotation), then the typed formats, then pickle. What is small and JSON travels inside its ref.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, cast, get_args, get_origin

from penstock.contracts.artifacts import (
    DIRECTORY,
    INLINE_LIMIT,
    JSON,
    LIST,
    ArtifactRef,
    ListManifest,
    ListValue,
    RecordValue,
    Value,
    inline_json,
    manifest_bytes,
)
from penstock.contracts.errors import InvalidInput
from penstock.sdk.drawing.annotations import bare, fields_of, fixed_tuple, is_list, is_named_tuple, item_of
from penstock.sdk.types import Directory, File, KeepName
from penstock.sdk.values.decoder import Decoder
from penstock.sdk.values.formats import FILE, PNG, Format, formats_for, is_figure, write_figure
from penstock.sdk.values.json_values import NotJson, builtin_number, class_of, json_bytes
from penstock.sdk.values.staged import Encoded, Staged, Staging, Unfit
from penstock.transport.directories import file_digest, materialise_file, scan_directory

__all__ = ["Encoded", "Staged", "decode", "encode", "encode_attachment"]

# A value of more parts is stored as a whole: an order has no room for so many refs.
_PARTS_LIMIT = 64


def encode(value: object, annotation: Any, staging: Path, *, movable: Path | None = None) -> Encoded:
    """`value` as it travels, with the files that the artifact store must take first, made in the folder `staging`.

    A `File` or `Directory` is copied there, but what lies below `movable` (a working directory nobody needs any more) is staged in
    place, and so goes from there when it is taken.
    :raises InvalidInput: it can't be stored, and what to do.
    """
    work = Staging(staging, movable)
    try:
        return work.encoded(_value(value, annotation, work))
    except BaseException:
        work.discard()
        raise


def encode_attachment(value: object, staging: Path) -> Encoded:
    """Something to look at beside a run's outputs: a figure of matplotlib as PNG, a file by its path, anything else as a value.

    :raises InvalidInput: as `encode`.
    """
    if is_figure(value):
        work = Staging(staging)
        return work.encoded(_written(value, Format(PNG, ".png", write_figure), work))
    if isinstance(value, str | PurePath):
        value = Directory(value) if Path(value).is_dir() else File(value)
    return encode(value, Any, staging)


def decode(
    value: Value, annotation: Any, local: Callable[[ArtifactRef], Path], *, parameter: str = "value", workdir: Path | None = None
) -> Any:
    """The Python value that `parameter` receives.

    `local` gives a verified read-only file with the bytes of a ref; that it is verified is what makes loading a pickle safe. Files are put
    into `workdir` as `<parameter><suffix>`; without it they are read in place.
    :raises InvalidInput: it does not fit the annotation.
    """
    return Decoder(local, parameter, workdir).value(value, annotation)


def _value(value: Any, annotation: Any, work: Staging) -> Value:
    plain = bare(annotation)
    if plain is File and isinstance(value, str | PurePath):
        value = File(value)
    if isinstance(value, File):
        return _file(value, annotation, work)
    if isinstance(value, Directory):
        return _directory(value, work)
    value = builtin_number(value, plain)
    if is_list(annotation) and isinstance(value, Generator | range):
        value = list(cast(Iterable[Any], value))
    as_list = is_list(annotation) and _is_list_value(value)
    # An item takes two bytes at least, so a longer list can't be inline anyway.
    if not as_list or len(value) < INLINE_LIMIT // 2:
        try:
            data = json_bytes(value, annotation)
        except NotJson:
            pass
        else:
            if len(data) <= INLINE_LIMIT:
                return inline_json(data)
            if not as_list:
                return work.put_bytes(data, media_type=JSON)
    return _list(value, item_of(annotation), work) if as_list else _structure(value, plain, work)


def _is_list_value(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _structure(value: Any, plain: Any, work: Staging) -> Value:
    """Values made of values are stored part by part where the annotation says so, or where files are in them; else as a whole."""
    kind = class_of(value)
    declared = (get_origin(plain) or plain) is kind
    has_files = _holds_files(value)
    if not declared and not has_files:
        return _whole(value, work)
    if has_files and kind in (dict, tuple) and len(value) > _PARTS_LIMIT:
        raise InvalidInput(f"a {kind.__name__} of {len(value)} values has files in it, {_PARTS_LIMIT} at most; give a list or a Directory")
    if is_named_tuple(kind) or (dataclasses.is_dataclass(kind) and has_files):
        fields = fields_of(kind) or {}
        return RecordValue(record={name: _value(getattr(value, name), hint, work) for name, hint in fields.items()})
    if kind is dict and len(value) <= _PARTS_LIMIT and all(type(key) is str for key in value):
        hint = (get_args(plain) or (Any, Any))[1]
        return RecordValue(record={key: _value(item, hint, work) for key, item in value.items()})
    if kind is tuple and len(value) <= _PARTS_LIMIT:
        hints = fixed_tuple(plain) or (Any,) * len(value)
        return ListValue(list=tuple(_value(item, hint, work) for item, hint in zip(value, hints, strict=False)))
    if kind is list:
        return _list(value, Any, work)
    return _whole(value, work)


def _whole(value: Any, work: Staging) -> ArtifactRef:
    *typed, last = formats_for(value)
    for candidate in typed:
        try:
            return _written(value, candidate, work)
        except Unfit:
            continue
    return _written(value, last, work)


def _written(value: Any, form: Format, work: Staging) -> ArtifactRef:
    return work.written_by(partial(form.write, value), media_type=form.media_type, suffix=form.suffix)


def _list(items: Sequence[Any], hint: Any, work: Staging) -> ArtifactRef:
    manifest = ListManifest(items=tuple(_value(item, hint, work) for item in items))
    return work.put_bytes(manifest_bytes(manifest), media_type=LIST, kind="list")


def _file(file: File, annotation: Any, work: Staging) -> ArtifactRef:
    path = file.path
    if file.is_remote:
        raise InvalidInput(f"{file!r} is remote; only files of this machine can be stored")
    if not path.is_file():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise InvalidInput(f"{file!r} does not exist{where}" if not path.exists() else f"{file!r} is not a file; use Directory for folders")
    ref = _stored(path, file_digest(path), path.suffix, work)
    return ref.model_copy(update={"name": path.name}) if KeepName in get_args(annotation) else ref


def _directory(directory: Directory, work: Staging) -> ArtifactRef:
    manifest, sources = scan_directory(directory.path)
    for digest, path in sources.items():
        _stored(path, digest, "", work)
    return work.put_bytes(manifest_bytes(manifest), media_type=DIRECTORY, kind="directory")


def _stored(path: Path, digest: str, suffix: str, work: Staging) -> ArtifactRef:
    if (movable := _movable(path, work)) is not None:
        return work.put_known(movable, digest, media_type=FILE, suffix=suffix)
    ref = work.written_by(partial(materialise_file, path), media_type=FILE, suffix=suffix)
    if ref.digest != digest:
        raise InvalidInput(f"{path} was changed while it was being read; give it when its writer has closed it")
    return ref


def _movable(path: Path, work: Staging) -> Path | None:
    """A file's own path below the folder whose files may be moved; None for all that others may still see."""
    if work.movable is None or path.is_symlink() or path.stat().st_nlink > 1:
        return None
    resolved, folder = path.resolve(), work.movable.resolve()
    return work.movable / resolved.relative_to(folder) if resolved.is_relative_to(folder) else None


def _holds_files(value: Any, depth: int = 8) -> bool:
    """Whether files are in it, not so deep down that people would not see them. Values may contain themselves."""
    kind = class_of(value)
    if depth == 0:
        return False
    if kind is dict:
        parts = list(value.values())
    elif kind in (list, tuple) or is_named_tuple(kind):
        parts = value
    elif dataclasses.is_dataclass(kind):
        parts = [getattr(value, field.name, None) for field in dataclasses.fields(kind)]
    else:
        return isinstance(value, File | Directory)
    return any(_holds_files(part, depth - 1) for part in parts)
