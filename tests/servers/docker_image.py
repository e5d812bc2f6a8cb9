"""A small image for tests, made of this machine's own Python and shell: an archive of a root file system, kept between test runs."""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

_PROGRAMS = ("sh", "cat", "dd", "id", "ln", "ls", "mkdir", "mkfifo", "sleep")
_LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo")
_PATH = "usr/local/bin"
_VERSION = 3
"""Counts changes of what is in the archive."""


def cache_folder() -> Path:
    """Where what is slow to make is kept between test runs."""
    stated = os.environ.get("PENSTOCK_TEST_CACHE")
    return Path(stated) if stated else Path.home() / ".cache" / "penstock-tests"


def python_archive() -> Path:
    """The archive of a root file system with `sh`, a few programs and this very Python as `python3`, without any package."""
    name = f"python-{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}-{_VERSION}.tar"
    target = cache_folder() / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{name}.{os.getpid()}")
        with tarfile.open(fresh, "w", dereference=True) as archive:
            _fill(archive)
        fresh.rename(target)
    return target


def shell_archive(text: str) -> bytes:
    """A tar archive of a root file system with `sh` and `cat`, and `text` in the file `/text`: small enough to be sent about."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as archive:
        programs = {name: Path(shutil.which(name) or f"/bin/{name}").resolve() for name in ("sh", "cat")}
        for library_file in _libraries(programs.values()):
            archive.add(library_file, library_file.lstrip("/"))
        for name, place in programs.items():
            archive.add(place, f"bin/{name}")
        member = tarfile.TarInfo("text")
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


def _fill(archive: tarfile.TarFile) -> None:
    library, prefix = Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix)
    # The libraries that compiled packages link to are in every image that can have such packages; Penstock's own needs are.
    compiled = find_spec("pydantic_core._pydantic_core")
    modules = [*(library / "lib-dynload").glob("*.so"), *([Path(compiled.origin)] if compiled and compiled.origin else [])]
    programs = {name: Path(shutil.which(name) or f"/bin/{name}").resolve() for name in _PROGRAMS}
    python = (prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    for library_file in _libraries([python, *programs.values(), *modules]):
        archive.add(library_file, library_file.lstrip("/"))
    for name, place in programs.items():
        archive.add(place, f"bin/{name}")
    # Where it was built to be: the interpreter finds its library by its own path.
    archive.add(python, str(python).lstrip("/"))
    archive.add(library, str(library).lstrip("/"), filter=_kept)
    for name in ("python3", f"python{sys.version_info.major}.{sys.version_info.minor}", "python"):
        archive.addfile(_link(f"{_PATH}/{name}", str(python)))
    for folder, mode in (("tmp", 0o1777), ("etc", 0o755)):
        archive.addfile(_folder(folder, mode))


def _libraries(binaries: Iterable[Path]) -> Iterator[str]:
    listed = subprocess.run([shutil.which("ldd") or "ldd", *map(str, binaries)], capture_output=True, check=False, text=True).stdout
    # The loader has no arrow before it.
    yield from sorted({match[1] for match in re.finditer(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE)})


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(member.name).parts
    return None if any(part in _LEFT_OUT or part.startswith("config-") for part in parts) else member


def _link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def _folder(name: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, mode
    return member
