"""Snapshots: the files that a step's guest can see, by their path in the snapshot. What is not in it, a step can't read.

A function step's snapshot holds the project's modules it needs and the files it declares; a script's holds its folder minus ignores.
"""

import difflib
import hashlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from penstock.contracts.encoding import digest_bytes, digest_of
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import Identity
from penstock.sdk.identity.closure import Closure
from penstock.sdk.identity.ignores import Ignores
from penstock.sdk.identity.project import NOTEBOOK_MODULE, Project, label_of

_CHUNK_BYTES = 1 << 20


def snapshot_of(closures: Iterable[Closure], declared: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """The files of function steps: the modules they need, whole, and the declared files.

    :raises GraphError: two different files want the same place.
    """
    files: dict[str, Path] = {}
    modules = {label_of(name, file): file for closure in closures for name, file in closure.modules.items()}
    for path, file in [*modules.items(), *(declared or {}).items()]:
        if files.setdefault(path, file) != file:
            raise GraphError(f"{files[path]} and {file} would both be {path} in the snapshot; rename one of them")
    return dict(sorted(files.items()))


def declared_files_of(module_file: Path, patterns: Sequence[str], *, module: str | None = None) -> dict[str, Path]:
    """The files that patterns such as `sql/*.sql` name beside a step's module, by their path in the snapshot.

    A pattern that names a folder takes all in it. `module` is the module's dotted name where it can't be told from its file.
    :raises GraphError: a pattern matches nothing, or leaves the project.
    """
    label = label_of(module or Project.of(module_file).name_of(module_file), module_file)
    # The module of a notebook is written elsewhere; its people see the folder they work in.
    folder = Path.cwd() if label == f"{NOTEBOOK_MODULE}.py" else module_file.absolute().parent
    found: dict[str, Path] = {}
    for pattern in patterns:
        files = _matching(folder, pattern)
        if not files:
            raise GraphError(_nothing_matches(folder, label, pattern))
        for relative, file in files.items():
            path = posixpath.normpath(posixpath.join(posixpath.dirname(label), relative))
            if path.startswith("../") or posixpath.isabs(path):
                raise GraphError(f'files=["{pattern}"]: {file} is outside of the project; move it in, or pass it as a File input')
            found[path] = file
    return dict(sorted(found.items()))


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """The digest of each file's bytes."""
    return {path: _file_digest(file) for path, file in files.items()}


def script_snapshot(directory: Path) -> dict[str, Path]:
    """All files of a script's folder but what `.gitignore` and `.penstockignore` at its top leave out, and what is never code.

    :raises GraphError: it is no folder.
    """
    if not directory.is_dir():
        raise GraphError(f"source_directory={str(directory)!r} is not a folder")
    return Ignores.of(directory).files()


def script_identity(files: Mapping[str, Path]) -> Identity:
    """The code identity of a script: the digest of each file of its snapshot. In `.py` files, line endings don't count."""
    components = {path: _script_digest(file) for path, file in sorted(files.items())}
    return Identity(digest=digest_of(components), components=components)


def _matching(folder: Path, pattern: str) -> dict[str, Path]:
    """The files by their path relative to the folder."""
    if Path(pattern).is_absolute() or not pattern:
        raise GraphError(f'files=["{pattern}"]: give a path relative to the step\'s module; pass other files as File inputs')
    up = 0
    parts = [part for part in pattern.replace("\\", "/").split("/") if part not in ("", ".")]
    while parts and parts[0] == "..":
        folder, up, parts = folder.parent, up + 1, parts[1:]
    matches = sorted(folder.glob("/".join(parts))) if parts else [folder]
    files = [file for match in matches for file in (sorted(match.rglob("*")) if match.is_dir() else [match]) if file.is_file()]
    return {"../" * up + file.relative_to(folder).as_posix(): file for file in files if "__pycache__" not in file.parts}


def _nothing_matches(folder: Path, label: str, pattern: str) -> str:
    names = [file.relative_to(folder).as_posix() for file in folder.glob("*/*" if "/" in pattern else "*") if file.is_file()]
    near = difflib.get_close_matches(pattern, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; patterns are relative to the folder of the step's module"
    return f'files=["{pattern}"] of a step in {label} matches nothing in {folder}{hint}'


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def _script_digest(file: Path) -> str:
    if file.suffix != ".py":
        return _file_digest(file)
    return digest_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
